"""Real processes that share a pass: every row once, equal moments on all, one failure for all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from embedded import SHARDS, write

from cvxdistill.embeddings import open_embeddings
from cvxdistill.errors import CvxDistillError, InputError
from cvxdistill.statistics import TargetStatistics
from cvxdistill.streaming import Ranks, joined_ranks, stream_statistics

RANKS = 3
SCRIPT = Path(__file__).with_name("rank_script.py")


@pytest.mark.slow
def test_ranks_add_up_and_fail_together(tmp_path):
    good, bad = write(tmp_path / "good", weighted=True), write(tmp_path / "bad", seed=1)
    # A row that only the second rank reads, and no fingerprint looks at.
    features = np.load(bad.path / "features_7.npy")
    features[20, 0] = np.inf
    np.save(bad.path / "features_7.npy", features)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(RANKS), str(SCRIPT)]
    done = subprocess.run(
        [*command, str(good.path), str(bad.path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = stream_statistics(open_embeddings(str(good.path)), class_weight="balanced")
    first = TargetStatistics.load(tmp_path / "moments_0")
    assert (first.count, first.sources) == (sum(SHARDS), alone.sources)
    for name in ("feature_mean", "label_mean", "feature_scatter", "cross_scatter", "label_scatter"):
        expected = getattr(alone, name)
        missed = (getattr(first, name) - expected).abs().max()
        assert float(missed) <= 1e-12 * float(expected.abs().max()), name
    for rank in range(1, RANKS):
        assert (tmp_path / f"moments_{rank}").read_bytes() == (tmp_path / "moments_0").read_bytes()
    said = {(tmp_path / f"error_{rank}").read_text() for rank in range(RANKS)}
    assert len(said) == 1
    assert "features_7.npy must be finite" in said.pop()


def store_of(size: int) -> list[Ranks]:
    """Ranks of one process that share a store: enough for what needs no others to wait for."""
    store = torch.distributed.HashStore()
    return [Ranks(rank, size, store=store) for rank in range(size)]


def test_a_failure_elsewhere_is_seen_between_batches():
    one, other = store_of(2)
    one.check()
    other.store.set("failed", "")
    with pytest.raises(InputError, match="another rank has failed"):
        one.check()


def test_a_process_alone_waits_for_nobody():
    with joined_ranks() as ranks:
        assert (ranks.rank, ranks.size, ranks.first, ranks.store) == (0, 1, True, None)
        assert ranks.exchange("word") == ["word"]
        ranks.require_same("word", what="words")
        ranks.check()
        ranks.leave()
        with pytest.raises(CvxDistillError, match="mine"), ranks.agreeing():
            raise CvxDistillError("mine")
