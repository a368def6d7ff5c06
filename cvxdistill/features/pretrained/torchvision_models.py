"""`torchvision:NAME`: the classification networks of torchvision."""

import contextlib
import dataclasses
import sys
from typing import Any, ClassVar

from cvxdistill.checks import check_choice
from cvxdistill.errors import InputError
from cvxdistill.features.pretrained.base import Backbone, Loaded, check_model, unavailable
from cvxdistill.features.pretrained.prepare import Prepare
from cvxdistill.features.pretrained.weights import fill, read_weights
from cvxdistill.features.tap import cut_classifier, find_classifier


@dataclasses.dataclass(frozen=True)
class TorchvisionBackbone(Backbone):
    """A classification network of torchvision with its own preprocessing.

    Choose it for the networks that are everywhere: `torchvision:resnet50`, `torchvision:vit_b_16`.
    Features are what the last linear layer reads, unless a layer is named.

    Source: <https://docs.pytorch.org/vision/stable/models.html>.

    Attributes:
        weights: `DEFAULT` or another member of the network's weights enum, such as
            `IMAGENET1K_V1`; a file; or none. The classifier in a file is passed over, so that
            networks tuned to other classes can be read.
        transforms: member of the enum whose preprocessing is used where weights are a file or
            random.
    """

    transforms: str = "DEFAULT"

    name: ClassVar[str] = "torchvision"

    def load(self) -> Loaded:
        """Return the network without its classifier.

        Raises:
            InputError: an unknown network or member, or weights that cannot be had.
        """
        models = _models()
        check_model("torchvision", self.model, models.list_models(module=models))
        enum = models.get_model_weights(self.model)
        named = self.weights if self.weights in enum.__members__ else None
        told = check_choice("transforms", named or self.transforms, enum.__members__)
        network = models.get_model(self.model, weights=None)
        classifier = find_classifier(network)
        if classifier is None and self.layer is None:
            raise InputError(
                f"`torchvision:{self.model}` has no linear classifier to cut off. Name the layer "
                f"to take: torchvision:{self.model}@LAYER."
            )
        cut = [classifier] if classifier else []
        for name in cut:
            cut_classifier(network, name)
        if self.weights is not None:
            fill(network, self._tensors(enum, named), without=cut, place=f"`{self.weights}`")
            if hasattr(network, "transform_input"):
                # Weights of the Inception family were trained with other scales of the channels.
                network.transform_input = True
        return Loaded(network, _prepare(enum[told].transforms()))

    def _tensors(self, enum: Any, named: str | None) -> Any:
        if named is None:
            if "/" not in str(self.weights) and "." not in str(self.weights):
                check_choice(f"weights of {self.model}", str(self.weights), enum.__members__)
            return read_weights(str(self.weights))
        try:
            # It says on stdout that it downloads, where there may be JSON.
            with contextlib.redirect_stdout(sys.stderr):
                return enum[named].get_state_dict(
                    progress=False, check_hash=True, weights_only=True
                )
        except Exception as error:
            raise unavailable(f"torchvision:{self.model}", error) from error


def _models() -> Any:
    """Import torchvision's models only now: it does not import beside every build of PyTorch."""
    try:
        from torchvision import models
    except Exception as error:
        raise InputError(
            f"torchvision cannot be imported ({str(error).splitlines()[0]}). Install the one that "
            "belongs to your build of PyTorch."
        ) from error
    return models


def _prepare(transforms: Any) -> Prepare:
    """Return the preprocessing of a member of a weights enum."""
    size = transforms.resize_size
    crop = transforms.crop_size
    height, width = (*crop, *crop)[:2]
    return Prepare(
        resize=size[0] if len(size) == 1 else (size[0], size[1]),
        crop=(height, width),
        interpolation=transforms.interpolation.value,
        antialias=bool(transforms.antialias),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        channels=3,
    )
