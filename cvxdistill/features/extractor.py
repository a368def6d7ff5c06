"""Extractors drawn from seeds, singly and in pools, and modules that users bring."""

import dataclasses
from typing import ClassVar

import torch
from torch import nn

from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor, Network
from cvxdistill.features.tap import Tap
from cvxdistill.seeding import derive_seed


def draw_extractor(
    network: Network,
    input_shape: tuple[int, ...],
    *,
    seed: int,
    index: int = 0,
    device: torch.device | str = "cpu",
) -> Extractor:
    """Draw one extractor from a recipe: the `index`-th of the stream under `seed`.

    Choose it for features without training. The weights are drawn on the CPU and then moved, so
    they are the same on every device; `extractor.seed` is the derived seed that
    [rebuild_extractor][cvxdistill.features.rebuild_extractor] draws the same weights from.

    Args:
        network: the recipe.
        input_shape: shape of one preprocessed image, `(c, h, w)` or `(d,)`.
        seed: the user's seed.
        index: position in the pool.
        device: where the extractor is moved to.

    Raises:
        InputError: the network cannot take images of this shape.

    Example:
        >>> from cvxdistill.features import ConvNet
        >>> extractor = draw_extractor(ConvNet(width=8), (1, 8, 8), seed=0)
        >>> extractor.num_features, extractor.trained
        (128, False)
    """
    return draw_from_seed(network, input_shape, derive_seed(seed, "extractor", index)).to(device)


def draw_from_seed(network: Network, input_shape: tuple[int, ...], derived: int) -> Extractor:
    """Draw the extractor whose `seed` is `derived`, as it is and not derived further.

    Raises:
        InputError: the network cannot take images of this shape.
    """
    module = network.build(tuple(input_shape), torch.Generator().manual_seed(derived))
    return Extractor(network, module, tuple(input_shape), seed=derived, trained=False)


def draw_pool(
    network: Network,
    input_shape: tuple[int, ...],
    *,
    size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> list[Extractor]:
    """Draw `size` independent extractors; a longer pool begins with the shorter one.

    Choose it when the labels are to serve networks that the solve never sees: the objective is
    the mean over the pool, and stays convex.

    Raises:
        InputError: `size` below 1, or the network cannot take images of this shape.

    Example:
        >>> from cvxdistill.features import ConvNet
        >>> pool = draw_pool(ConvNet(width=8), (1, 8, 8), size=2, seed=0)
        >>> pool[0].fingerprint() == pool[1].fingerprint()
        False
    """
    if size < 1:
        raise InputError(f"`size` of a pool must be 1 or more; got {size}.")
    return [
        draw_extractor(network, input_shape, seed=seed, index=index, device=device)
        for index in range(size)
    ]


@dataclasses.dataclass(frozen=True)
class GivenModule(Network):
    """The recipe in name only of a module that a user brings: it cannot be built again.

    Attributes:
        label: what the user calls it.
        layer: dotted name of the layer whose output is taken; `None` for the module's own.
        pool: how maps and tokens become one row an image.
    """

    label: str = "module"
    layer: str | None = None
    pool: str = "mean"

    name: ClassVar[str] = "given"
    trainable: ClassVar[bool] = False

    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Raise, since the weights are known to the user alone.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"`{self}` for images {tuple(input_shape)} is a module from outside the package and "
            "cannot be built from its name. Pass the module through `wrap_module` again."
        )


def wrap_module(
    module: nn.Module,
    input_shape: tuple[int, ...],
    *,
    label: str = "module",
    layer: str | None = None,
    pool: str = "mean",
) -> Extractor:
    """Hold any module still as an extractor: from torchvision, timm or your own.

    The module itself is frozen and put in eval mode, not a copy of it. Its features are its output
    or that of one of its layers, reached by a forward hook; nothing after the layer is computed.
    Where the module can be named on the command line (`torchvision:`, `timm:`, `module:`),
    [draw_extractor][cvxdistill.features.draw_extractor] with
    [parse_network][cvxdistill.features.parse_network] gives one that artefacts can have again.

    Args:
        module: maps `(n, *input_shape)` to features `(n, d)`, tokens `(n, t, d)` or maps
            `(n, c, h, w)`.
        input_shape: shape of one preprocessed image.
        label: a name for manifests.
        layer: dotted name of a submodule, such as `layer3`, as `module.named_modules()` gives it.
        pool: how maps and tokens become `(n, d)`: `mean` or `max` over places or tokens, `cls` for
            the first token, `mean-last` for maps with channels last, `flatten` for all numbers.

    Raises:
        InputError: no such layer, or an output that cannot be made `(n, d)`.

    Example:
        >>> extractor = wrap_module(nn.Flatten(), (1, 8, 8), label="flatten")
        >>> extractor.num_features, str(extractor.network)
        (64, 'given:label=flatten')
        >>> conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        >>> wrap_module(conv, (1, 8, 8), layer="1", pool="max").num_features
        4
    """
    recipe = GivenModule(label=label, layer=layer, pool=pool)
    return Extractor(recipe, Tap(module, layer, pool), input_shape, seed=None, trained=True)
