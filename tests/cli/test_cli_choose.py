"""`--choose`: base examples chosen by the features of the run's own extractor."""

import json

import numpy as np
import pytest

import cvxdistill as cvd
from cvxdistill.cli import main
from cvxdistill.distill import make_pool

LIMIT = 300
SMALL = [
    "--limit",
    str(LIMIT),
    "--extractor",
    "convnet:width=4",
    "--pool",
    "2",
    "--students",
    "none",
    "--seeds",
    "1",
]


def run(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("how", ["greedy:exchanges=1", "herding", "kmeans:per_class=false"])
def test_the_base_is_chosen_by_the_first_extractor(capsys, tmp_path, how):
    options = ["--examples", "10", "--choose", how, "--target-l2", "0.01", *SMALL]
    out = tmp_path / "run"
    run(capsys, "distill", *options, "--out", str(out))
    made = cvd.Distilled.load(out)
    train = cvd.load_splits("digits", limit=LIMIT).train
    ready = cvd.Preprocessing.fit(train)
    first = make_pool("convnet:width=4", train, pool=2)[0]
    features = cvd.embed(first, train.images, preprocessing=ready)
    wanted = cvd.choose_base(train, 10, how=how, features=features, target_l2=0.01)
    assert made.base.indices.tolist() == wanted.indices.tolist()
    assert made.provenance["base"]["choose"] == how


def test_candidates_of_another_data_set_serve_the_target(capsys, tmp_path):
    """Chosen among the other set's features, by the target's moments."""
    train = cvd.load_splits("digits", limit=LIMIT).train
    names = {"images": train.images[::2, 0].numpy(), "labels": train.labels[::2].numpy()}
    np.savez(tmp_path / "half.npz", **names)
    options = ["--base", f"npz:{tmp_path / 'half.npz'}", "--examples", "8", "--choose", "greedy"]
    run(capsys, "distill", *options, *SMALL, "--out", str(tmp_path / "run"))
    ready, first = cvd.Preprocessing.fit(train), make_pool("convnet:width=4", train)[0]
    half = cvd.ImageSet(train.images[::2], train.labels[::2], train.class_names, name="half")
    wanted = cvd.choose_base(
        half,
        8,
        how="greedy",
        features=cvd.embed(first, half.images, preprocessing=ready),
        target=cvd.embed_statistics(first, train, preprocessing=ready),
    )
    made = cvd.Distilled.load(tmp_path / "run")
    assert made.base.indices.tolist() == wanted.indices.tolist()


def test_compare_chooses_so_too(capsys, tmp_path):
    options = ["--examples", "10", "--choose", "herding", *SMALL]
    run(capsys, "distill", *options, "--out", str(tmp_path / "one"))
    found = run(
        capsys,
        "compare",
        "--methods",
        "exact",
        "--in-process",
        *options,
        "--out",
        str(tmp_path / "all"),
    )
    assert found["run"] == str(tmp_path / "all")
    runs = [path.parent for path in (tmp_path / "all").glob("*/manifest.json")]
    bases = [cvd.Distilled.load(path).base.indices.tolist() for path in (*runs, tmp_path / "one")]
    assert len(bases) == 2
    assert bases[0] == bases[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--choose", "greedi"], "Did you mean `greedy`?"),
        (["--choose", "greedy:swaps=2"], "option of greedy"),
        (["--choose", "greedy", "--examples", "2000"], "at most the "),
        (["--choose", "greedy", "--head", "svm", "--method", "first-order"], "needs a RidgeHead"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, options, message):
    assert main(["distill", *options, *SMALL, "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
