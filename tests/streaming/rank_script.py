"""What each rank runs in `test_ranks.py`: a pass, saved by every one; and a refusal."""

import sys
from pathlib import Path

from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import InputError
from cvxdistill.streaming import joined_ranks, stream_statistics


def main(good: str, bad: str, out: str) -> None:
    with joined_ranks("cpu") as ranks:
        stats = stream_statistics(open_embeddings(good), class_weight="balanced", ranks=ranks)
        stats.save(f"{out}/moments_{ranks.rank}")
        try:
            stream_statistics(open_embeddings(bad), ranks=ranks)
        except InputError as error:
            Path(f"{out}/error_{ranks.rank}").write_text(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
