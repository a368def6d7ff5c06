"""What a way to store labels takes, and what it costs in accuracy."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from cvxdistill.artifact import Distilled
from cvxdistill.compress.metric import label_metric
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.evaluate import extractors_by_setting, interval
from cvxdistill.features import Extractor, Network, embed
from cvxdistill.progress import Progress, silent
from cvxdistill.seeding import generator

# Training examples that the metric is made from; more of them move it by little.
METRIC_EXAMPLES = 5_000


@dataclasses.dataclass(frozen=True)
class CodecRow:
    """What one way to store the labels takes, and what it costs.

    Attributes:
        codec: its spec.
        feedback: rounded with a metric, so that errors of rows make up for one another.
        bits: of all labels.
        bits_per_entry: `bits / (m C)`.
        max_error: the largest error of an entry.
        relative_error: norm of all errors, relative to the norm of the labels.
        accuracy: on validation examples, for each setting the mean over its extractors.
        agreement: share of validation examples whose prediction is that of the labels as they
            were, mean over all extractors.
        loss: what is lost against the labels as they were, in the setting where that is most; below
            zero where they do better.
    """

    codec: str
    feedback: bool
    bits: int
    bits_per_entry: float
    max_error: float
    relative_error: float
    accuracy: dict[str, float]
    agreement: float
    loss: float

    def record(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """Base and validation features under one extractor, and what the plain labels predict."""

    setting: str
    extractor: Extractor
    base: Tensor
    query: Tensor
    plain: Tensor


class CodecJudge:
    """Measures compressed labels beside the labels as they were; features are computed once.

    Args:
        distilled: with the labels as they were.
        validation: examples with their classes.
        unseen: network of the unseen extractors; the artefact's own when not given.
        seeds: unseen extractors drawn.
        seed: of every draw here.
        device: where networks run.
        progress: told how far the work is.

    Raises:
        InputError: other classes or shapes than the artefact's, or no extractor to measure with.
    """

    def __init__(
        self,
        distilled: Distilled,
        validation: ImageSet,
        *,
        unseen: str | Network | None = None,
        seeds: int = 3,
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> None:
        if (
            validation.shape != distilled.base.shape
            or validation.class_names != distilled.class_names
        ):
            raise InputError(
                f"`validation` must have examples of shape {distilled.base.shape} and the "
                f"{len(distilled.class_names)} classes of the labels; got {validation.shape} and "
                f"{validation.num_classes} classes (or other names)."
            )
        self.distilled, self.device, self.seed = distilled, torch.device(device), seed
        self.truth = validation.labels.to(self.device)
        settings = extractors_by_setting(distilled, unseen, seeds, seed)
        if not settings:
            raise InputError(
                "this artefact holds no extractor that labels could be measured with. Name a "
                "network to draw unseen ones from (--unseen convnet:width=64)."
            )
        every = [(setting, one) for setting, ones in settings.items() for one in ones]
        self.seen: list[_Seen] = []
        for index, (setting, extractor) in enumerate(every):
            progress("features", index, len(every))
            self.seen.append(self._look(setting, extractor.to(self.device), validation))
        progress("features", len(every), len(every))

    def row(self, compressed: Distilled, *, feedback: bool) -> CodecRow:
        """Return what compressed labels take and cost."""
        before, after = self.distilled.labels.double(), compressed.labels.double()
        accuracy: dict[str, list[float]] = {}
        plain: dict[str, list[float]] = {}
        agreement = []
        for seen in self.seen:
            guesses = self._predict(seen.base, seen.query, after)
            accuracy.setdefault(seen.setting, []).append(_share(guesses == self.truth))
            plain.setdefault(seen.setting, []).append(_share(seen.plain == self.truth))
            agreement.append(_share(guesses == seen.plain))
        means = {setting: interval(values).mean for setting, values in accuracy.items()}
        lost = [interval(plain[setting]).mean - mean for setting, mean in means.items()]
        error = after - before
        return CodecRow(
            codec=str(compressed.codec),
            feedback=feedback,
            bits=compressed.bits.labels,
            bits_per_entry=compressed.bits.labels / before.numel(),
            max_error=float(error.abs().max()),
            relative_error=float(error.norm() / before.norm().clamp_min(1e-300)),
            accuracy=means,
            agreement=interval(agreement).mean,
            loss=max(lost),
        )

    def metric(self, train: ImageSet) -> Tensor | None:
        """Return the metric over the extractors that the labels were solved for, if they have one.

        Over unseen ones it is taken where there are no others.
        """
        head, distilled = self.distilled.head, self.distilled
        if not head.label_linear:
            return None
        order = torch.randperm(len(train), generator=generator(self.seed, "metric"))
        part = train.subset(order[:METRIC_EXAMPLES])
        own = [seen for seen in self.seen if seen.setting == "same_extractor"] or self.seen
        classes = len(distilled.class_names)
        targets = [
            (
                self._embed(seen.extractor, part.images),
                torch.nn.functional.one_hot(part.labels, classes).to(self.device, torch.float64),
            )
            for seen in own
        ]
        target_l2 = distilled.provenance.get("target_l2")
        return label_metric([seen.base for seen in own], targets, head=head, target_l2=target_l2)

    def _look(self, setting: str, extractor: Extractor, validation: ImageSet) -> _Seen:
        base = self._embed(extractor, self.distilled.examples)
        query = self._embed(extractor, validation.images)
        plain = self._predict(base, query, self.distilled.labels.double())
        return _Seen(setting, extractor, base, query, plain)

    def _embed(self, extractor: Extractor, images: Tensor) -> Tensor:
        ready = self.distilled.preprocessing.to(self.device)
        features = embed(extractor, images, preprocessing=ready, device=self.device)
        return features.to(torch.float64)

    def _predict(self, base: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            return self.distilled.head.fit(base, labels.to(self.device))(query).argmax(1)


def _share(right: Tensor) -> float:
    return float(right.double().mean())
