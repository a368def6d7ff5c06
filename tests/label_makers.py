"""Labels of every kind and size that a codec may meet."""

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

KINDS = ("distribution", "scores")
# Ties, signs, zeros, and numbers that differ by many orders.
ENTRIES = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5]),
    st.floats(-2, 2, allow_subnormal=False),
    st.floats(-1e6, 1e6, allow_subnormal=False),
)
SHARES = st.one_of(st.sampled_from([0.0, 1.0, 0.25]), st.floats(0, 1, allow_subnormal=False))
# Powers of ten by which whole matrices are multiplied.
SIZES = st.sampled_from([0, 0, 0, 300, -280, 20, -20])


@st.composite
def labels_of(draw, kind, *, rows=12, classes=9):
    """Draw labels `(m, C)` of a kind, rows of one value and matrices of one among them."""
    shape = draw(st.integers(1, rows)), draw(st.integers(1, classes))
    entries = SHARES if kind == "distribution" else ENTRIES
    labels = torch.from_numpy(draw(arrays.arrays(float, shape, elements=entries)))
    if draw(st.booleans()):
        labels[0] = labels[0, 0]
    if kind == "scores":
        return labels * 10.0 ** draw(SIZES)
    labels[labels.sum(1) == 0] = 1.0
    return labels / labels.sum(1, keepdim=True)


def some_labels(kind, m=20, classes=6, seed=0):
    """Return labels like those of a solve: of one size, without pattern."""
    stream = torch.Generator().manual_seed(seed)
    scores = torch.randn(m, classes, generator=stream, dtype=torch.float64) * 0.3
    return torch.softmax(6 * scores, 1) if kind == "distribution" else scores


def some_metric(m=20, rank=None, seed=0):
    """Return a symmetric positive semidefinite matrix with eigenvalues from 1 to 1e-6."""
    stream = torch.Generator().manual_seed(seed)
    draws = torch.randn(rank or m, m, generator=stream, dtype=torch.float64)
    rows = draws * torch.logspace(0, -3, rank or m, dtype=torch.float64)[:, None]
    return rows.mT @ rows
