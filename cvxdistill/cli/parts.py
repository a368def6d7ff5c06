"""What a distillation is made of, from the options of the command line."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cvxdistill.artifact import Distilled
from cvxdistill.checks import check_choice, check_positive
from cvxdistill.choose import ByIndices, Chooser, check_count, choose_base, parse_chooser
from cvxdistill.cli.common import DataRequest
from cvxdistill.data import FITS, DataSource, ImageSet, Splits, fit_images, open_source
from cvxdistill.distill import make_pool
from cvxdistill.errors import InputError
from cvxdistill.features import (
    Extractor,
    Network,
    Preprocessing,
    StatisticsCache,
    embed,
    load_extractor,
    train_extractor,
)
from cvxdistill.heads import Head, parse_head
from cvxdistill.manifest import check_replaceable
from cvxdistill.methods import Journal
from cvxdistill.progress import Progress, silent
from cvxdistill.report import draw_sheet
from cvxdistill.seeding import derive_seed

BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class BaseExamples:
    """Which base examples: their data set, how many, how chosen, and how they are made to fit."""

    source: str | None = None
    fit: str | None = None
    examples: int | None = None
    how: str = BALANCED
    indices: str | None = None

    def read(self, data: DataRequest, parts: Splits, *, seed: int) -> "Candidates":
        """Read what they are chosen from: the target's own training part or another data set.

        Raises:
            InputError: a data set that cannot be read, or examples that cannot be chosen so.
        """
        if self.fit is not None:
            check_choice("--base-fit", self.fit, FITS)
        if self.indices is not None and self.how != BALANCED:
            raise InputError(f"give `--indices` or `--choose {self.how}`, not both.")
        chooser = ByIndices() if self.indices is not None else parse_chooser(self.how)
        found = self._found(data, parts)
        if chooser.needs_features and self.fit is not None:
            found = fit_images(found, parts.train.shape, how=self.fit)
        count = self.examples
        if count is None and self.indices is None:
            count = 2 * parts.train.num_classes
        if chooser.needs_features:
            return Candidates(found, check_count(count, found), parts.train, chooser, seed)
        chosen = choose_base(found, count, how=chooser, seed=seed, indices=self.indices)
        if self.fit is not None:
            chosen = fit_images(chosen, parts.train.shape, how=self.fit)
        return Candidates(chosen, len(chosen), parts.train)

    def _found(self, data: DataRequest, parts: Splits) -> ImageSet:
        if self.source is None:
            return parts.train
        options: dict[str, Any] = {"data_root": data.data_root, "download": data.download}
        other = open_source(self.source, **options)
        if _same_source(other, open_source(data.target, **options)):
            return parts.train
        if self.fit is not None:
            other = other.fitted(parts.train.shape, self.fit)
        # All of another data set but an official test part: nothing in it is tested on.
        return other.load("train" if "train" in other.splits() else "all")

    def record(self) -> dict[str, Any]:
        """Return what the artefact's own record of its base examples does not tell."""
        how = self.how if self.indices is None else ByIndices.name
        return {"base": {"source": self.source, "choose": how, "fit": self.fit}}


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """What the base examples are chosen from, or they themselves where no features are needed.

    Attributes:
        data: the candidates, or the base examples.
        count: how many base examples.
        train: the target's training part.
        chooser: how they are chosen; `None` where they are already.
        seed: of the choice.
    """

    data: ImageSet
    count: int
    train: ImageSet
    chooser: Chooser | None = None
    seed: int = 0

    def choose(
        self,
        extractor: Extractor,
        preprocessing: Preprocessing,
        head: Head,
        target_l2: float | None,
        device: torch.device,
        *,
        progress: Progress = silent,
        cache: StatisticsCache | None = None,
    ) -> ImageSet:
        """Return the base examples, chosen by the features of an extractor where they are needed.

        Raises:
            InputError: examples that cannot be chosen so.
        """
        if self.chooser is None:
            return self.data
        options: dict[str, Any] = {"preprocessing": preprocessing, "device": device}
        features = embed(extractor, self.data.images, progress=progress, **options)
        own = features if self.data is self.train else None
        moments = (cache or StatisticsCache()).statistics(
            extractor, self.train, features=own, progress=progress, **options
        )
        return choose_base(
            self.data,
            self.count,
            how=self.chooser,
            seed=self.seed,
            features=features,
            target=moments,
            head=head,
            target_l2=target_l2,
        )


