"""Extractors from elsewhere: torchvision, timm, any importable module, and texts.

To add a source of networks for images: a subclass of `Backbone` in a file of its own and a line in
`BACKBONES`.
"""

from cvxdistill.errors import InputError
from cvxdistill.features.pretrained.base import Backbone, Loaded
from cvxdistill.features.pretrained.imported import ImportedBackbone
from cvxdistill.features.pretrained.prepare import NORMALISATIONS, Prepare, Prepared
from cvxdistill.features.pretrained.text import TextEncoder, TextModel, parse_text_model
from cvxdistill.features.pretrained.timm_models import TimmBackbone
from cvxdistill.features.pretrained.torchvision_models import TorchvisionBackbone
from cvxdistill.specs import parse_spec

__all__ = [
    "BACKBONES",
    "NORMALISATIONS",
    "Backbone",
    "ImportedBackbone",
    "Loaded",
    "Prepare",
    "Prepared",
    "TextEncoder",
    "TextModel",
    "TimmBackbone",
    "TorchvisionBackbone",
    "parse_backbone",
    "parse_text_model",
]

BACKBONES: dict[str, type[Backbone]] = {
    "module": ImportedBackbone,
    "timm": TimmBackbone,
    "torchvision": TorchvisionBackbone,
}


def parse_backbone(spec: str) -> Backbone:
    """Read a network from elsewhere as a user types it; nothing is imported or loaded yet.

    Args:
        spec: `SOURCE:MODEL[@LAYER][,option=value...]`, the options being the fields of the source.

    Raises:
        InputError: an unknown source or option, no model, or a value of the wrong type.

    Example:
        >>> backbone = parse_backbone("torchvision:resnet18@layer4,weights=none,seed=3")
        >>> backbone.model, backbone.layer, backbone.weights, backbone.seed
        ('resnet18', 'layer4', None, 3)
        >>> str(backbone)
        'torchvision:resnet18@layer4,weights=none,seed=3'
    """
    source, _, rest = spec.strip().partition(":")
    first, comma, options = rest.partition(",")
    model, at, layer = first.strip().partition("@")
    if not model or "=" in model or (at and not layer):
        raise InputError(
            f"`{spec}` must name a network: {source}:MODEL, {source}:MODEL@LAYER, perhaps with "
            "options as in ,weights=none,seed=0."
        )
    named = [f"model={model}", *([f"layer={layer}"] if at else []), *([options] if comma else [])]
    return parse_spec(f"{source}:{','.join(named)}", BACKBONES, what="source of extractors")
