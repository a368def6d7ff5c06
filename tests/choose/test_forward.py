"""Forward selection against brute force over `solve_labels`."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvxdistill.choose import choose_base, forward, select_forward
from cvxdistill.data import ImageSet
from cvxdistill.errors import InputError
from cvxdistill.heads import LogisticHead, RidgeHead
from cvxdistill.solvers import solve_labels
from cvxdistill.statistics import TargetStatistics

INTERCEPTS = ("free", "penalised", "none")
SCALES = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)


def problem(seed, n=14, d=4, classes=3):
    """Candidates off the origin with features of unlike scale, and another target's moments."""
    return problem_and_rows(seed, n, d, classes)[:2]


def problem_and_rows(seed, n=14, d=4, classes=3):
    """The same, and the target's rows and classes."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(n + 40, d, generator=draw, dtype=torch.float64) * SCALES[:d] + 2
    labels = torch.arange(40) % classes
    rows[n:, 0] += 3 * labels
    target = TargetStatistics(d, classes).update(rows[n:], labels)
    return rows[:n], target, rows[n:], labels


def objective(features, target, positions, **options):
    return solve_labels(features[positions], target, **options).objective


def explained_by_all(rows, labels, candidates, chosen, intercept, lam):
    """Return what the chosen and each candidate explain together, by normal equations alone."""
    coded = torch.nn.functional.one_hot(labels).to(torch.float64)
    ones = {"penalised": 1}.get(intercept, 0)
    rows, candidates = (
        torch.nn.functional.pad(z, (0, ones), value=1.0) for z in (rows, candidates)
    )
    if intercept == "free":
        rows, coded = rows - rows.mean(0), coded - coded.mean(0)
    gram = rows.mT @ rows + lam * torch.eye(rows.shape[1], dtype=torch.float64)
    sets = torch.stack([torch.stack([*candidates[chosen], z]) for z in candidates])
    if intercept == "free":
        sets = sets[:, 1:] - sets[:, :1]
    pull = sets @ (rows.mT @ coded)
    solved = torch.linalg.lstsq(sets @ gram @ sets.mT, pull, driver="gelsd").solution
    return (pull * solved).sum((1, 2))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(INTERCEPTS), st.sampled_from([0.0, 1.0, 30.0]))
def test_every_step_is_the_best_and_its_objective_is_predicted(seed, intercept, lam):
    features, target, rows, labels = problem_and_rows(seed)
    head = RidgeHead(l2=1e-4, l2_scale="absolute", intercept=intercept)
    options = {"head": head, "target_l2": lam}
    selected = select_forward(features, target, 6, **options)
    positions = selected.positions.tolist()
    for k in (1, 2, 3, 6):
        solved = objective(features, target, positions[:k], **options)
        assert float(selected.objectives[k - 1]) == pytest.approx(solved, rel=1e-9)
    start = selected.objectives[0] if intercept == "free" else None
    for k in range(4):
        if intercept == "free" and k == 0:
            continue
        starts = [[i] for i in range(14)] if intercept == "free" and k == 1 else [positions[:k]]
        best = torch.stack(
            [explained_by_all(rows, labels, features, s, intercept, lam) for s in starts]
        ).max()
        if start is None:
            # The first objective and what the first example explains give the one before it.
            mine = explained_by_all(rows, labels, features, [], intercept, lam)[positions[0]]
            start = selected.objectives[0] + mine / 40
        # Compared by objectives: where the span is about to be full, all choices are equal.
        assert float(start - selected.objectives[k]) == pytest.approx(float(best) / 40, rel=1e-7)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_lossless_once_the_space_is_spanned(intercept):
    features, target = problem(0, n=30, d=5)
    head = RidgeHead(intercept=intercept)
    enough = 5 + (intercept != "none")
    chosen = select_forward(features, target, enough, head=head)
    solution = solve_labels(features[chosen.positions], target, head=head)
    assert solution.certificate.lossless
    full = solution.certificate.full_objective
    assert chosen.full_objective == pytest.approx(full, rel=1e-12)
    assert float(chosen.objectives[-1]) == pytest.approx(full, rel=1e-9)
    short = select_forward(features, target, enough - 1, head=head)
    assert float(short.objectives[-1]) > full * (1 + 1e-6)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_further_rounds_span_the_space_again(intercept):
    features, target = problem(1, n=40, d=5)
    round_size = 5 + (intercept != "none")
    chosen = select_forward(features, target, 3 * round_size, head=RidgeHead(intercept=intercept))
    assert len(set(chosen.positions.tolist())) == 3 * round_size
    for part in chosen.positions.split(round_size):
        rows = features[part]
        seen = torch.cat([rows, rows.new_ones(len(rows), 1)], 1) if intercept != "none" else rows
        assert int(torch.linalg.matrix_rank(seen)) == round_size
    assert float(chosen.objectives[round_size:].std()) == 0.0


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_dependent_features_and_repeated_rows(intercept):
    features, target = problem(2, n=10, d=5)
    features = torch.cat([features, features])
    features[:, 4] = features[:, 0]
    target = TargetStatistics(5, 2).update(features, (features[:, 1] > 2).long())
    chosen = select_forward(features, target, 20, head=RidgeHead(intercept=intercept))
    assert sorted(chosen.positions.tolist()) == list(range(20))
    assert len({position % 10 for position in chosen.positions[:4].tolist()}) == 4
    rank = 4 + (intercept != "none")
    assert float(chosen.objectives[rank - 1]) == pytest.approx(chosen.full_objective, rel=1e-9)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_candidates_that_are_all_the_same(intercept):
    _, target = problem(3)
    same = torch.ones(5, 4, dtype=torch.float64)
    for features in (same, torch.zeros_like(same)):
        chosen = select_forward(features, target, 5, head=RidgeHead(intercept=intercept))
        assert sorted(chosen.positions.tolist()) == [0, 1, 2, 3, 4]
        assert bool(torch.isfinite(chosen.objectives).all())


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize(("examples", "seed"), [(1, 0), (2, 0), (3, 0), (3, 3), (4, 13)])
def test_exchanges_end_where_no_single_one_helps(intercept, examples, seed):
    features, target = problem(seed, n=20, d=5)
    options = {"head": RidgeHead(intercept=intercept)}
    plain = select_forward(features, target, examples, **options)
    better = select_forward(features, target, examples, exchanges=50, **options)
    value, positions = float(better.objectives[-1]), better.positions.tolist()
    assert len(set(positions)) == examples
    assert value <= float(plain.objectives[-1]) * (1 + 1e-12)
    assert value == pytest.approx(objective(features, target, positions, **options), rel=1e-9)
    for k in range(examples):
        for j in set(range(20)) - set(positions):
            other = [*positions[:k], j, *positions[k + 1 :]]
            assert objective(features, target, other, **options) >= value * (1 - 1e-9)


def test_exchanges_find_what_greed_misses():
    found = []
    for seed in range(8):
        features, target = problem(seed, n=60, d=5)
        plain, better = (
            float(select_forward(features, target, 3, exchanges=k).objectives[-1]) for k in (0, 9)
        )
        found.append(better < plain * (1 - 1e-6))
    assert any(found)


def target_root_of(target):
    """The square root of the penalised normal matrix, in whose metric candidates lie."""
    return RidgeHead().target_root(target).root.factor[:-1, :-1]


def test_among_many_candidates_neither_end_of_the_first_pair_can_be_bettered(monkeypatch):
    # So few pairs are tried that the search has to leave its shortlist.
    monkeypatch.setattr(forward, "PAIRS", 2)
    for seed in range(6):
        features, target = problem(seed, n=60, d=5)
        selected = select_forward(features, target, 2)
        value, pair = float(selected.objectives[1]), selected.positions.tolist()
        apart = (features[pair] - features.mean(0)) @ target_root_of(target).mT
        assert float(apart[0].norm()) <= float(apart[1].norm())
        assert value == pytest.approx(objective(features, target, pair), rel=1e-9)
        for end in pair:
            others = [objective(features, target, [end, j]) for j in range(60) if j != end]
            assert min(others) >= value * (1 - 1e-9)


def test_blocks_make_no_difference(monkeypatch):
    features, target = problem(5, n=100, d=5)
    whole = select_forward(features, target, 12, exchanges=1)
    monkeypatch.setattr("cvxdistill.choose.geometry.BLOCK_ROWS", 7)
    parts = select_forward(features, target, 12, exchanges=1)
    assert whole.positions.tolist() == parts.positions.tolist()


@pytest.mark.parametrize("intercept", ["free", "penalised"])
def test_a_shift_and_a_scale_of_the_features(intercept):
    """A free intercept sees no shift; `trace` sees no scale."""
    features, _ = problem(6, n=40, d=5)
    labels = torch.arange(40) % 3
    shift = 100.0 if intercept == "free" else 0.0
    head = RidgeHead(intercept=intercept, l2=0.1 if intercept == "free" else 0.0)
    runs = [
        select_forward(z, TargetStatistics(5, 3).update(z, labels), 5, head=head).positions.tolist()
        for z in (features, 8 * features + shift)
    ]
    assert runs[0] == runs[1]


def test_real_targets_and_weights():
    features, _ = problem(7, n=40, d=5)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 2, generator=draw, dtype=torch.float64)
    weights = torch.rand(40, generator=draw, dtype=torch.float64)
    target = TargetStatistics(5, 2).update(features, logits, weights)
    chosen = select_forward(features, target, 4)
    value = objective(features, target, chosen.positions)
    assert float(chosen.objectives[-1]) == pytest.approx(value, rel=1e-9)


def test_target_penalty_and_intercept_are_those_asked_for():
    features, target = problem(8, n=40, d=5)
    data = ImageSet(features, torch.zeros(40, dtype=torch.int64), ("only",), name="other")
    found = set()
    for head in (RidgeHead(), RidgeHead(intercept="none")):
        for target_l2 in (None, 10.0):
            options = {"head": head, "target_l2": target_l2}
            base = choose_base(data, 4, how="greedy", target=target, **options)
            wanted = select_forward(features, target, 4, **options).positions.tolist()
            assert base.indices.tolist() == wanted
            found.add(tuple(wanted))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 15}, "between 1 and the 14 candidates; got 15"),
        ({"examples": 0}, "got 0"),
        ({"examples": 3, "exchanges": -1}, "zero or more passes; got -1"),
    ],
)
def test_what_cannot_be_selected(options, message):
    features, target = problem(9)
    with pytest.raises(InputError, match=message):
        select_forward(features, target, **options)


def test_sizes_and_heads_that_do_not_fit():
    features, target = problem(9)
    with pytest.raises(InputError, match="agree in features; got 3 and 4"):
        select_forward(features[:, :3], target, 2)
    data = ImageSet(features, torch.arange(14) % 2, ("a", "b"), name="toy")
    with pytest.raises(InputError, match=r"needs a RidgeHead.*got LogisticHead"):
        choose_base(data, 2, how="greedy", head=LogisticHead())
    with pytest.raises(InputError, match="must have 5 columns; got 4"):
        choose_base(data, 2, how="greedy", features=features, target=TargetStatistics(5, 2))
    with pytest.raises(InputError, match="zero or more passes"):
        choose_base(data, 2, how="greedy:exchanges=-1")
