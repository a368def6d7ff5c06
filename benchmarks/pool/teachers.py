"""An ensemble of networks trained on the target, and what it says of other images."""

import argparse
import dataclasses

import torch
from torch import Tensor, nn

from benchmarks.pool.data import Study
from cvxdistill.data import ImageSet
from cvxdistill.features import parse_network
from cvxdistill.labels import one_hot
from cvxdistill.seeding import derive_seed
from cvxdistill.students import Recipe, Students, draw_student, predict


@dataclasses.dataclass(frozen=True)
class Teachers:
    """How teachers are trained: from scratch on the whole training part, batches of 256.

    Attributes:
        network: their recipe.
        count: members of the ensemble.
        steps: batches each of them sees.
        seed: of their weights and of the order of the batches.
    """

    network: str = "lenet"
    count: int = 8
    steps: int = 450
    seed: int = 0

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Teachers":
        """Return the teachers that the options ask for."""
        return cls(options.teacher, options.teacher_count, options.teacher_steps)


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that answer together.

    Attributes:
        members: modules from preprocessed images to logits.
    """

    members: list[nn.Module]

    def logits(self, study: Study, data: ImageSet) -> Tensor:
        """Return the mean of the members' centred logits, `(n, C)` float64."""
        images = study.preprocessing(data.images)
        mean = torch.stack([predict(member, images) for member in self.members]).double().mean(0)
        return mean - mean.mean(1, keepdim=True)


def train_teachers(study: Study, teachers: Teachers) -> Ensemble:
    """Train the ensemble, or read it from the cache."""
    data = study.parts.train
    network, classes = parse_network(teachers.network), data.num_classes
    seeds = [derive_seed(teachers.seed, "teacher", index) for index in range(teachers.count)]
    about = "_".join(map(str, dataclasses.astuple(teachers))).replace(":", "-")
    path = study.cache / f"{study.name}_teachers_{about}.pt"
    if path.exists():
        members: list[nn.Module] = []
        for state in torch.load(path, weights_only=True):
            members.append(draw_student(network, data.shape, classes, seed=0).eval())
            members[-1].load_state_dict(state)
        return Ensemble(members)
    students = Students(network, data.shape, classes, seeds=seeds)
    recipe = Recipe(checkpoints=(teachers.steps,), batch_size=256)
    images, labels = study.preprocessing(data.images), one_hot(data.labels, classes)
    fitted = students.fit(images, labels, "distribution", recipe=recipe, seed=teachers.seed)
    list(fitted)
    members = students.modules()
    torch.save([member.state_dict() for member in members], path)
    return Ensemble(members)
