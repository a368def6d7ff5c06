"""The exceptions of the package, each with one meaning.

Every message says what was expected, what came, and what to do. The command line turns
[InputError][cvxdistill.errors.InputError] into one line and exit code 2.
"""


class CvxDistillError(Exception):
    """Base of every exception that the package raises on purpose."""


class InputError(CvxDistillError, ValueError):
    """A value, file or option that the caller can correct."""


class IncompatibleError(InputError):
    """Two parts that do not fit together, such as a solver and a head not linear in the labels."""


class SolveError(CvxDistillError, RuntimeError):
    """A solve that did not reach a trustworthy answer; the message carries the status."""


class GradientWarning(UserWarning):
    """A gradient that disagrees with finite differences; the message carries the numbers."""
