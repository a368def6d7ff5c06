"""Networks, extractors drawn or trained from them, and the features they give."""

from cvxdistill.features.alexnet import AlexNet
from cvxdistill.features.base import Extractor, Network
from cvxdistill.features.convnet import ConvNet
from cvxdistill.features.embedding import embed, embed_batches
from cvxdistill.features.encoders import Encoder, ImageEncoder, TextFeatures
from cvxdistill.features.extractor import draw_extractor, draw_pool, wrap_module
from cvxdistill.features.initialise import draw_weights
from cvxdistill.features.lenet import LeNet
from cvxdistill.features.mlp import MLP
from cvxdistill.features.moments import StatisticsCache, embed_statistics
from cvxdistill.features.pixels import Pixels
from cvxdistill.features.preprocess import Preprocessing
from cvxdistill.features.pretrained import (
    BACKBONES,
    Backbone,
    TextEncoder,
    TextModel,
    parse_backbone,
    parse_text_model,
)
from cvxdistill.features.registry import FEATURES, parse_network
from cvxdistill.features.resnet import ResNet18
from cvxdistill.features.shards import embed_items, embed_to_shards
from cvxdistill.features.store import (
    load_extractor,
    rebuild_extractor,
    rebuild_or_leave,
    save_extractor,
)
from cvxdistill.features.tap import POOLINGS, Tap
from cvxdistill.features.train import train_extractor

__all__ = [
    "BACKBONES",
    "FEATURES",
    "MLP",
    "POOLINGS",
    "AlexNet",
    "Backbone",
    "ConvNet",
    "Encoder",
    "Extractor",
    "ImageEncoder",
    "LeNet",
    "Network",
    "Pixels",
    "Preprocessing",
    "ResNet18",
    "StatisticsCache",
    "Tap",
    "TextEncoder",
    "TextFeatures",
    "TextModel",
    "draw_extractor",
    "draw_pool",
    "draw_weights",
    "embed",
    "embed_batches",
    "embed_items",
    "embed_statistics",
    "embed_to_shards",
    "load_extractor",
    "parse_backbone",
    "parse_network",
    "parse_text_model",
    "rebuild_extractor",
    "rebuild_or_leave",
    "save_extractor",
    "train_extractor",
    "wrap_module",
]
