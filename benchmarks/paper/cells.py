"""The tables of the paper and ours: one cell a base set, a target and a student network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cvxdistill.data import ImageSet, Splits, choose_base, load_splits

# As large as two processor cores allow in minutes. Temperatures, numbers of steps and which round's
# labels are kept are chosen on validation in each cell, with equally many students for all.
OURS = "alternating:teachers=4,teacher_steps=600,students=4,student_steps=400,rounds=8"
TEACHER = "teacher:teachers=4,steps=600,students=4,student_steps=400"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One problem, and the methods that are compared on it.

    Attributes:
        target: data set, in which `{data_root}` stands for the folder of the data sets.
        base: data set of the base examples; the target's own when empty.
        examples: number of base examples.
        student: network that labels are learned for.
        methods: what is run, by name, as on the command line.
        seeds: students a number.
        zca: whiten images.
        checkpoints: numbers of steps among which the labels without a recipe choose.
        splits: options of `load_splits`.
        transfer: further students, trained by the labels' own recipe.
        missing: files that are not to be had everywhere; the cell is not run without them.
    """

    target: str
    base: str = ""
    examples: int = 100
    student: str = "lenet"
    methods: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: int = 20
    zca: bool = False
    checkpoints: tuple[int, ...] = (50, 150, 400)
    splits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    transfer: tuple[str, ...] = ()
    missing: str = ""

    def load(self, data_root: str) -> tuple[Splits, ImageSet]:
        """Return the target's parts and the base examples, a balanced random draw."""
        parts = load_splits(
            self.target.format(data_root=data_root), data_root=data_root, **self.splits
        )
        source = parts.train
        if self.base:
            source = load_splits(self.base, data_root=data_root).train
        return parts, choose_base(source, self.examples)


ONLINE = {"online-ridge": "online-ridge", "second-order": "second-order"}
LENET = {
    **ONLINE,
    "teacher": TEACHER,
    "teacher, scores": f"{TEACHER},reading=scores",
    "alternating": OURS,
}
CONV = {
    "teacher": TEACHER,
    "teacher, scores": f"{TEACHER},reading=scores",
    "alternating": OURS,
}
FROM_LETTERS: dict[str, Any] = {"base": "emnist-letters", "methods": LENET}
KMNIST: dict[str, Any] = {"target": "kmnist", "splits": {"test_fraction": 0.2}}
# A lossy copy, whose numbers stand beside their own baselines alone.
CIFAR: dict[str, Any] = {
    "target": "folder:{data_root}/cifar10-jpeg.tar.gz",
    "seeds": 10,
}
CONVNET = "convnet:width=128,depth=3"

CELLS: dict[str, Cell] = {
    "mnist-lenet-100": Cell(
        "mnist",
        methods={**LENET, "images": "images", "images-labels": "images-labels"},
        transfer=("mlp", "convnet:width=64,depth=3", "alexnet", "resnet18:width=16"),
    ),
    "mnist-lenet-10": Cell("mnist", examples=10, methods=LENET),
    "mnist-lenet-500": Cell("mnist", examples=500, methods=LENET),
    "mnist-convnet-100": Cell("mnist", student=CONVNET, methods=CONV),
    "kmnist-lenet-100": Cell(**KMNIST, methods=LENET),
    "cifar10-jpeg-alexnet-100": Cell(**CIFAR, student="alexnet", methods={**ONLINE, **CONV}),
    "cifar10-jpeg-convnet-100": Cell(**CIFAR, student=CONVNET, zca=True, methods=CONV),
    "letters-mnist-100": Cell("mnist", **FROM_LETTERS),
    "letters-kmnist-100": Cell(**KMNIST, **FROM_LETTERS),
    "letters-k49-100": Cell("k49", **FROM_LETTERS, missing="Kuzushiji-49"),
    "cub-cifar10-100": Cell(
        **CIFAR, base="cub", student="alexnet", methods=CONV, missing="CUB-200-2011"
    ),
    "cifar100-alexnet-100": Cell(
        "cifar100", student="alexnet", methods=CONV, seeds=10, missing="CIFAR-100"
    ),
}
