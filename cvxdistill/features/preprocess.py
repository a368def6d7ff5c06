"""Preprocessing: bytes to normalised images, optionally whitened."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cvxdistill.checks import check_choice, check_finite, check_positive
from cvxdistill.data.base import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.seeding import generator

KINDS = ("none", "normalise", "zca")
_TENSORS = ("mean", "std", "zca_mean", "zca_matrix")
_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessing:
    """What is done to images before any network sees them; fitted once, stored in the artefact.

    Bytes are scaled to [0, 1]; floating images are taken to be on that scale already. Then each
    channel is brought to mean 0 and variance 1 over the fitted data, and with ZCA the pixels are
    rotated back and forth so that they are nearly uncorrelated. Feature vectors `(n, d)` pass
    unchanged. `Preprocessing()` does the scaling alone (`kind` is `none`).

    Choose normalisation always, and regularised ZCA for natural colour images, where it is worth
    several points of accuracy; it costs `p**2` products an image, `p = c * h * w`.

    Sources: Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images",
    <https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf>, for ZCA; Nguyen, Novak, Xiao
    and Lee (2021), "Dataset Distillation with Infinitely Wide Convolutional Networks",
    <https://arxiv.org/abs/2107.13034>, for its regularisation relative to the trace.

    Attributes:
        mean: `(c,)` float32 mean of each channel, of pixels in [0, 1].
        std: `(c,)` float32 standard deviation of each channel; 1 where a channel is constant.
        zca_mean: `(p,)` float32 mean of the normalised pixels.
        zca_matrix: `(p, p)` float32, symmetric.
        zca_l2: the regularisation, as a multiple of the mean eigenvalue of the covariance.

    Raises:
        InputError: parts missing or of shapes that do not fit together, or not finite.

    Example:
        >>> images = torch.arange(128, dtype=torch.uint8).reshape(2, 1, 8, 8)
        >>> data = ImageSet(images, torch.tensor([0, 1]), ("a", "b"), name="toy")
        >>> ready = Preprocessing.fit(data)(images)
        >>> ready.dtype, abs(ready.mean().item()) < 1e-5
        (torch.float32, True)
    """

    mean: Tensor | None = None
    std: Tensor | None = None
    zca_mean: Tensor | None = None
    zca_matrix: Tensor | None = None
    zca_l2: float | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise InputError("`mean` and `std` go together; give both or neither.")
        zca = (self.zca_mean is None, self.zca_matrix is None, self.zca_l2 is None)
        if any(zca) != all(zca):
            raise InputError("`zca_mean`, `zca_matrix` and `zca_l2` go together.")
        if self.zca_matrix is not None and self.mean is None:
            raise InputError("ZCA follows the normalisation; give `mean` and `std` too.")
        for key, value in self.tensors().items():
            check_finite(key, value)
        if self.mean is not None and self.std is not None:
            channels = self.mean.shape
            if len(channels) != 1 or self.std.shape != channels or bool((self.std <= 0).any()):
                raise InputError(
                    f"`mean` and `std` must be (c,) with every `std` above zero; got shapes "
                    f"{tuple(channels)} and {tuple(self.std.shape)}."
                )
        if self.zca_mean is not None and self.zca_matrix is not None:
            p = len(self.zca_mean)
            if self.zca_mean.shape != (p,) or self.zca_matrix.shape != (p, p):
                raise InputError(
                    f"`zca_matrix` must be (p, p) for `zca_mean` (p,); got "
                    f"{tuple(self.zca_matrix.shape)} and {tuple(self.zca_mean.shape)}."
                )

    @property
    def kind(self) -> str:
        """`none`, `normalise` or `zca`."""
        if self.mean is None:
            return "none"
        return "normalise" if self.zca_matrix is None else "zca"

    @classmethod
    def fit(
        cls,
        data: ImageSet,
        *,
        zca: bool = False,
        zca_l2: float = 0.1,
        max_examples: int | None = None,
        seed: int = 0,
    ) -> "Preprocessing":
        """Fit means, deviations and whitening in float64 to the training images.

        Args:
            data: the training images; feature vectors give the identity.
            zca: whiten as well.
            zca_l2: regularisation of the whitening, a multiple of the covariance's mean
                eigenvalue; 0.1 as in the paper.
            max_examples: fit to a random part of this size, to save time with ZCA; `None` for all.
            seed: seed of that part.

        Raises:
            InputError: `zca_l2` or `max_examples` out of range, or no images.
        """
        check_positive("zca_l2", zca_l2, zero=True)
        if max_examples is not None and max_examples < 2:
            raise InputError(f"`max_examples` must be 2 or more; got {max_examples}.")
        if len(data) == 0:
            raise InputError("preprocessing needs images to be fitted to; got none.")
        if len(data.shape) == 1:
            return cls()
        images = data.images
        if max_examples is not None and max_examples < len(images):
            order = torch.randperm(len(images), generator=generator(seed, "preprocessing"))
            images = images[order[:max_examples].to(images.device)]
        mean, std = _channel_moments(images)
        plain = cls(mean=mean.float().cpu(), std=std.float().cpu())
        if not zca:
            return plain
        zca_mean, zca_matrix = _whitening(images, mean, std, zca_l2)
        return dataclasses.replace(
            plain,
            zca_mean=zca_mean.float().cpu(),
            zca_matrix=zca_matrix.float().cpu(),
            zca_l2=float(zca_l2),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Map `(n, c, h, w)` uint8 or floating images to float32 of the same shape.

        Feature vectors `(n, d)` come back as float32.

        Raises:
            InputError: images of another shape than the one that was fitted.
        """
        ready = _scaled(images, torch.float32)
        if images.ndim == 2 or self.mean is None or self.std is None:
            return ready
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise InputError(
                f"this preprocessing was fitted to images of {len(self.mean)} channels "
                f"(n, c, h, w); got shape {tuple(images.shape)}."
            )
        # One multiplication and one addition; the coefficients in float64, so that a small
        # deviation costs no digits.
        scale = 1.0 / self.std.double()
        shift = -self.mean.double() * scale
        ready = torch.addcmul(
            shift.to(ready).reshape(1, -1, 1, 1), ready, scale.to(ready).reshape(1, -1, 1, 1)
        )
        if self.zca_matrix is None or self.zca_mean is None:
            return ready
        if math.prod(images.shape[1:]) != len(self.zca_mean):
            raise InputError(
                f"this whitening was fitted to images of {len(self.zca_mean)} numbers; got shape "
                f"{tuple(images.shape)}. Fit it to images of this size."
            )
        flat = ready.flatten(1) - self.zca_mean.to(ready.device)
        return (flat @ self.zca_matrix.to(ready.device)).reshape(images.shape)

    def to(self, device: torch.device | str) -> "Preprocessing":
        """Return the same with its tensors on `device`."""
        moved: dict[str, Any] = {key: value.to(device) for key, value in self.tensors().items()}
        return dataclasses.replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that there are, by attribute name, for a safetensors file."""
        values = {key: getattr(self, key) for key in _TENSORS}
        return {key: value for key, value in values.items() if value is not None}

    def record(self) -> dict[str, Any]:
        """Return the rest of what a manifest needs: kind, `zca_l2` and fingerprint."""
        return {"kind": self.kind, "zca_l2": self.zca_l2, "fingerprint": self.fingerprint()}

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> "Preprocessing":
        """Restore from `record()` and `tensors()`.

        Raises:
            InputError: an unknown kind, tensors missing, left over or changed.
        """
        kind = check_choice("preprocessing kind", str(record.get("kind")), KINDS)
        want = _TENSORS[: {"none": 0, "normalise": 2, "zca": 4}[kind]]
        if set(tensors) != set(want):
            raise InputError(
                f"preprocessing `{kind}` is made of {', '.join(want) or 'no tensors'}; got "
                f"{', '.join(sorted(tensors)) or 'none'}."
            )
        floats: dict[str, Any] = {key: tensors[key].to(torch.float32) for key in want}
        restored = cls(**floats, zca_l2=record.get("zca_l2"))
        if restored.fingerprint() != record.get("fingerprint"):
            raise InputError(
                "the preprocessing does not match its fingerprint: its tensors or `zca_l2` were "
                "changed after they were written."
            )
        return restored

    def fingerprint(self) -> str:
        """SHA-256 over kind, regularisation and every tensor."""
        digest = hashlib.sha256(f"{self.kind}{self.zca_l2}".encode())
        for key, value in self.tensors().items():
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _scaled(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return images in `dtype`, bytes divided by 255."""
    scaled = images.to(dtype)
    return scaled.div_(255.0) if images.dtype == torch.uint8 else scaled


