"""The networks by name, and the reading of networks from the words that a user types."""

import dataclasses
import types
import typing
from typing import Any

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError
from cvxdistill.features.alexnet import AlexNet
from cvxdistill.features.base import Network
from cvxdistill.features.convnet import ConvNet
from cvxdistill.features.lenet import LeNet
from cvxdistill.features.mlp import MLP
from cvxdistill.features.pixels import Pixels
from cvxdistill.features.resnet import ResNet18

FEATURES: dict[str, type[Network]] = {
    "alexnet": AlexNet,
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "pixels": Pixels,
    "resnet18": ResNet18,
}


def parse_network(spec: str) -> Network:
    """Read a network as a user types it: `lenet`, or `convnet:width=64,depth=3`.

    Each value is read as the type that its field declares; `none` stands for no value where the
    field allows it. `str(network)` gives such a string back.

    Raises:
        InputError: an unknown name or option, an option without a value or given twice, or a
            value of the wrong type or out of range.

    Example:
        >>> parse_network("convnet:width=64,depth=2")
        ConvNet(bottleneck=None, width=64, depth=2, norm='instance', pooling='avg')
        >>> str(parse_network("convnet:width=64,depth=3"))
        'convnet:width=64'
    """
    name, colon, rest = spec.strip().partition(":")
    network = FEATURES[check_choice("network", name, FEATURES)]
    kinds = typing.get_type_hints(network)
    allowed = [field.name for field in dataclasses.fields(network)]
    if colon and not rest:
        raise InputError(f"options of `{name}` are missing after the colon; got `{spec}`.")
    options: dict[str, Any] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        check_choice(f"option of {name}", key, allowed)
        if not equals or not value:
            raise InputError(f"option `{key}` of `{name}` needs a value: `{key}=VALUE`.")
        if key in options:
            raise InputError(f"option `{key}` of `{name}` is given twice in `{spec}`.")
        options[key] = _parse_value(f"option `{key}` of `{name}`", value, kinds[key])
    return network(**options)


def _parse_value(what: str, text: str, kind: Any) -> Any:
    """Read `text` as `kind`: int, float, bool, str, or one of them or nothing."""
    if isinstance(kind, types.UnionType):
        if text.lower() == "none":
            return None
        (kind,) = (member for member in typing.get_args(kind) if member is not types.NoneType)
    if kind is str:
        return text
    if kind is bool:
        truth = {"true": True, "false": False}.get(text.lower())
        if truth is None:
            raise InputError(f"{what} must be true or false; got `{text}`.")
        return truth
    words = {int: "a whole number", float: "a number"}
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"{what} must be {words[kind]}; got `{text}`.") from error