def _same_source(one: DataSource, other: DataSource) -> bool:
    """Say whether two sources read the same files, however these were spelled."""
    places = [source.path.resolve() if source.path else None for source in (one, other)]
    kin = isinstance(one, type(other)) or isinstance(other, type(one))
    return kin and places[0] == places[1]


def head(spec: str, **options: float | str | None) -> Head:
    """Return the head of `--head` with the penalty and intercept given beside it.

    Raises:
        InputError: an unknown head or option, one out of range, or one given in both places.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if f"{key}=" in spec.partition(":")[2].replace(" ", ""):
            flag = key.replace("_", "-")
            raise InputError(f"`{key}` is given both by --head and by --{flag}; give it once.")
    made: Any = parse_head(spec)
    changed: Head = dataclasses.replace(made, **given)
    return changed


@dataclasses.dataclass(frozen=True)
class Extractors:
    """Which extractors: drawn from a network, trained on the target, or one of a file."""

    network: Network
    pool: int
    steps: int = 0
    weights: Path | None = None

    def make(
        self,
        train: ImageSet,
        preprocessing: Preprocessing,
        seed: int,
        device: torch.device,
        progress: Progress,
    ) -> Sequence[Extractor]:
        """Return the extractor of the file, trained ones, or drawn ones.

        Raises:
            InputError: a file that is no extractor, a training or a pool that is out of range, or
                both a file and a training.
        """
        if self.pool < 1:
            raise InputError(f"`--pool` must be 1 or more; got {self.pool}.")
        if self.weights is not None and self.steps:
            raise InputError(
                "give `--extractor-weights` or `--train-steps`, not both: the saved extractor is "
                "used as it is."
            )
        if self.weights is not None:
            return [load_extractor(self.weights, device=device)]
        if not self.steps:
            return make_pool(self.network, train, pool=self.pool, seed=seed, device=device)
        return [
            train_extractor(
                self.network,
                train,
                preprocessing=preprocessing,
                steps=self.steps,
                seed=derive_seed(seed, "trained", index),
                device=device,
                progress=progress,
            )
            for index in range(self.pool)
        ]


def journal(folder: Path, every: float, *, resume: bool, budget: float | None) -> Journal:
    """Return the journal of a run: its checkpoint lies beside the run folder.

    That of a run that its budget ended goes into the folder, and is replaced together with it.

    Raises:
        InputError: a folder that holds other files than a run's, the checkpoint of an interrupted
            run that is not to be resumed, or numbers out of range.
    """
    check_replaceable(folder)
    check_positive("--checkpoint-every", every, zero=True)
    if budget is not None:
        check_positive("--budget", budget)
    path = folder.with_name(f"{folder.name}.checkpoint")
    ended = folder / "checkpoint.safetensors"
    made = Journal(path, every=every, resume=resume, ended=ended, budget=budget)
    made.check()
    return made


@contextmanager
def kept(journal: Journal) -> Iterator[None]:
    """Say where the checkpoint of a run lies that is interrupted from the keyboard."""
    try:
        yield
    except KeyboardInterrupt:
        if journal.path is not None and journal.path.exists():
            sys.stderr.write(f"`{journal.path}` is kept; go on from there by `--resume`.\n")
        raise


def store(distilled: Distilled, folder: Path, journal: Journal) -> None:
    """Save the artefact with its sheet; the checkpoint goes once the artefact is there."""
    distilled.save(folder)
    journal.close()
    draw_sheet(distilled, folder / "labels.png")
