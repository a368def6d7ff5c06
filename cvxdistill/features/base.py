"""Networks that turn images into features, and extractors, which are networks held still.

A [Network][cvxdistill.features.base.Network] is a recipe: a frozen value that takes shapes, never
data-set names. The same recipe serves as an extractor's trunk and as a student that is trained
from scratch.
"""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cvxdistill.errors import InputError
from cvxdistill.features.initialise import draw_weights


@dataclasses.dataclass(frozen=True)
class Network(ABC):
    """A recipe for a trunk. To add one: a subclass in its own file, one line in `FEATURES`.

    The contract, checked for every registered network: `build(shape, g)` maps `(n, *shape)` to
    `(n, d)` with the same `d` for every `n`; equal generators give equal weights; in eval mode a
    row's features do not depend on the other rows; the global random state is left alone; several
    threads may call the module at once.

    Attributes:
        bottleneck: when given, a last linear layer without activation to that many features. A
            dense bottleneck keeps the base features of full rank where rarely active ReLUs do
            not, which is what lossless labels need.
    """

    bottleneck: int | None = dataclasses.field(default=None, kw_only=True)

    name: ClassVar[str]
    trainable: ClassVar[bool] = True
    prepares: ClassVar[bool] = False
    """Whether the module preprocesses raw images itself, so that nobody else may."""

    def __post_init__(self) -> None:
        if self.bottleneck is not None and self.bottleneck < 1:
            raise InputError(f"`bottleneck` must be 1 or more; got {self.bottleneck}.")

    @abstractmethod
    def trunk(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the module `(n, *input_shape) -> (n, d)`, its weights still undrawn.

        Raises:
            InputError: the network cannot take images of this shape.
        """

    def build(self, input_shape: tuple[int, ...], generator: torch.Generator) -> nn.Module:
        """Return the trunk, with the bottleneck if any, its weights drawn from `generator`.

        Raises:
            InputError: the network cannot take images of this shape.
        """
        # On the meta device construction allocates nothing and draws nothing from the global
        # generator; the weights are drawn afterwards, from ours alone.
        with torch.device("meta"):
            module = self.trunk(input_shape)
            if self.bottleneck is not None:
                width = feature_count(module, input_shape)
                module = nn.Sequential(module, nn.Linear(width, self.bottleneck))
        return draw_weights(module.to_empty(device="cpu"), generator)

    def options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, for manifests and spec strings."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    def identity(self, input_shape: tuple[int, ...]) -> str:
        """Return what a fingerprint holds of the recipe, besides the weights."""
        return f"{self}{input_shape}"

    def __str__(self) -> str:
        """Return the spec string that `parse_network` reads, such as `convnet:width=64`."""
        listed = ",".join(f"{key}={value}" for key, value in self.options().items())
        return f"{self.name}:{listed}" if listed else self.name


def feature_count(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the number of features a meta-device trunk gives for each image.

    Raises:
        InputError: the image is too small for the network, or the output is not `(n, d)`.
    """
    try:
        # Two images, since BatchNorm refuses a single value a channel before eval mode is set.
        out = module(torch.empty(2, *input_shape, device="meta"))
    except RuntimeError as error:
        raise InputError(
            f"this network cannot take images of shape {input_shape}: {error}. Use a shallower "
            "network or larger images."
        ) from error
    if out.ndim != 2:
        raise InputError(f"a trunk must give (n, d) features; got shape {tuple(out.shape)}.")
    return int(out.shape[1])


def _tried(module: nn.Module, images: Tensor) -> Tensor:
    """Return what a module gives for images, whatever it may raise as one clear error."""
    try:
        features: Tensor = module(images)
    except InputError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise InputError(
            f"this network cannot take images of shape {tuple(images.shape[1:])}: {said}. Look at "
            "the number of channels and the size that it expects."
        ) from error
    return features


class Extractor(nn.Module):
    """A network with its weights, frozen and in eval mode for good.

    Attributes:
        network: the recipe.
        input_shape: shape of one preprocessed image.
        num_features: `d`.
        seed: seed of the stream that the weights were drawn from; `None` for weights from a file.
        trained: the weights were trained, so the seed alone does not give them back.
    """

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        input_shape: tuple[int, ...],
        *,
        seed: int | None,
        trained: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.module = module.requires_grad_(False)
        self.input_shape = tuple(input_shape)
        self.seed = seed
        self.trained = trained
        super().train(False)
        device = next(module.parameters(), torch.empty(0)).device
        if device.type == "cpu":
            # The layout alone: convolutions on a CPU are 1.4 to 2 times quicker this way.
            module.to(memory_format=torch.channels_last)
        with torch.no_grad():
            features = _tried(module, torch.zeros(1, *self.input_shape, device=device))
        if features.ndim != 2:
            raise InputError(
                f"an extractor must give features (n, d); got shape {tuple(features.shape)} for "
                "one image. Append nn.Flatten() or a pooling layer."
            )
        self.num_features = int(features.shape[1])

    def train(self, mode: bool = True) -> "Extractor":
        """Stay in eval mode, whatever `mode` says: features must not depend on the batch."""
        del mode
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map preprocessed images `(n, *input_shape)` to features `(n, d)`.

        A network that `prepares` takes raw images: bytes, or floats in [0, 1].
        """
        features: Tensor = self.module(images)
        return features

    def fingerprint(self) -> str:
        """SHA-256 over the recipe and every weight and buffer."""
        digest = hashlib.sha256(self.network.identity(self.input_shape).encode())
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def spec(self) -> dict[str, Any]:
        """Return what an artefact records: recipe, shape, seed, whether trained, fingerprint."""
        return {
            "network": str(self.network),
            "input_shape": list(self.input_shape),
            "num_features": self.num_features,
            "seed": self.seed,
            "trained": self.trained,
            "fingerprint": self.fingerprint(),
        }
