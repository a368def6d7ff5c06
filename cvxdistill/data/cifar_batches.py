"""Reading the pickled batches of CIFAR without running what a pickle may say.

A pickle is a program that can import and call anything. The official batches need one foreign
thing, an array of unsigned bytes; here its pieces are stood in for by objects of this module that
only collect bytes, and every other import is refused.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxdistill.errors import InputError
from cvxdistill.files import reading


class _Dtype:
    """Stands in for `numpy.dtype`: remembers its name."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and fields: a single byte has neither."""


class _Array:
    """Stands in for `numpy.ndarray`: builds one of unsigned bytes from its pickled state."""

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, columns_first, content = state
        if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", "|u1"):
            raise InputError("expected an array of unsigned bytes.")
        # Python 2 wrote strings; read as Latin-1 they keep their bytes.
        raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
        if len(raw) != math.prod(shape):
            raise InputError(f"expected {math.prod(shape)} bytes of pixels; got {len(raw)}.")
        flat = np.frombuffer(bytearray(raw), dtype=np.uint8)
        self.values = flat.reshape(tuple(shape), order="F" if columns_first else "C")


class _Call:
    """A function that a pickle may call, and whose attributes it cannot set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a pickle must not change what it calls")


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes under Python 3; any other codec is refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r} is not allowed")
    return text.encode("latin1")


def _empty_array(*_: object) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Call(_encode),
    ("numpy", "dtype"): _Call(_Dtype),
    ("numpy", "ndarray"): None,
    ("numpy._core.multiarray", "_reconstruct"): _Call(_empty_array),
    ("numpy.core.multiarray", "_reconstruct"): _Call(_empty_array),
}


class _BatchUnpickler(pickle.Unpickler):
    """Refuses every import that is not in `_ALLOWED`."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise InputError(
                f"the pickle asks for `{module_name}.{global_name}`, which no CIFAR batch needs; "
                "refused."
            )
        return _ALLOWED[module_name, global_name]


def read_batch(content: bytes, *, name: str) -> dict[str, Any]:
    """Read one pickled batch or its `meta` file into a dictionary.

    Args:
        content: the bytes of the file, a pickle of protocol 2 to 4.
        name: the file, for messages.

    Returns:
        Its entries; arrays become `numpy.ndarray` of uint8.

    Raises:
        InputError: not a pickle, truncated, not a dictionary, or asking for anything but an array
            of unsigned bytes. Nothing it names is imported or called.

    Example:
        >>> read_batch(pickle.dumps({"labels": [3, 1]}), name="toy")
        {'labels': [3, 1]}
    """
    with reading(name, expected="a CIFAR batch"):
        try:
            entries = _BatchUnpickler(io.BytesIO(content), encoding="latin1").load()
        except InputError as error:
            raise ValueError(str(error)) from error
    if not isinstance(entries, dict):
        raise InputError(
            f"{name} must be a pickled dictionary; got {type(entries).__name__}. Replace the file."
        )
    return {
        str(key): value.values if isinstance(value, _Array) else value
        for key, value in entries.items()
    }
