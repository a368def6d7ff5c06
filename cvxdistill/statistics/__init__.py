r"""Mergeable moments of a target set: all that a squared loss ever asks of it.

With `n` examples of features `z (d)`, targets `t (C)` and weights `w`, the moments are the sum of
weights, the weighted means and the centred second moments

    S = sum w (z - mean z)(z - mean z)',   M = sum w (z - mean z)(t - mean t)',
    Q = sum w (t - mean t)(t - mean t)'.

A weight of 2 is the same as the example twice. Two sets of moments add up exactly (Chan, Golub and
LeVeque 1979): centred moments of the union are the sum of both plus a rank-one term in the
difference of the means. Centred moments are kept, not raw ones, because a raw `sum z z'` of
features with a large mean loses the digits that matter in the difference `sum z z' - n mean mean'`.
"""

from cvxdistill.statistics.batch import Batch, gram_of, mean_row
from cvxdistill.statistics.file import FORMAT
from cvxdistill.statistics.moments import TargetStatistics
from cvxdistill.statistics.pack import pack, unpack
from cvxdistill.statistics.source import Source, join_sources

__all__ = [
    "FORMAT",
    "Batch",
    "Source",
    "TargetStatistics",
    "gram_of",
    "join_sources",
    "mean_row",
    "pack",
    "unpack",
]
