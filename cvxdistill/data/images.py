"""Decoding many image files at once into one tensor."""

import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.files import reading

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings, in lower case, of the files taken for images."""

_MODES = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "RGB": "RGB",
    "RGBA": "RGB",
    "P": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}
# Decoders release the interpreter's lock; a window bounds what is held in flight.
_THREADS = 8
_WINDOW = 512


def decode_image(content: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode one image file with Pillow.

    Args:
        content: its bytes, in any format that Pillow reads.
        name: the file, for messages.

    Returns:
        `(h, w)` uint8 for grey images, `(h, w, 3)` for all others; transparency is dropped.

    Raises:
        InputError: damaged, not an image, or of more than 8 bits a channel.
    """
    from PIL import Image

    with reading(name, expected="an image"), Image.open(io.BytesIO(content)) as image:
        mode = _MODES.get(image.mode)
        if mode is None:
            raise InputError(
                f"{name} must have 8 bits a channel, grey or colour; got mode {image.mode}. "
                "Convert it."
            )
        # A palette may hold transparency in a form that converts to RGBA alone.
        opened = image.convert("RGBA") if image.mode == "P" else image
        return np.asarray(opened.convert(mode))


def decode_images(
    files: Iterable[tuple[int, str, bytes]],
    count: int,
    *,
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> Tensor:
    """Decode image files, in threads, into one tensor.

    Args:
        files: position in the result, name for messages, and bytes of each file; read as it goes,
            so that a stream is never held as a whole.
        count: number of files.
        fit: what is done to each image, `(h, w)` or `(h, w, 3)`, once it is decoded.

    Returns:
        `(count, 1, h, w)` uint8 if all are grey, `(count, 3, h, w)` otherwise, grey ones repeated.

    Raises:
        InputError: a file that cannot be decoded, or sizes that differ.
    """
    decoded: list[NDArray[np.uint8] | None] = [None] * count
    for position, image in decode_each(files):
        decoded[position] = image if fit is None else fit(image)
    images = [image for image in decoded if image is not None]
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) != 1:
        shown = ", ".join(f"{w} x {h} ({k:,} images)" for (h, w), k in sizes.most_common(3))
        raise InputError(
            f"all images must have one size; got {shown or 'no images'}"
            f"{' and others' if len(sizes) > 3 else ''}. Resize them to one size first, "
            "or make base images fit (--base-fit resize)."
        )
    height, width = next(iter(sizes))
    channels = max(1 if image.ndim == 2 else 3 for image in images)
    result = np.empty((count, channels, height, width), dtype=np.uint8)
    for target, image in zip(result, images, strict=True):
        target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.from_numpy(result)


def decode_each(
    files: Iterable[tuple[int, str, bytes]],
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode image files in threads, a bounded number of them in flight.

    Args:
        files: position, name for messages, and bytes of each file; read as it goes.

    Yields:
        The position and the image, `(h, w)` or `(h, w, 3)`, in the order of `files`.

    Raises:
        InputError: a file that cannot be decoded.
    """
    pending: deque[tuple[int, Future[Any]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for position, name, content in files:
                pending.append((position, pool.submit(decode_image, content, name=name)))
                if len(pending) >= _WINDOW:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
