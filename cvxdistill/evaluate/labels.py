"""The label sets that are measured side by side, and how students may read each."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.data import ImageSet
from cvxdistill.labels import one_hot, smoothed
from cvxdistill.students import Recipe

LABEL_SETS = ("distilled", "hard", "smoothed", "full")
# How students may read labels; validation chooses, with as many tries for the baseline as for the
# distilled labels. Scores are multiplied by the scale: small targets are fitted before the hidden
# layers have moved, and on digits a ConvNet gains 4 points from the larger scale.
SMOOTHINGS = (0.1, 0.3)
SCALES = (1.0, 3.0)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSet:
    """Labels to train students on; several candidates leave a choice to validation.

    Attributes:
        name: one of `LABEL_SETS`.
        examples: `(m, *shape)` preprocessed.
        label_kind: `distribution` or `scores`.
        candidates: labels `(m, C)` by the value of `option`.
        recipe: how students are trained on them.
        option: what the candidates differ in, such as `smoothing`.
        settled: the recipe came with the labels and leaves nothing to tune.
    """

    name: str
    examples: Tensor
    label_kind: str
    candidates: Mapping[float, Tensor]
    recipe: Recipe
    option: str = ""
    settled: bool = False


def make_label_sets(
    distilled: Distilled,
    names: Collection[str],
    train: ImageSet | None,
    *,
    recipe: Recipe,
    preprocess: Callable[[Tensor], Tensor],
) -> list[LabelSet]:
    """Return what students are trained on, the distilled labels first.

    Labels that have a recipe keep it. The others get `recipe`, and may choose the former's numbers
    of steps too, so that nobody has more to choose from; they see images augmented in the same way
    unless `recipe` says how.

    Args:
        distilled: gives examples, labels and perhaps a recipe.
        names: the wanted ones of `LABEL_SETS`; those of true labels only where there are any.
        train: the training examples, for `full`, which is missing without them.
        recipe: how students are trained where labels came without a recipe.
        preprocess: of examples.
    """
    classes, own, kind = len(distilled.class_names), distilled.recipe, distilled.label_kind
    base, truth = preprocess(distilled.examples), distilled.true_labels
    steps = set(recipe.checkpoints) | set(own.checkpoints if own else ())
    augment = own.augment if own and recipe.augment == "none" else recipe.augment
    grid = dataclasses.replace(recipe, checkpoints=tuple(sorted(steps)), augment=augment)
    sets = []
    if "distilled" in names:
        scales = SCALES if kind == "scores" and own is None else (1.0,)
        scaled = {scale: scale * distilled.labels for scale in scales}
        option = "scale" if len(scales) > 1 else ""
        settled = own is not None
        sets.append(LabelSet("distilled", base, kind, scaled, own or recipe, option, settled))
    if "hard" in names and truth is not None:
        hard = {0.0: one_hot(truth, classes)}
        sets.append(LabelSet("hard", base, "distribution", hard, grid))
    if "smoothed" in names and truth is not None:
        soft = {s: smoothed(truth, classes, smoothing=s) for s in SMOOTHINGS}
        sets.append(LabelSet("smoothed", base, "distribution", soft, grid, "smoothing"))
    if "full" in names and train is not None:
        every = {0.0: one_hot(train.labels.cpu(), classes)}
        sets.append(LabelSet("full", preprocess(train.images), "distribution", every, grid))
    return sets
