"""Small tasks for methods that train students, and runs that are interrupted."""

from artifact.makers import make_images

from cvxdistill.choose import choose_base
from cvxdistill.features import MLP, Preprocessing
from cvxdistill.heads import RidgeHead
from cvxdistill.methods import DistillTask, IterativeMethod, MethodResult


def student_task(data=None, *, m=6, **options) -> DistillTask:
    """A task on images in which a bright block tells the class, for a small MLP."""
    data = make_images() if data is None else data
    return DistillTask(
        target=data,
        extractors=(),
        preprocessing=options.pop("preprocessing", Preprocessing.fit(data)),
        head=RidgeHead(),
        **{
            "base": choose_base(data, m),
            "validation": make_images(seed=1, split="validation"),
            "student": MLP(width=16, depth=1),
            **options,
        },
    )


def interrupted(method: IterativeMethod, task: DistillTask, after: int) -> MethodResult:
    """The result of a run whose steps after the first few are taken by another learner."""
    first, second = method.learner(task), method.learner(task)
    for index in range(after):
        first.step(index)
    state = {key: value.clone() for key, value in first.state().items()}
    first.step(after)
    second.restore(state)
    for index in range(after, second.total):
        second.step(index)
    return second.result()
