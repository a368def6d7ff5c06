"""Checks that the networks share, of the shapes they take and the sizes they are given."""

from typing import Any

from cvxdistill.errors import InputError


def check_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` if it has at least one size and every size is 1 or more.

    Raises:
        InputError: otherwise.

    Example:
        >>> check_shape((1, 8, 8))
        (1, 8, 8)
    """
    if not shape or min(shape) < 1:
        raise InputError(
            f"the shape of one example must be sizes of 1 or more, such as (1, 28, 28); got "
            f"{tuple(shape)}."
        )
    return tuple(shape)


def check_image_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return `shape` as `(channels, height, width)` for the network called `name`.

    Raises:
        InputError: the examples are not images, or smaller than the 4 pixels a side that every
            convolutional network here needs.

    Example:
        >>> check_image_shape("lenet", (1, 28, 28))
        (1, 28, 28)
    """
    if len(check_shape(shape)) != 3:
        raise InputError(
            f"`{name}` takes images (channels, height, width); got examples of shape "
            f"{tuple(shape)}. Feature vectors go through `pixels` or `mlp`."
        )
    channels, height, width = shape
    if min(height, width) < 4:
        raise InputError(
            f"`{name}` takes images of at least 4 pixels a side; got {height} x {width}. Use "
            "`pixels` or `mlp` for smaller ones."
        )
    return channels, height, width


def check_sizes(network: Any, *names: str) -> None:
    """Check that the attributes `names` of a network are whole numbers of 1 or more.

    Raises:
        InputError: one is not.
    """
    for name in names:
        value = getattr(network, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"`{name}` of `{network.name}` must be a whole number of 1 or more; got {value}."
            )
