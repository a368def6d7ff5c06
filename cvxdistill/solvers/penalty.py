"""The penalty `lam |W(Y)|^2` of the label objective, by itself."""

import torch
from torch import Tensor

from cvxdistill.errors import IncompatibleError
from cvxdistill.heads import Head, KernelMap, LabelMap, LabelTransfer
from cvxdistill.heads.design import absolute_penalty
from cvxdistill.heads.target import SeenMoments, Target


def penalty_strength(head: Head, target: Target, target_l2: float | None) -> float:
    """Return the absolute penalty of the full-data head, for a target's features.

    Args:
        head: with the fields `l2`, `l2_scale` and `intercept`; others have no penalty of their own.
        target: `(features (n, d), anything)` or moments.
        target_l2: in the head's own scale; `None` for the head's own.

    Raises:
        IncompatibleError: a `target_l2` for a head without those fields, or a kernel head whose
            penalty is relative to the trace of its kernel on the target.
    """
    scale, intercept = getattr(head, "l2_scale", None), getattr(head, "intercept", None)
    l2 = getattr(head, "l2", None) if target_l2 is None else target_l2
    if l2 is None or float(l2) == 0:
        return 0.0
    if scale is None or intercept is None:
        if target_l2 is None:
            return 0.0
        raise IncompatibleError(
            f"`target_l2` needs a head with `l2`, `l2_scale` and `intercept`, which {head!r} is "
            "not. Leave `target_l2` out."
        )
    if scale == "absolute":
        return float(l2)
    if not head.finite_weights:
        raise IncompatibleError(
            f"the loss needs an absolute penalty for a kernel head; got {head!r}. Give "
            "`target_l2=0.0`, or a head with `l2_scale='absolute'`."
        )
    if not isinstance(target, tuple):
        seen = SeenMoments.of(target, intercept)
    else:
        seen = SeenMoments.of((target[0], target[0].new_zeros(len(target[0]), 1)), intercept)
    value = l2.detach() if isinstance(l2, Tensor) else l2
    return float(absolute_penalty(value, scale, seen.trace, seen.count))


def penalty_root(mapped: LabelTransfer, intercept: str) -> Tensor:
    """Return `N (q, m)` with `|N Y|^2 = |W(Y)|^2`, the intercept included where it is penalised.

    Raises:
        IncompatibleError: a head that does not say.
    """
    if isinstance(mapped, LabelMap):
        if intercept == "penalised":
            return torch.cat([mapped.weights, mapped.intercept[None]])
        return mapped.weights
    if isinstance(mapped, KernelMap):
        values, vectors = torch.linalg.eigh(mapped.gram)
        root: Tensor = values.clamp_min(0).sqrt()[:, None] * (vectors.mT @ mapped.coefficients)
        return root
    raise IncompatibleError(
        "a penalty in the label objective needs a head with weights or a kernel; got "
        f"{type(mapped).__name__}. Give `target_l2=0.0`."
    )
