"""What each rank runs in `test_ranks.py`: a pass, saved by the first; and a refusal."""

import sys

from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import InputError
from cvxdistill.streaming import joined_ranks, stream_statistics

good, bad, out = sys.argv[1:]
with joined_ranks("cpu") as ranks:
    stats = stream_statistics(open_embeddings(good), class_weight="balanced", ranks=ranks)
    stats.save(f"{out}/moments_{ranks.rank}")
    try:
        stream_statistics(open_embeddings(bad), ranks=ranks)
    except InputError as error:
        with open(f"{out}/error_{ranks.rank}", "w") as file:
            file.write(str(error))
