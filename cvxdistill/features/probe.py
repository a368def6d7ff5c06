"""The computing of features as it must be: plain float32, finite, a function of the image alone."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from cvxdistill.checks import check_finite
from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor

# Images that are probed.
PROBE = 16
_TOLERANCE = 1e-3


@contextlib.contextmanager
def plain_float32(place: torch.device) -> Iterator[None]:
    """Compute without gradients, TF32 and search for convolution algorithms, until left again."""
    if place.type == "cpu":
        # The other settings belong to the process, and threads would restore each other's.
        with torch.no_grad():
            yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    # Search may pick another algorithm, with other rounding, for the second of two equal calls.
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    matmul.allow_tf32 = False
    try:
        with torch.no_grad(), flags:
            yield
    finally:
        matmul.allow_tf32 = before


def check_features(features: Tensor, start: int) -> None:
    """Raise unless every feature is finite."""
    try:
        check_finite("features", features)
    except InputError as error:
        raise InputError(
            f"{error} Counted in the batch from image {start} on. The extractor overflows or the "
            "images are not finite: check the weights and the preprocessing."
        ) from error


def probe(extractor: Extractor, ready: Tensor) -> None:
    """Raise unless the features are a function of the image alone.

    Raises:
        InputError: two equal calls differ, or a row changes with the rest of the batch.
    """
    first, again = extractor(ready), extractor(ready)
    cure = (
        "Features must depend on the image alone: look for BatchNorm or dropout that stays in "
        "train mode, or random augmentation inside the network."
    )
    if first.ndim != 2 or len(first) != len(ready):
        raise InputError(
            f"an extractor must give one row of features an image; got {tuple(first.shape)} for "
            f"{len(ready)} images."
        )
    if not torch.equal(first, again) and bool(torch.isfinite(first).all()):
        raise InputError(f"the extractor gave other features for the same batch. {cure}")
    # Half the batch in the company of blank images: other batch statistics even for one image.
    half = ready[: (len(ready) + 1) // 2]
    other = extractor(torch.cat([half, torch.zeros_like(half)]))[: len(half)]
    gap = float((other - first[: len(half)]).abs().max())
    if gap > _TOLERANCE * float(first.abs().max()):
        raise InputError(
            f"a row of features changed by {gap:.3g} with the rest of its batch. {cure}"
        )
