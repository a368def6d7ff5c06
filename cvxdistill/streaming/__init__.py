"""Moments of embeddings of any size: one pass, by one process or many.

Threads work on batches of rows while the next ones are read. Processes take disjoint slices of the
rows; what they found is added in the order of their ranks.
"""

from cvxdistill.streaming.passes import CLASS_WEIGHTS, stream_statistics
from cvxdistill.streaming.ranks import Ranks, joined_ranks
from cvxdistill.streaming.sets import EmbeddingSets
from cvxdistill.streaming.workers import library_threads, map_in_order

__all__ = [
    "CLASS_WEIGHTS",
    "EmbeddingSets",
    "Ranks",
    "joined_ranks",
    "library_threads",
    "map_in_order",
    "stream_statistics",
]
