"""Weights from files, without pickle, into networks from elsewhere."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cvxdistill.errors import InputError

# Where training programs put the weights of the network in a checkpoint with other things.
_NESTED = ("state_dict", "model_state_dict", "model")
# What wrappers for several devices and compilation put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the weights of a network from a safetensors file or a PyTorch checkpoint.

    Args:
        path: `*.safetensors`, or anything that `torch.load(..., weights_only=True)` reads; weights
            may lie under `state_dict`, `model_state_dict` or `model` there.

    Raises:
        InputError: no such file, damaged, pickled objects in it, or no named tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"weights must be a file; nothing readable at `{path}`. Correct the path.")
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged bytes raise whatever they happen to say.
        raise _unreadable(path, error) from error
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"`{path}` must hold named tensors; got a {type(found).__name__}.")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"`{path}` must hold named tensors alone; got a {type(value).__name__} for "
                f"`{key}`. Save `network.state_dict()`."
            )
    return _without_prefix(dict(found))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            return {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _unreadable(path: Path, error: BaseException) -> InputError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"`{path}` cannot be read as weights: {first.rstrip('.')}. Expected a safetensors file, or "
        "a checkpoint of plain tensors as torch.save(network.state_dict(), ...) writes it."
    )


def fill(
    network: nn.Module, tensors: Mapping[str, Tensor], *, without: Iterable[str] = (), place: str
) -> None:
    """Copy weights into a network, every one of them, whatever their floating type.

    Args:
        network: where to; its own types are kept.
        tensors: by name.
        without: dotted names of layers that were cut off, whose weights are passed over.
        place: where the tensors come from, for messages.

    Raises:
        InputError: names or shapes that do not fit.
    """
    cut = tuple(f"{name}." for name in without)
    given = {key: value for key, value in tensors.items() if not (cut and key.startswith(cut))}
    state = network.state_dict()
    for key in sorted({*state, *given}):
        have = tuple(given[key].shape) if key in given else "nothing"
        want = tuple(state[key].shape) if key in state else "nothing"
        if have != want and not (key in state and key.endswith("num_batches_tracked")):
            raise InputError(
                f"weights in {place} do not fit this {type(network).__name__}: for `{key}` "
                f"expected {want}, got {have}. Give weights of the same architecture."
            )
    network.load_state_dict(given, strict=False)
