"""Networks from elsewhere, named by where they come from, with their own preprocessing."""

import contextlib
import dataclasses
import difflib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import nn

from cvxdistill.errors import InputError
from cvxdistill.features.base import Network
from cvxdistill.features.initialise import draw_weights
from cvxdistill.features.pretrained.prepare import Prepare, Prepared
from cvxdistill.features.tap import Tap, width_of


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What a source gives: a network with its weights, and the preprocessing it expects."""

    network: nn.Module
    prepare: Prepare


@dataclasses.dataclass(frozen=True)
class Backbone(Network):
    """A network from elsewhere. To add a source: a subclass in its own file, a line in `BACKBONES`.

    Written `SOURCE:MODEL[@LAYER][,option=value...]`, such as
    `torchvision:resnet18@layer4,weights=none,seed=0`.

    The contract, checked for every registered source: two builds from one spec have equal
    fingerprints; the spec is read back from `str(backbone)`; other weights, another layer or other
    preprocessing give another fingerprint, and the place of the weights does not; images of any
    size and of 1 or 3 channels are taken; the global random state is left alone.

    Attributes:
        model: name of the network at its source.
        layer: dotted name of the layer whose output is taken; `None` for the features before the
            classifier.
        pool: how maps and tokens become one row an image, a key of `POOLINGS`.
        weights: `DEFAULT` for those that the source recommends, which are fetched where they are
            not cached; a file, safetensors or a checkpoint of plain tensors; `None` (written
            `none`) for random ones.
        seed: of random weights.
    """

    model: str
    layer: str | None = None
    pool: str = "mean"
    weights: str | None = "DEFAULT"
    seed: int = 0

    trainable: ClassVar[bool] = False
    prepares: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False
    """Whether building runs code that the spec names, which no record in a file may have done."""

    @abstractmethod
    def load(self) -> Loaded:
        """Return the network without its classifier and with its weights.

        Random numbers may be drawn from the global CPU generator, which is seeded for it.

        Raises:
            InputError: an unknown network, weights that cannot be had, or a library that is
                missing.
        """

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module from raw images to features.

        Raises:
            InputError: no images `(c, h, w)`, or what `load` and `Tap` have to say.
        """
        if len(input_shape) != 3:
            raise InputError(f"`{self}` takes images (c, h, w); got examples of {input_shape}.")
        with _seeded(self.seed):
            loaded = self.load()
        return Prepared(loaded.prepare, Tap(loaded.network, self.layer, self.pool)).eval()

    def build(self, input_shape: tuple[int, ...], generator: torch.Generator) -> nn.Module:
        """Return the trunk, with a bottleneck drawn from `generator` if any.

        Raises:
            InputError: see `trunk`.
        """
        module = self.trunk(input_shape)
        if self.bottleneck is None:
            return module
        with torch.device("meta"):
            linear = nn.Linear(width_of(module, input_shape), self.bottleneck)
        return nn.Sequential(module, draw_weights(linear.to_empty(device="cpu"), generator))

    def identity(self, input_shape: tuple[int, ...]) -> str:
        """Return the architecture: neither where weights lie nor how large images are."""
        del input_shape
        kept = (self.name, self.model, self.layer, self.pool, self.bottleneck)
        return ":".join(map(str, kept))

    def __str__(self) -> str:
        """Return the spec that `parse_backbone` reads."""
        options = self.options()
        del options["model"]
        layer = options.pop("layer", None)
        first = self.model if layer is None else f"{self.model}@{layer}"
        listed = [f"{key}={'none' if v is None else v}" for key, v in options.items()]
        return ",".join([f"{self.name}:{first}", *listed])


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generator inside the block, and put it back as it was afterwards."""
    before = torch.get_rng_state()
    # Not `torch.manual_seed`, which would seed every device.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def check_model(what: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known, else raise with the nearest names; there are too many to list.

    Raises:
        InputError: an unknown name.
    """
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=3)
    hint = f" Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""
    raise InputError(f"{what} has no network `{name}` among its {len(names)}.{hint}")


def unavailable(what: str, error: BaseException) -> InputError:
    """Return the error for weights that could not be fetched."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"weights of `{what}` cannot be fetched: {first.rstrip('.')[:200]}. Give a file by "
        "weights=PATH, or weights=none for random ones."
    )
