"""Networks of the size of a test, to be named as `module:tiny_nets.NAME`."""

import torch
from torch import nn


class Tiny(nn.Module):
    """Two convolutions and a classifier, for images of three channels and any size."""

    def __init__(self, classes=5):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.ReLU())
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, classes)
        self.unused = nn.Linear(2, 2)

    def forward(self, images):
        return self.fc(self.norm(self.second(self.first(images))).mean((2, 3)))


class Tokens(nn.Module):
    """Patches of 4 x 4 as tokens, with a first one that is their sum."""

    def forward(self, images):
        patches = nn.functional.unfold(images, 4, stride=4).transpose(1, 2)
        return torch.cat([patches.sum(1, keepdim=True), patches], 1)


def tiny():
    """What `module:` calls without arguments."""
    return Tiny()


class Pair(nn.Module):
    """Gives no tensor."""

    def forward(self, images):
        return images, images


instance = Tiny(classes=3)
number = 7


def needs_an_argument(width):
    return nn.Linear(width, 1)


def gives_no_network():
    return 3
