"""How long work reports that it advances, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called as `progress(stage, done, total)`; the command line draws a bar from it."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` units of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody: the default everywhere."""
