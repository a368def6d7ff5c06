"""The networks by name, and the reading of networks from the words that a user types."""

from cvxdistill.features.alexnet import AlexNet
from cvxdistill.features.base import Network
from cvxdistill.features.convnet import ConvNet
from cvxdistill.features.lenet import LeNet
from cvxdistill.features.mlp import MLP
from cvxdistill.features.pixels import Pixels
from cvxdistill.features.pretrained import BACKBONES, parse_backbone
from cvxdistill.features.resnet import ResNet18
from cvxdistill.specs import parse_spec

FEATURES: dict[str, type[Network]] = {
    "alexnet": AlexNet,
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "pixels": Pixels,
    "resnet18": ResNet18,
}


def parse_network(spec: str) -> Network:
    """Read a network as a user types it: `lenet`, or `convnet:width=64,depth=2`.

    Each value is read as the type that its field declares; `none` stands for no value where the
    field allows it. `str(network)` gives such a string back. Networks from elsewhere are named by
    their source: `torchvision:resnet18@layer4`, `timm:NAME`, `module:package.attribute`.

    Raises:
        InputError: an unknown name or option, an option without a value or given twice, or a
            value of the wrong type or out of range.

    Example:
        >>> parse_network("convnet:width=64,depth=2")
        ConvNet(bottleneck=None, width=64, depth=2, norm='instance', pooling='avg')
        >>> str(parse_network("convnet:width=64,depth=2"))
        'convnet:width=64,depth=2'
    """
    if spec.strip().partition(":")[0] in BACKBONES:
        return parse_backbone(spec)
    return parse_spec(spec, FEATURES, what="network")
