"""How good solved labels are, in numbers."""

import dataclasses
import math
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Certificate:
    r"""How far solved labels are from the full-data head, and from the best labels.

    Attributes:
        objective: the label objective without the prior, a mean over extractors and target.
        full_objective: the same at the full-data heads, which no labels can go below; `None` where
            those heads are not computed, as under a cross-entropy, or for a kernel and many
            target examples.
        relative_gap: `(objective - full_objective)` as a share of what the full-data heads explain
            over a constant prediction: 0 is lossless, 1 is no better than a constant; `None` with
            `full_objective`.
        rank: numerical rank of the base features of all extractors side by side, with a column of
            ones where the head has an intercept.
        full_rank: the number of head weights, intercepts included, of all extractors: the rank at
            which lossless labels exist for any target. A pool with intercepts never reaches it,
            since one mean of the labels serves all of them. `None` for a kernel, for which no
            finite rank is enough.
        optimality: norm of the gradient of the objective in the labels (under a constraint, of a
            projected gradient step), relative to the gradient's norm at zero labels; 0 is optimal.
        gap_bound: proven upper bound of what any allowed labels could still gain, the prior's term
            included, as a share of the objective; `None` where nothing is proven.
    """

    objective: float
    full_objective: float | None
    relative_gap: float | None
    rank: int
    full_rank: int | None
    optimality: float
    gap_bound: float | None = None

    # A gap of 1e-12 is a relative error of 1e-6 in the weights, measured by the target's features.
    LOSSLESS: ClassVar[float] = 1e-12

    @property
    def lossless(self) -> bool:
        """Whether the labels reproduce the full-data head to 1e-6 relative in its predictions."""
        return self.relative_gap is not None and self.relative_gap <= self.LOSSLESS

    @property
    def rank_deficit(self) -> int | None:
        """How much rank the base features lack for lossless labels to any target."""
        return None if self.full_rank is None else max(self.full_rank - self.rank, 0)

    def __str__(self) -> str:
        if self.lossless:
            return f"lossless: reproduces the full-data head (relative gap {self.relative_gap:.1e})"
        parts = []
        if self.relative_gap is not None:
            kept = 100 * (1 - self.relative_gap)
            parts.append(f"keeps {kept:.2f} % of what the full-data head explains")
            if self.rank_deficit:
                parts.append(f"rank {self.rank} of {self.full_rank}, short by {self.rank_deficit}")
        else:
            parts.append(f"objective {self.objective:.6g}")
        if self.gap_bound is not None:
            parts.append(f"the best labels are at most {100 * self.gap_bound:.1g} % better")
        elif self.relative_gap is None:
            parts.append(f"no bound, relative gradient {self.optimality:.1e}")
        return "; ".join(parts)

    def record(self) -> dict[str, float | int | bool | None]:
        """Return the certificate as JSON-able values; what is not finite becomes `None`."""
        values = {
            **dataclasses.asdict(self),
            "rank_deficit": self.rank_deficit,
            "lossless": self.lossless,
        }
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
