"""`module:package.attribute`: any network that can be imported."""

import contextlib
import copy
import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError
from cvxdistill.features.pretrained.base import Backbone, Loaded
from cvxdistill.features.pretrained.prepare import NORMALISATIONS, Prepare
from cvxdistill.features.pretrained.weights import fill, read_weights


@dataclasses.dataclass(frozen=True)
class ImportedBackbone(Backbone):
    """A network named by its place in Python: an instance, a class or a function that returns one.

    Choose it for your own networks: `module:mypackage.networks.trunk,weights=trunk.safetensors`.
    Classes and functions are called without arguments; an instance is copied. The working folder is
    searched too. Without a layer the output is taken as it is, so the network should end before its
    classifier, or a layer be named. Importing runs the code of the module.

    Attributes:
        weights: a file; `DEFAULT` or none leave those that the object brings.
        size: resize the shorter side to so many pixels and crop the centre to a square of them.
        normalise: a key of `NORMALISATIONS`.
        channels: how many the network takes; grey images are repeated.
    """

    size: int | None = None
    normalise: str = "none"
    channels: int | None = None

    name: ClassVar[str] = "module"
    runs_code: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("normalise", self.normalise, NORMALISATIONS)
        for name in ("size", "channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be 1 or more; got {value}.")

    def load(self) -> Loaded:
        """Import the object, make the network of it and fill in the weights.

        Raises:
            InputError: nothing to import there, or no network in it.
        """
        network = _network(self.model, self.seed)
        if self.weights not in (None, "DEFAULT"):
            fill(network, read_weights(str(self.weights)), place=f"`{self.weights}`")
        moments = NORMALISATIONS[self.normalise]
        mean, std = ((0.0,), (1.0,)) if moments is None else moments
        return Loaded(
            network,
            Prepare(
                resize=self.size,
                crop=None if self.size is None else (self.size, self.size),
                mean=mean,
                std=std,
                channels=self.channels,
            ),
        )


def _network(dotted: str, seed: int) -> nn.Module:
    """Return the network of that dotted name."""
    with _working_folder_too():
        found = _import(dotted)
        # Again: the first import of a module may have drawn numbers, and later ones do not.
        torch.default_generator.manual_seed(seed)
        return _made(dotted, found)


def _made(dotted: str, found: Any) -> nn.Module:
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    if not callable(found):
        raise InputError(
            f"`module:{dotted}` must be a network, a class or a function that returns one; got a "
            f"{type(found).__name__}."
        )
    try:
        made = found()
    except Exception as error:
        raise InputError(
            f"`module:{dotted}` cannot be called without arguments: {type(error).__name__}: "
            f"{error}. Write a function that takes none."
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"`module:{dotted}` must return a torch.nn.Module; got a {type(made).__name__}."
        )
    return made


def _import(dotted: str) -> Any:
    place, _, attribute = dotted.rpartition(".")
    if not place or not attribute:
        raise InputError(
            f"`module:{dotted}` must name a module and something in it: module:PACKAGE.ATTRIBUTE."
        )
    try:
        found: Any = importlib.import_module(place)
    except Exception as error:
        raise InputError(
            f"`{place}` of `module:{dotted}` cannot be imported: {type(error).__name__}: "
            f"{error}. Install it, or run where it lies."
        ) from error
    if not hasattr(found, attribute):
        raise InputError(f"`{place}` has no `{attribute}`; correct `module:{dotted}`.")
    return getattr(found, attribute)


@contextlib.contextmanager
def _working_folder_too() -> Iterator[None]:
    """Search the working folder too, last, which an installed command would not do."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        # The last of its name: ours, unless the imported code took it away.
        for position in reversed(range(len(sys.path))):
            if sys.path[position] == folder:
                del sys.path[position]
                break
