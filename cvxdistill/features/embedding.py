"""Features of many images, batch by batch, and the probe that they are a function of the image."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor
from cvxdistill.features.extractor import GivenModule
from cvxdistill.features.preprocess import Preprocessing
from cvxdistill.features.probe import PROBE, check_features, plain_float32, probe
from cvxdistill.features.threads import map_threads
from cvxdistill.progress import Progress, silent

# ConvNets of width 32 / 64 / 128 on 28 x 28 images, a machine of two cores shared with others:
# batches of 32 in channels-last memory, each by one of two threads, are 4.5 / 3.0 / 3.2 times
# quicker than batches of 512 in contiguous memory with both threads inside each operation, and
# 19 / 18 / 4 times quicker than batches of 32 done that way, which wait for the slower core after
# every operation. Threads with batches of 16 / 64 / 128 take 1.0 / 1.4 / 1.7 times as long: small
# maps stay in cache, and below the size for which the allocator asks the system every time.
_CPU_BATCH = 32
_GPU_BATCH = 512
# Networks from elsewhere take images many times as large.
_GPU_BATCH_LARGE = 128


def embed_batches(
    extractor: Extractor,
    images: Tensor,
    *,
    preprocessing: Preprocessing,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress = silent,
) -> Iterator[Tensor]:
    """Yield the features of `images` in order, one batch at a time.

    Choose it for targets larger than memory: moments need each batch once. Use
    [embed][cvxdistill.features.embedding.embed] where the features fit.

    Eval mode is forced, and the first images are probed before anything is yielded: the same batch
    twice must agree bit for bit, and in other company each row must stay the same. Plain float32
    throughout; TF32 is off while a batch is computed.

    Args:
        extractor: the network held still.
        images: `(n, c, h, w)` uint8 or floating, or `(n, d)` floating; on any device.
        preprocessing: what is done to each batch first; nothing where the network `prepares` raw
            images itself.
        batch_size: images at once; `None` for 32 on a CPU and 512 elsewhere, measured to be quick.
        device: where to compute, the extractor being moved there; `None` for where it is.
        progress: told the number of images done.

    Yields:
        `(b, d)` float32 features without gradients, on the device of the extractor.

    Raises:
        InputError: images of the wrong shape, features not finite, or features that change from
            call to call or with the rest of the batch.

    Example:
        >>> from cvxdistill.features import Pixels, draw_extractor
        >>> pixels = draw_extractor(Pixels(), (1, 2, 2), seed=0)
        >>> images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
        >>> batches = embed_batches(pixels, images, preprocessing=Preprocessing(), batch_size=2)
        >>> [tuple(batch.shape) for batch in batches]
        [(2, 4), (2, 4), (1, 4)]
    """
    place = _prepare(extractor, images, device)
    return _batches(extractor, images, preprocessing, batch_size, place, progress, None)


def embed(
    extractor: Extractor,
    images: Tensor,
    *,
    preprocessing: Preprocessing,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    out: Tensor | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Return the features `(n, d)` of all images as one float32 tensor.

    Choose it where they fit in memory (`4 * n * d` bytes); else
    [embed_batches][cvxdistill.features.embedding.embed_batches], which has the same arguments,
    checks and errors. The result carries no gradient history and may enter autograd. `out` is
    where to write it, `(n, d)` float32 on any device or mapped from a file.

    Example:
        >>> from cvxdistill.features import ConvNet, draw_extractor
        >>> extractor = draw_extractor(ConvNet(width=8), (1, 8, 8), seed=0)
        >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
        >>> embed(extractor, images, preprocessing=Preprocessing()).shape
        torch.Size([5, 128])
    """
    place = _prepare(extractor, images, device)
    size = len(images), extractor.num_features
    if out is None:
        out = torch.empty(size, device=place)
    elif tuple(out.shape) != size or out.dtype != torch.float32:
        raise InputError(
            f"`out` must be {size} float32; got {tuple(out.shape)} {out.dtype}. Allocate it anew."
        )
    for _ in _batches(extractor, images, preprocessing, batch_size, place, progress, out):
        pass
    return out


def _prepare(
    extractor: Extractor, images: Tensor, device: torch.device | str | None
) -> torch.device:
    """Check the shape, force eval mode and return where to compute."""
    if tuple(images.shape[1:]) != extractor.input_shape:
        raise InputError(
            f"this extractor takes images of shape {extractor.input_shape}; got "
            f"{tuple(images.shape[1:])}. Draw or train one for this shape."
        )
    if device is not None:
        extractor.to(device)
    # Extractor.eval() is deaf on purpose, so a trunk switched behind its back is reached directly.
    extractor.module.eval()
    parameter = next(extractor.module.parameters(), None)
    return torch.device(device or images.device) if parameter is None else parameter.device


def _batches(
    extractor: Extractor,
    images: Tensor,
    preprocessing: Preprocessing,
    batch_size: int | None,
    place: torch.device,
    progress: Progress,
    out: Tensor | None,
) -> Iterator[Tensor]:
    """Return what `embed_batches` promises, each batch written into `out` as well if given."""
    if batch_size is not None and batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more; got {batch_size}.")
    preprocessing = preprocessing.to(place)
    size = batch_size or default_batch(extractor, place)

    def ready(start: int, stop: int) -> Tensor:
        raw = images[start:stop].to(place)
        return raw if extractor.network.prepares else preprocessing(raw)

    def work(start: int) -> Tensor:
        with plain_float32(place):
            features: Tensor = extractor(ready(start, start + size)).float()
        check_features(features, start)
        if out is not None:
            # Here and not by the caller, so that the copy is shared out too.
            out[start : start + len(features)] = features
        return features

    def look(count: int) -> None:
        with plain_float32(place):
            probe(extractor, ready(0, count))

    return _run(work, look, len(images), size, own_threads(extractor, place), progress)


def default_batch(extractor: Extractor, place: torch.device) -> int:
    """Return how many images at once are quick on that device."""
    if place.type == "cpu":
        return _CPU_BATCH
    return _GPU_BATCH_LARGE if extractor.network.prepares else _GPU_BATCH


def own_threads(extractor: Extractor, place: torch.device) -> int:
    """Return in how many threads batches are computed side by side; 0 for one after another."""
    # A module from outside may keep activations on itself, which several threads would mix up.
    outside = isinstance(extractor.network, GivenModule) or extractor.network.prepares
    return 0 if outside or place.type != "cpu" else torch.get_num_threads()


def _run(
    work: Callable[[int], Tensor],
    look: Callable[[int], None],
    count: int,
    size: int,
    workers: int,
    progress: Progress,
) -> Iterator[Tensor]:
    """Probe, then yield the batches in order, by `workers` threads or in this one."""
    if not count:
        return
    starts = range(0, count, size)
    if workers:
        list(map_threads(look, [PROBE], workers=1))
        batches: Iterator[Tensor] = map_threads(work, starts, workers=workers)
    else:
        look(PROBE)
        batches = map(work, starts)
    for start, features in zip(starts, batches, strict=True):
        progress("embed", min(start + size, count), count)
        yield features
