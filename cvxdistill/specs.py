"""Spec strings: registered dataclasses as a user types them, `name:option=value,option=value`."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError

Kind = TypeVar("Kind")


def parse_spec(spec: str, registry: Mapping[str, type[Kind]], *, what: str) -> Kind:
    """Read `name` or `name:option=value,option=value` as one of the dataclasses of `registry`.

    Each value is read as the type that its field declares; `none` stands for no value where the
    field allows it.

    Args:
        spec: what the user typed.
        registry: dataclasses by name.
        what: the word for them in messages, such as `network`.

    Raises:
        InputError: an unknown name or option, an option without a value or given twice, or a
            value of the wrong type or out of range.
    """
    name, colon, rest = spec.strip().partition(":")
    chosen = registry[check_choice(what, name, registry)]
    kinds = typing.get_type_hints(chosen)
    allowed = [field.name for field in dataclasses.fields(chosen)]  # type: ignore[arg-type]
    if colon and not rest:
        raise InputError(f"options of `{name}` are missing after the colon; got `{spec}`.")
    options: dict[str, Any] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not allowed:
            raise InputError(f"`{name}` takes no options; got `{part.strip()}`.")
        check_choice(f"option of {name}", key, allowed)
        if not equals or not value:
            raise InputError(f"option `{key}` of `{name}` needs a value: `{key}=VALUE`.")
        if key in options:
            raise InputError(f"option `{key}` of `{name}` is given twice in `{spec}`.")
        options[key] = _parse_value(f"option `{key}` of `{name}`", value, kinds[key])
    return chosen(**options)


def _parse_value(what: str, text: str, kind: Any) -> Any:
    """Read `text` as `kind`: int, float, bool, str, or one of them or something else."""
    if isinstance(kind, types.UnionType):
        members = typing.get_args(kind)
        if text.lower() == "none" and types.NoneType in members:
            return None
        # What cannot be typed, such as a tensor in the place of a number, is passed over.
        (kind,) = (member for member in members if member in (int, float, bool, str))
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
