"""What turns the examples of a stream into features: an extractor, or a text model."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from cvxdistill.data.items import Items, ItemStream
from cvxdistill.errors import InputError
from cvxdistill.features.base import Extractor
from cvxdistill.features.embedding import default_batch, own_threads
from cvxdistill.features.preprocess import Preprocessing
from cvxdistill.features.pretrained import Prepared, TextEncoder
from cvxdistill.features.probe import PROBE, plain_float32, probe

Content = Tensor | list[Tensor] | list[str]
_TEXT_BATCH = 64


class Encoder(ABC):
    """Turns examples into features, a batch at a time, on one device.

    Attributes:
        num_features: `d`.
        device: where it computes.
        batch_size: examples at once that are quick there.
        threads: how many batches may be computed side by side; 0 for one after another.
    """

    num_features: int
    device: torch.device
    batch_size: int
    threads: int = 0

    @abstractmethod
    def check(self, stream: ItemStream) -> None:
        """Find out before the work whether these examples can be taken.

        Raises:
            InputError: another kind or shape of examples, or features that are not a function of
                the example alone.
        """

    def load(self, items: Items) -> Content:
        """Make a batch ready to be sent to the device; called in a thread beside the computing."""
        return items.content

    @abstractmethod
    def encode(self, content: Content) -> Tensor:
        """Return the features `(b, d)` float32 of what `load` gave, on the device.

        Not waited for: on a GPU they may still be under way.

        Raises:
            InputError: examples that do not fit.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return what a manifest records of the network, with its fingerprint."""

    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Return what a manifest records of what is done to examples first."""


class ImageEncoder(Encoder):
    """An extractor with what is done to images before it.

    Args:
        extractor: the network held still; moved to `device`.
        preprocessing: of images; not used where the network `prepares` them itself.
        device: where to compute.
    """

    def __init__(
        self, extractor: Extractor, preprocessing: Preprocessing, device: torch.device | str
    ) -> None:
        self.device = torch.device(device)
        self.extractor = extractor.to(self.device)
        self._fitted = preprocessing.to(self.device)
        self.num_features = extractor.num_features
        self.batch_size = default_batch(extractor, self.device)
        self.threads = own_threads(extractor, self.device)

    @property
    def _prepares(self) -> bool:
        return self.extractor.network.prepares

    def check(self, stream: ItemStream) -> None:
        """Look at the first examples, and probe the extractor with them.

        Raises:
            InputError: texts, or images that the extractor does not take; or see `probe`.
        """
        if stream.kind == "texts":
            raise InputError(
                f"`{self.extractor.network}` takes images; `{stream.name}` holds texts. Use "
                "--extractor text:MODEL."
            )
        if not len(stream):
            raise InputError(f"`{stream.name}` has no examples in its {stream.split} part.")
        content = self.load(stream.read(0, min(PROBE, len(stream))))
        if not isinstance(content, Tensor):
            first = content[0]
            assert isinstance(first, Tensor)
            content = first[None]
        self.extractor.module.eval()
        ready = self._ready(content)
        assert isinstance(ready, Tensor)
        with plain_float32(self.device):
            probe(self.extractor, ready)

    def load(self, items: Items) -> Content:
        """Return the images in pinned memory where they go to a GPU."""
        content = items.content
        if self.device.type != "cuda":
            return content
        if isinstance(content, Tensor):
            return content if content.is_cuda else content.pin_memory()
        return [image.pin_memory() for image in content if isinstance(image, Tensor)]

    def encode(self, content: Content) -> Tensor:
        """Return the features of images; those of any sizes where the network prepares them.

        Raises:
            InputError: images that the extractor does not take.
        """
        with plain_float32(self.device):
            features: Tensor = self.extractor.module(self._ready(content)).float()
        return features

    def _ready(self, content: Content) -> Tensor | list[Tensor]:
        if isinstance(content, Tensor):
            images = content.to(self.device, non_blocking=True)
            if self._prepares:
                return images
            if tuple(images.shape[1:]) != self.extractor.input_shape:
                raise InputError(
                    f"this extractor takes images of shape {self.extractor.input_shape}; got "
                    f"{tuple(images.shape[1:])}."
                )
            return self._fitted(images)
        if not self._prepares:
            raise InputError(
                f"`{self.extractor.network}` takes images of one size. Make them so, or use a "
                "network that resizes them, such as torchvision:NAME."
            )
        return [
            image.to(self.device, non_blocking=True)
            for image in content
            if isinstance(image, Tensor)
        ]

    def spec(self) -> dict[str, Any]:
        """Return the extractor's spec, without the shape where images of any size are taken."""
        spec = self.extractor.spec()
        if self._prepares:
            del spec["input_shape"]
        return spec

    def preprocessing(self) -> dict[str, Any]:
        """Return the record of the network's own preprocessing or of that before it."""
        if not self._prepares:
            return self._fitted.record()
        prepared = [m for m in self.extractor.module.modules() if isinstance(m, Prepared)]
        return {"kind": "own", **(prepared[0].prepare.record() if prepared else {})}


class TextFeatures(Encoder):
    """A text model that turns streams of texts into features.

    Args:
        model: the text model; on its device already.
        device: where it computes.
    """

    def __init__(self, model: TextEncoder, device: torch.device | str) -> None:
        self.model = model
        self.device = torch.device(device)
        self.num_features = model.num_features
        self.batch_size = _TEXT_BATCH

    def check(self, stream: ItemStream) -> None:
        """See that these are texts.

        Raises:
            InputError: images.
        """
        if stream.kind != "texts":
            raise InputError(
                f"`{self.model.recipe}` takes texts; `{stream.name}` holds {stream.kind}. Use a "
                "file of texts, or an extractor of images."
            )

    def encode(self, content: Content) -> Tensor:
        """Return the features of texts."""
        with plain_float32(self.device):
            return self.model([text for text in content if isinstance(text, str)])

    def spec(self) -> dict[str, Any]:
        """Return the text model's spec."""
        return self.model.spec()

    def preprocessing(self) -> dict[str, Any]:
        """Return that texts are prepared by the model's own tokeniser."""
        return {"kind": "own"}
