"""Extractors in files, and extractors drawn again from what an artefact recorded."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor
from cvxdistill.features.extractor import GivenModule, draw_from_seed
from cvxdistill.features.pretrained import BACKBONES, Backbone
from cvxdistill.features.registry import parse_network
from cvxdistill.files import atomic_file

_FORMAT = "cvxdistill-extractor-1"
_REDRAW = "Draw or train a new extractor and solve the labels again."


def save_extractor(extractor: Extractor, path: Path | str) -> None:
    """Write an extractor to one safetensors file, its `spec()` as JSON in the metadata.

    Choose it for trained extractors; drawn ones come back from their seed alone
    ([rebuild_extractor][cvxdistill.features.rebuild_extractor]). The file appears whole or not at
    all.

    Raises:
        InputError: a module from outside the package, or a folder that cannot be written to.

    Example:
        >>> import tempfile
        >>> from cvxdistill.features import LeNet, draw_extractor
        >>> extractor = draw_extractor(LeNet(), (1, 8, 8), seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_extractor(extractor, Path(folder) / "lenet.safetensors")
        ...     again = load_extractor(Path(folder) / "lenet.safetensors")
        >>> again.fingerprint() == extractor.fingerprint()
        True
    """
    if isinstance(extractor.network, GivenModule | Backbone):
        raise InputError(
            f"`{extractor.network}` is a module from outside the package and is not stored here. "
            "Save its state_dict yourself and name or wrap the module again."
        )
    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in extractor.module.state_dict().items()
    }
    # One entry: with several, their order in the file changes from run to run.
    metadata = {"about": json.dumps({"format": _FORMAT, "spec": extractor.spec()})}
    try:
        with atomic_file(Path(path)) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the extractor cannot be written to `{path}`: {error}.") from error


def load_extractor(path: Path | str, *, device: torch.device | str = "cpu") -> Extractor:
    """Read an extractor that `save_extractor` wrote, and check that it is the same.

    Raises:
        InputError: no such file, a file of another kind, truncated, or changed since it was
            written.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get("about", "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"`{path}` is not a readable extractor file: {error}. Expected one that "
            "`save_extractor` wrote."
        ) from error
    try:
        known = json.loads(about or "null")
    except ValueError as error:
        raise InputError(f"the metadata of `{path}` are not JSON: {error}.") from error
    found = known.get("format") if isinstance(known, dict) else None
    if found != _FORMAT:
        raise InputError(
            f"`{path}` must be an extractor file of format `{_FORMAT}`; got `{found}`."
        )
    spec = known.get("spec")
    _check_spec(spec)
    # Any weights do here: all of them are overwritten.
    extractor = draw_from_seed(parse_network(spec["network"]), tuple(spec["input_shape"]), 0)
    _fill(extractor, tensors, path)
    extractor.seed, extractor.trained = spec["seed"], spec["trained"]
    _verify(extractor, spec, f"`{path}` was changed after it was written. {_REDRAW}")
    return extractor.to(device)


def rebuild_extractor(spec: Mapping[str, Any], *, device: torch.device | str = "cpu") -> Extractor:
    """Draw a random extractor again from its `spec()`, and check that it is the same.

    Args:
        spec: what `extractor.spec()` gave, perhaps through JSON.
        device: where the extractor is moved to.

    Raises:
        InputError: a trained extractor, a record that is incomplete, or weights that differ from
            the recorded fingerprint.

    Example:
        >>> from cvxdistill.features import ConvNet, draw_extractor
        >>> drawn = draw_extractor(ConvNet(width=8), (1, 8, 8), seed=3, index=2)
        >>> rebuild_extractor(drawn.spec()).fingerprint() == drawn.fingerprint()
        True
    """
    _check_spec(spec)
    if spec["trained"] or spec["seed"] is None:
        raise InputError(
            f"the weights of this `{spec['network']}` were trained or given, so its seed alone "
            "does not give them back. Load its file with `load_extractor`, or wrap the module "
            "again."
        )
    network = parse_network(spec["network"])
    if isinstance(network, Backbone) and network.runs_code:
        raise InputError(
            f"`{network}` would be imported, which runs its code, and that no record may ask for. "
            "If you trust it, draw it yourself: draw_extractor(parse_network(...), shape, seed=0)."
        )
    extractor = draw_from_seed(network, tuple(spec["input_shape"]), spec["seed"])
    _verify(
        extractor,
        spec,
        "The record was changed, or it was written by another version of the package. " + _REDRAW,
    )
    return extractor.to(device)


def rebuild_or_leave(spec: Mapping[str, Any]) -> Extractor | None:
    """Rebuild an extractor as `rebuild_extractor` does, where that is possible.

    Returns:
        The extractor; `None` for a module that a user brought, and, with a warning, for a network
        from elsewhere that is not to be had as it was, or whose building would run code.

    Raises:
        InputError: one of this package's networks that is not what the record says.
    """
    source = str(spec.get("network")).partition(":")[0]
    if source == GivenModule.name:
        return None
    try:
        return rebuild_extractor(spec)
    except InputError as error:
        if source not in BACKBONES:
            raise
        warnings.warn(f"an extractor is left out: {error}", stacklevel=2)
        return None


def _check_spec(spec: object) -> None:
    """Raise unless every entry of the record is there and of its kind."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "network": str,
        "input_shape": (list, tuple),
        "num_features": int,
        "seed": (int, type(None)),
        "trained": bool,
        "fingerprint": str,
    }
    if not isinstance(spec, Mapping) or not set(kinds) <= set(spec):
        raise InputError(
            f"the record of an extractor must have {', '.join(kinds)}; got "
            f"{', '.join(map(str, spec)) if isinstance(spec, Mapping) else spec!r}."
        )
    for key, kind in kinds.items():
        if not isinstance(spec[key], kind):
            raise InputError(f"`{key}` in the record of an extractor is wrong: {spec[key]!r}.")
    sizes, seed = spec["input_shape"], spec["seed"]
    if not all(isinstance(size, int) for size in sizes):
        raise InputError(f"`input_shape` in the record of an extractor is wrong: {sizes!r}.")
    if seed is not None and not 0 <= seed < 2**63:
        raise InputError(f"`seed` in the record of an extractor is wrong: {seed!r}.")


def _fill(extractor: Extractor, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors from a file into the extractor."""
    state = extractor.module.state_dict()
    for key in sorted({*state, *tensors}):
        have = tensors[key].shape if key in tensors else "nothing"
        want = state[key].shape if key in state else "nothing"
        if have != want:
            raise InputError(
                f"the weights in `{path}` do not fit `{extractor.network}`: for `{key}` expected "
                f"{want}, got {have}."
            )
        if tensors[key].dtype != state[key].dtype:
            raise InputError(
                f"the weights in `{path}` must be {state[key].dtype} for `{key}`; got "
                f"{tensors[key].dtype}."
            )
    extractor.module.load_state_dict(dict(tensors))


def _verify(extractor: Extractor, spec: Mapping[str, Any], advice: str) -> None:
    """Raise with `advice` unless the extractor is the recorded one."""
    found = extractor.fingerprint()
    if found != spec["fingerprint"] or extractor.num_features != spec["num_features"]:
        raise InputError(
            f"expected the extractor `{extractor.network}` with fingerprint "
            f"{spec['fingerprint'][:12]} and {spec['num_features']} features; got {found[:12]} "
            f"and {extractor.num_features}. {advice}"
        )
