"""Checks of the options that solvers share."""

from cvxdistill.checks import check_positive
from cvxdistill.errors import InputError


def check_limits(tolerance: float, max_steps: int) -> None:
    """Check a tolerance and a step limit.

    Raises:
        InputError: a tolerance that is not above zero, or fewer than one step.
    """
    check_positive("tolerance", tolerance)
    if max_steps < 1:
        raise InputError(f"`max_steps` must be 1 or more; got {max_steps}.")
