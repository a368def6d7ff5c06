"""The tables of the paper and ours: one cell a base set, a target and a student network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cvxdistill.choose import choose_base
from cvxdistill.data import ImageSet, Splits, fit_images, open_source, split_source

# As large as two processor cores allow in minutes. Temperatures, numbers of steps and which round's
# labels are kept are chosen on validation in each cell.
OURS = "alternating:teachers=3,teacher_steps=400,students=4,student_steps=400,rounds=6"
TEACHER = "teacher:teachers=3,steps=400,students=2,student_steps=400"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One problem, and the methods that are compared on it.

    Attributes:
        target: data set, in which `{data_root}` stands for the folder of the data sets.
        base: data set of the base examples, likewise; the target's own when empty.
        fit: how base images are given the target's shape; not at all when empty.
        examples: number of base examples.
        student: network that labels are learned for.
        methods: what is run, by name, as on the command line.
        seeds: students a number.
        zca: whiten images.
        checkpoints: numbers of steps among which the labels without a recipe choose.
        splits: options of `load_splits`.
        transfer: further students, trained by the labels' own recipe.
        missing: files that are not to be had everywhere, and how to come by them; the cell is not
            run without them.
    """

    target: str
    base: str = ""
    fit: str = ""
    examples: int = 100
    student: str = "lenet"
    methods: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: int = 20
    zca: bool = False
    checkpoints: tuple[int, ...] = (50, 100, 200)
    splits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    transfer: tuple[str, ...] = ()
    missing: str = ""

    def load(self, data_root: str, *, download: bool = False) -> tuple[Splits, ImageSet]:
        """Return the target's parts and the base examples, a balanced random draw.

        Base examples from another data set come from its training part, or from all of it where
        it is undivided.

        Args:
            data_root: folder of the data sets.
            download: fetch missing files, but for targets of which the test files alone are used.

        Raises:
            InputError: files that are missing or damaged.
        """
        fetch = download and "test_fraction" not in self.splits
        target = open_source(
            self.target.format(data_root=data_root), data_root=data_root, download=fetch
        )
        parts = split_source(target, **self.splits)
        if not self.base:
            return parts, choose_base(parts.train, self.examples)
        source = open_source(
            self.base.format(data_root=data_root), data_root=data_root, download=download
        )
        if self.fit:
            source = source.fitted(parts.train.shape, self.fit)
        whole = source.load("all") if "all" in source.splits() else split_source(source).train
        base = choose_base(whole, self.examples)
        return parts, fit_images(base, parts.train.shape, how=self.fit) if self.fit else base


ONLINE = {"online-ridge": "online-ridge", "second-order": "second-order"}
# What a GPU does in less than a minute.
LARGE_OURS = "alternating:teachers=4,teacher_steps=1000,students=4,student_steps=400,rounds=6"
LARGE_TEACHER = "teacher:teachers=4,steps=1000,search=halving,students=2,student_steps=400"
LARGE = {
    "teacher": LARGE_TEACHER,
    "teacher, scores": f"{LARGE_TEACHER},reading=scores",
    "alternating": LARGE_OURS,
}
SHIFTED = "augment=flip-shift"
LARGE_SHIFTED = {
    "teacher, flip-shift": f"{LARGE_TEACHER},{SHIFTED}",
    "teacher, scores, flip-shift": f"{LARGE_TEACHER},{SHIFTED},reading=scores",
    "alternating, flip-shift": "alternating:teachers=4,teacher_steps=1000,students=8,"
    f"student_steps=300,rounds=4,{SHIFTED}",
}
FROM_SCRATCH = {
    "teacher": TEACHER,
    "teacher, scores": f"{TEACHER},reading=scores",
    "alternating": OURS,
}
ALL = {**ONLINE, **FROM_SCRATCH}
FROM_LETTERS: dict[str, Any] = {"base": "emnist-letters", "methods": ALL}
KMNIST: dict[str, Any] = {
    "target": "kmnist",
    "splits": {"test_fraction": 0.2},
    "missing": "KMNIST's test files without its training files: t10k-* in DATA_ROOT/KMNIST/raw",
}
# A lossy copy, whose numbers stand beside their own baselines alone.
CIFAR: dict[str, Any] = {
    "target": "folder:{data_root}/cifar10-jpeg.tar.gz",
    "seeds": 10,
}
CONVNET = "convnet:width=128,depth=3"

CELLS: dict[str, Cell] = {
    "mnist-lenet-100": Cell(
        "mnist",
        methods={**ALL, "images": "images", "images-labels": "images-labels"},
        transfer=("mlp", "convnet:width=32,depth=3", "resnet18:width=8", "alexnet"),
    ),
    "mnist-lenet-10": Cell("mnist", examples=10, methods=ALL),
    "mnist-lenet-500": Cell("mnist", examples=500, methods=ALL),
    "mnist-convnet-100": Cell("mnist", student=CONVNET, methods=LARGE),
    "kmnist-lenet-100": Cell(**KMNIST, methods=ALL),
    "cifar10-jpeg-alexnet-100": Cell(
        **CIFAR, student="alexnet", methods={**LARGE, **LARGE_SHIFTED, **ONLINE}
    ),
    "cifar10-jpeg-convnet-100": Cell(
        **CIFAR, student=CONVNET, zca=True, methods={**LARGE, **LARGE_SHIFTED, **ONLINE}
    ),
    "letters-mnist-100": Cell("mnist", **FROM_LETTERS),
    "letters-kmnist-100": Cell(**KMNIST, **FROM_LETTERS),
    "letters-k49-100": Cell(
        "k49",
        **FROM_LETTERS,
        missing="Kuzushiji-49: k49-*.npz in DATA_ROOT/K49, from http://codh.rois.ac.jp/kmnist/",
    ),
    "cub-cifar10-100": Cell(
        **CIFAR,
        base="folder:{data_root}/CUB_200_2011/images",
        fit="resize",
        student="alexnet",
        methods=FROM_SCRATCH,
        missing="CUB-200-2011: CUB_200_2011/images in DATA_ROOT, unpacked from the archive at "
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    ),
    "cifar100-alexnet-100": Cell(
        "cifar100",
        student="alexnet",
        methods=FROM_SCRATCH,
        seeds=10,
        missing="CIFAR-100: --download, or cifar-100-python.tar.gz in DATA_ROOT, from "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
}
