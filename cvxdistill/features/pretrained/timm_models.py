"""`timm:NAME`: the networks of timm (PyTorch Image Models)."""

import dataclasses
import math
from typing import Any, ClassVar

from cvxdistill.errors import InputError
from cvxdistill.features.pretrained.base import Backbone, Loaded, check_model, unavailable
from cvxdistill.features.pretrained.prepare import Prepare
from cvxdistill.features.pretrained.weights import fill, read_weights

_REMOTE = ("hf-hub:", "hf_hub:")


@dataclasses.dataclass(frozen=True)
class TimmBackbone(Backbone):
    """A network of timm with its own preprocessing; needs the extra `vision`.

    Choose it for newer networks and weights than torchvision has, such as
    `timm:vit_small_patch14_dinov2.lvd142m`. Features are those that timm pools itself
    (`num_classes=0`), unless a layer is named.

    Source: Wightman (2019), "PyTorch Image Models", <https://github.com/huggingface/pytorch-image-models>.

    Attributes:
        weights: `DEFAULT` for those of the Hub that belong to the name; a file, whose classifier is
            passed over; or none.
    """

    name: ClassVar[str] = "timm"

    def load(self) -> Loaded:
        """Return the network with `num_classes=0`.

        Raises:
            InputError: timm is missing, an unknown network, or weights that cannot be had.
        """
        timm = _timm()
        if not self.model.startswith(_REMOTE):
            check_model("timm", self.model.partition(".")[0], timm.list_models())
        pretrained = self.weights == "DEFAULT"
        try:
            network = timm.create_model(self.model, pretrained=pretrained, num_classes=0)
        except Exception as error:
            if pretrained:
                raise unavailable(str(self), error) from error
            raise InputError(f"`{self}` cannot be built: {error}.") from error
        if self.weights is not None and not pretrained:
            told = network.pretrained_cfg.get("classifier") or ()
            cut = (told,) if isinstance(told, str) else tuple(told)
            fill(network, read_weights(self.weights), without=cut, place=f"`{self.weights}`")
        return Loaded(network, _prepare(timm.data.resolve_model_data_config(network), str(self)))


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise InputError(
            '`timm:NAME` needs timm, which cannot be imported: pip install "cvxdistill[vision]".'
        ) from error
    return timm


def _prepare(config: dict[str, Any], spec: str) -> Prepare:
    """Return the preprocessing that timm's data config describes, as timm evaluates with it."""
    channels, height, width = config["input_size"]
    share, mode = config["crop_pct"], config.get("crop_mode", "center")
    scaled = math.floor(height / share), math.floor(width / share)
    resize: int | tuple[int, int]
    if mode == "squash" or height != width:
        resize = scaled
    elif mode == "center":
        resize = scaled[0]
    else:
        raise InputError(f"`{spec}` crops by `{mode}`; only center and squash can be done here.")
    return Prepare(
        resize=resize,
        crop=(height, width),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        channels=channels,
    )
