r"""Labels in few bits: what each codec costs, and the best one within a budget.

What a codec costs is measured as its user will meet it: the artefact's head is fitted to the labels
that come out of the store, over the extractors that they were solved for and over freshly drawn
ones, and read on validation examples. No test example is looked at.
"""

from cvxdistill.compress.choose import Compression, candidates, choose_codec
from cvxdistill.compress.measure import CodecJudge, CodecRow
from cvxdistill.compress.metric import label_metric

__all__ = [
    "CodecJudge",
    "CodecRow",
    "Compression",
    "candidates",
    "choose_codec",
    "label_metric",
]
