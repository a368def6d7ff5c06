"""Small comparisons on digits."""

from functools import cache

from cvxdistill.choose import choose_base
from cvxdistill.compare import Comparison, SharedProblem, Yardstick, compare
from cvxdistill.data import Splits, load_splits
from cvxdistill.students import Recipe

NETWORK = "mlp:width=8"


@cache
def digits() -> Splits:
    return load_splits("digits", limit=120)


def problem(**options) -> SharedProblem:
    parts = digits()
    given = {
        "base": choose_base(parts.train, 10),
        "target": parts.train,
        "validation": parts.validation,
        "extractors": "mlp:width=8",
        "pool": 1,
        "student": NETWORK,
    }
    return SharedProblem(**{**given, **options})


def yardstick(**options) -> Yardstick:
    given = {"seeds": 2, "curve_seeds": 2, "recipe": Recipe(checkpoints=(2, 4))}
    return Yardstick(digits().test(), **{**given, **options})


def run(methods, out, *, shared=None, measured=None, **options) -> Comparison:
    """Compare in this process, which is quicker, unless told otherwise."""
    shared, measured = shared or problem(), measured or yardstick()
    return compare(shared, measured, methods, out=out, **{"isolate": False, **options})