def _channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation `(c,)` of each channel, in float64."""
    count = images.numel() // images.shape[1]
    total = torch.zeros(images.shape[1], dtype=torch.float64, device=images.device)
    for start in range(0, len(images), _CHUNK):
        total += _scaled(images[start : start + _CHUNK], torch.float64).sum((0, 2, 3))
    mean = total / count
    squares = torch.zeros_like(total)
    for start in range(0, len(images), _CHUNK):
        part = _scaled(images[start : start + _CHUNK], torch.float64)
        squares += (part - mean.reshape(1, -1, 1, 1)).square_().sum((0, 2, 3))
    std = (squares / count).sqrt()
    # A channel that never varies carries nothing; dividing by 1 keeps it at zero, not NaN.
    return mean, torch.where(std > 1e-8, std, torch.ones_like(std))


def _whitening(images: Tensor, mean: Tensor, std: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """Return mean `(p,)` and regularised ZCA matrix `(p, p)` of normalised images, in float64."""
    p = math.prod(images.shape[1:])
    centre, spread = mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1)
    pixel_mean = mean.new_zeros(p)
    for start in range(0, len(images), _CHUNK):
        part = _scaled(images[start : start + _CHUNK], torch.float64)
        pixel_mean += ((part - centre) / spread).flatten(1).sum(0) / len(images)
    products = mean.new_zeros(p, p)
    for start in range(0, len(images), _CHUNK):
        part = _scaled(images[start : start + _CHUNK], torch.float64)
        flat = ((part - centre) / spread).flatten(1) - pixel_mean
        products.addmm_(flat.T, flat)
    values, vectors = torch.linalg.eigh(products / len(images))
    values = values.clamp_min(0.0)
    shrunk = values + l2 * values.mean()
    # Directions in which the images do not vary at all are dropped when nothing regularises them.
    floor = p * torch.finfo(torch.float64).eps * float(values.max())
    gain = torch.where(shrunk > floor, shrunk, torch.inf).rsqrt()
    return pixel_mean, (vectors * gain) @ vectors.T
