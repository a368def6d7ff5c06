"""The label JSON of the authors' scripts (Bohdal, Yang and Hospedales 2020)."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice
from cvxdistill.choose import BaseRequest, ByIndices
from cvxdistill.data import FITS, ImageSet, fit_images, load_splits, open_source
from cvxdistill.errors import InputError
from cvxdistill.export.authors_draws import TARGET_DRAWS, pick_again, same_classes
from cvxdistill.export.base import Importer
from cvxdistill.features import Preprocessing

# What their scripts subtract and divide by, for grey and for colour targets.
_NORMALISATION = {
    1: ((0.1307,), (0.3081,)),
    3: ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
}
# Their scripts take the images of these as they lie in the files: columns as rows.
_TRANSPOSED = ("emnist-letters",)
_REPORTED = ("test_top_1_error", "num_test_steps", "total_train_time")


@dataclasses.dataclass(frozen=True)
class Authors(Importer):
    """What `label_distillation_rr.py` and `label_distillation_or2.py` write to `results/`.

    The JSON has the labels and the classes of the base examples, not the images. Those are picked
    again from the scripts' seed and proved by the recorded classes, or named by `indices`. Images
    are given as the labels were learned for them: EMNIST letters lie on their side there, with
    columns as rows. Source: <https://github.com/ondrejbohdal/label-distillation>.

    Attributes:
        target: the data set that the labels were learned for, such as `mnist`.
        base: the data set of the base examples; the target's when not given.
        data_root: folder with the files of named data sets.
        download: fetch missing files.
        base_fit: make base images fit the target's, a key of `FITS`; their scripts do `resize`.
        indices: which images, in the order of the JSON: numbers with commas, or a file of them.
        seed: their `random_seed`, in the name of the experiment: 1234 in all of the paper's.
    """

    target: str | None = None
    base: str | None = None
    data_root: str | None = None
    download: bool = False
    base_fit: str | None = None
    indices: str | None = None
    seed: int = 1234

    name = "authors"
    expected = "a label JSON of the authors' scripts"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Say whether it is a JSON file."""
        return path.suffix.lower() == ".json" and path.is_file()

    def _read(self, path: Path) -> Distilled:
        if self.target is None:
            raise InputError(
                "a label JSON names no data set: give the one that the labels were learned for as "
                "`target` (--target mnist), and `base` if the images are of another."
            )
        if self.base_fit is not None:
            check_choice("base_fit", self.base_fit, FITS)
        known = _parse(path)
        target = load_splits(self.target, data_root=self.data_root, download=self.download).train
        if len(target.shape) != 3 or target.shape[0] not in _NORMALISATION:
            raise InputError(
                f"the authors' labels are for images, grey or colour; `{target.name}` has examples "
                f"of shape {target.shape}."
            )
        if target.num_classes != known.labels.shape[1]:
            raise InputError(
                f"{path} holds labels over {known.labels.shape[1]} classes; `{target.name}` has "
                f"{target.num_classes}. Give the data set that they were learned for as `target`."
            )
        source = self._source(target)
        positions, how = self._positions(path, known, source, target)
        base = source.subset(positions, split="base")
        if base.name in _TRANSPOSED:
            base = dataclasses.replace(base, images=base.images.mT.contiguous())
        if self.base_fit is not None:
            base = fit_images(base, target.shape, how=self.base_fit)
        if base.shape != target.shape:
            raise InputError(
                f"images of `{base.name}` have shape {base.shape}, those of `{target.name}` "
                f"{target.shape}. Make them fit: `base_fit` (--base-fit resize)."
            )
        mean, std = (torch.tensor(values) for values in _NORMALISATION[target.shape[0]])
        return Distilled(
            base=base,
            labels=known.labels,
            label_kind="distribution",
            class_names=target.class_names,
            preprocessing=Preprocessing(mean=mean, std=std),
            provenance=self._provenance(path, known, target, base, how),
        )

    def _source(self, target: ImageSet) -> ImageSet:
        """Return the whole training part that base examples are picked from."""
        name = self.base or self.target
        source = open_source(str(name), data_root=self.data_root, download=self.download)
        if self.base_fit is not None:
            source = source.fitted(target.shape, self.base_fit)
        return source.load("train" if "train" in source.splits() else "all")

    def _positions(
        self, path: Path, known: "_Known", source: ImageSet, target: ImageSet
    ) -> tuple[Tensor, str]:
        """Return positions of the base examples in the source, and how they were found."""
        if self.indices is not None:
            request = BaseRequest(source, examples=len(known.labels), indices=self.indices)
            positions = ByIndices().choose(request)
            if not same_classes(source.labels[positions], known.classes):
                raise InputError(
                    f"the examples of `{source.name}` that `indices` name are of other classes "
                    f"than the base examples of {path}. Check the numbers, their order, and `base`."
                )
            return positions, "indices"
        pick = pick_again(
            source.labels,
            known.classes,
            target=target.name,
            num_classes=target.num_classes,
            seed=self.seed,
        )
        if pick is None:
            raise InputError(
                f"the base examples of {path} cannot be picked again: seed {self.seed} for target "
                f"`{target.name}` does not give the recorded classes in `{source.name}`. Correct "
                "`seed`, `target` and `base`, or name the images by `indices` (--indices FILE); "
                f"targets whose draws are known: {', '.join(TARGET_DRAWS)}."
            )
        return pick.positions, "balanced" if pick.balanced else "random"

    def _provenance(
        self, path: Path, known: "_Known", target: ImageSet, base: ImageSet, how: str
    ) -> dict[str, Any]:
        return {
            "data": {"target": self.target},
            "base": {
                "source": self.base,
                "choose": how,
                "fit": self.base_fit,
                "transposed": base.name in _TRANSPOSED,
            },
            "method": {"name": "authors", "options": f"label JSON {path.name}"},
            "target": {
                "name": target.name,
                "split": target.split,
                "examples": len(target),
                "fingerprint": target.fingerprint(),
            },
            "seed": self.seed,
            "status": "imported",
            "certificate": None,
            "certificate_text": None,
            "seconds": known.reported.get("total_train_time"),
            "reported": known.reported,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """What the JSON tells: `(m, C)` labels, classes of the base examples, their own results."""

    labels: Tensor
    classes: list[int]
    reported: dict[str, float]


def _parse(path: Path) -> _Known:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, Mapping) or not {"labels", "base_example_labels"} <= found.keys():
        raise InputError(f"{path} must be an object with `labels` and `base_example_labels`.")
    if found["labels"] == []:
        raise InputError(
            f"{path} holds no labels: the experiment is a baseline or did not reach its end."
        )
    labels, classes = np.asarray(found["labels"]), np.asarray(found["base_example_labels"])
    if labels.dtype.kind not in "fi" or labels.ndim != 3 or len(labels) != 1:
        raise InputError(
            f"`labels` in {path} must be a list of one list of m rows of C numbers; got shape "
            f"{labels.shape} of {labels.dtype}."
        )
    whole = classes.dtype.kind in "fi" and bool((classes == np.floor(classes)).all())
    if not whole or classes.shape != labels.shape[1:2]:
        raise InputError(
            f"`base_example_labels` in {path} must be {labels.shape[1]} class numbers, one a row "
            f"of `labels`; got shape {classes.shape} of {classes.dtype}."
        )
    numbers = {key: found[key] for key in _REPORTED if isinstance(found.get(key), list)}
    means = {
        key: float(np.mean(value))
        for key, value in numbers.items()
        if value and all(isinstance(item, int | float) for item in value)
    }
    return _Known(
        labels=torch.from_numpy(labels[0].astype(np.float64)),
        classes=[int(number) for number in classes],
        reported=means,
    )
