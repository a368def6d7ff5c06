"""The command line: one JSON object, readable tables, and one clear line for every mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from artifact.makers import listing, make_images
from PIL import Image

import cvxdistill
from cvxdistill.artifact import Distilled
from cvxdistill.cli import main
from cvxdistill.cli.judge import parse_students
from cvxdistill.cli.parts import BaseExamples
from cvxdistill.data import load_splits
from cvxdistill.errors import SolveError
from cvxdistill.features import (
    MLP,
    LeNet,
    Preprocessing,
    parse_network,
    save_extractor,
    train_extractor,
)

TINY = ("--extractor", "convnet:width=4", "--pool", "1")
BARE = (*TINY, "--students", "none")
QUICK = (*TINY, "--students", "mlp:width=8", "--seeds", "1", "--steps", "2")
LABEL_SETS = {"distilled", "hard", "smoothed", "full"}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write_npz(path, n=60, classes="abc", *, seed=0, **options):
    data = make_images(n, classes=tuple(classes), seed=seed, **options)
    np.savez(
        path,
        images=data.images.numpy().transpose(0, 2, 3, 1),
        labels=data.labels.numpy(),
        class_names=list(classes),
    )
    return f"npz:{path}"


def command(*words):
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run on digits with students, its folder and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("shared") / "run"
    words = command("distill", *QUICK, "--out", folder, "--json")
    done = run_process(words, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder, done


def run_process(words, *, cwd, code=None, **environment):
    root = Path(cvxdistill.__file__).parents[1]
    start = ["-c", code] if code else ["-m", "cvxdistill"]
    return subprocess.run(
        [sys.executable, *start, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment},
    )


# What is printed. -------------------------------------------------------------------------------


def test_json_is_one_object_on_stdout_and_nothing_else(digits_run):
    folder, done = digits_run
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert set(result) >= {
        "run", "method", "status", "certificate", "seconds", "accuracy", "accuracy_ci",
    }  # fmt: skip
    assert result["run"] == str(folder)
    assert (result["method"], result["status"]) == ("exact", "solved")
    assert result["certificate"]["rank"] == 20
    assert result["seconds"] > 0
    assert set(result["accuracy"]) == {"same_extractor", "unseen_extractor", "students"}
    assert set(result["accuracy"]["students"]) == {"mlp:width=8"}
    settings = [
        (result["accuracy"][name], result["accuracy_ci"][name])
        for name in ("same_extractor", "unseen_extractor")
    ]
    settings += [(result[key]["students"]["mlp:width=8"] for key in ("accuracy", "accuracy_ci"))]
    for values, spreads in settings:
        assert set(values) == set(spreads) == LABEL_SETS
        for name, value in values.items():
            assert 0 <= value <= 1
            low, high = spreads[name]
            assert low <= value <= high
    assert done.stderr == ""


def test_a_run_folder_holds_the_artefact_the_sheet_and_the_result(digits_run):
    folder, done = digits_run
    names = ["distilled.safetensors", "labels.png", "manifest.json", "result.json"]
    assert sorted(path.name for path in folder.iterdir() if path.name != "evaluation.json") == names
    assert json.loads((folder / "result.json").read_text()) == json.loads(done.stdout)
    with Image.open(folder / "labels.png") as image:
        assert image.format == "PNG"
        assert image.width > 500
    made = Distilled.load(folder)
    assert len(made) == 20
    assert made.provenance["data"]["target"] == "digits"
    assert made.provenance["splits"]["sizes"] == {"train": 1078, "validation": 270, "test": 449}


def test_evaluate_repeats_the_numbers_of_distill(digits_run, capsys):
    folder, done = digits_run
    words = command("evaluate", folder, "--json", *QUICK[4:])
    assert main(words) == 0
    out, err = capsys.readouterr()
    again, first = json.loads(out), json.loads(done.stdout)
    assert err == ""
    for key in ("accuracy", "accuracy_ci", "certificate", "status", "method", "run"):
        assert again[key] == first[key]
    assert json.loads((folder / "evaluation.json").read_text()) == again


def test_evaluate_takes_other_students_and_networks(digits_run, capsys):
    folder, _ = digits_run
    words = command(
        "evaluate", folder, "--json", "--students", "none", "--seeds", 2, "--unseen", "mlp:width=16"
    )
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert "students" not in result["accuracy"]
    unseen = [row for row in result["rows"] if row["setting"] == "unseen_extractor"]
    assert {row["network"] for row in unseen} == {"mlp:width=16"}
    assert all(len(row["values"]) == 2 for row in unseen)


def test_students_of_an_evaluation_may_see_mirrored_images(digits_run, capsys):
    folder, _ = digits_run
    found = {}
    for augment in ("none", "flip"):
        words = command("evaluate", folder, *QUICK[4:-1], "20", "--unseen", "pixels")
        assert main([*words, "--augment", augment, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        found[augment] = {
            row["labels"]: row["values"] for row in rows if row["setting"] == "students"
        }
    # Digits are not what they are in a mirror.
    assert found["none"]["full"] > found["flip"]["full"]


def test_evaluate_takes_other_optimisers_and_numbers_of_steps(digits_run, capsys):
    folder, done = digits_run
    words = command(
        "evaluate", folder, *QUICK[4:], "--optimisers", "sgd,adam", "--step-factors", "0.5,1,2"
    )
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    # The tree is that of the first evaluation; further cells stand in the rows alone.
    assert result["accuracy"] == json.loads(done.stdout)["accuracy"]
    cells = [
        (row["optimiser"], row["step_factor"], row["steps"], row["main"])
        for row in result["rows"]
        if row["labels"] == "hard" and row["setting"] == "students"
    ]
    assert cells == [
        ("adam", 1.0, 2, True), ("adam", 0.5, 1, False), ("adam", 2.0, 4, False),
        ("sgd", 1.0, 2, False), ("sgd", 0.5, 1, False), ("sgd", 2.0, 4, False),
    ]  # fmt: skip
    heads = [row for row in result["rows"] if row["setting"] == "same_extractor"]
    assert {(row["optimiser"], row["steps"]) for row in heads} == {(None, None)}
    assert main(words) == 0
    assert "mlp:width=8, sgd, steps x 0.5" in capsys.readouterr().out


def test_the_table_is_readable_and_names_the_run(in_a_folder, capsys):
    assert main(command("distill", *BARE, "--seeds", 1)) == 0
    out, err = capsys.readouterr()
    for words in (
        "test accuracy, %", "true labels", "smoothed", "distilled", "full data",
        "head, same extractor", "head, unseen extractor", "certificate: keeps ", "short by 45",
        "digits, 20 base examples, method exact", "run folder runs/digits-exact-20-seed0",
    ):  # fmt: skip
        assert words in out
    assert err == ""
    assert (in_a_folder / "runs" / "digits-exact-20-seed0" / "manifest.json").is_file()


def test_a_failed_student_is_told_below_the_table(in_a_folder, capsys):
    spec = write_npz(in_a_folder / "toy.npz")
    words = command(
        "distill", "--target", spec, "--test-fraction", 0.3, *TINY, "--seeds", 1, "--steps", 1,
        "--students", "convnet:depth=6",
    )  # fmt: skip
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "failed" in out
    assert "students convnet:depth=6 on distilled: " in out
    assert "needs images of at least" in out


def test_progress_bars_go_to_stderr(in_a_folder, monkeypatch, capsys):
    spec = write_npz(in_a_folder / "toy.npz")
    words = command(
        "distill", "--target", spec, "--test-fraction", 0.3, *BARE, "--seeds", 1, "--json"
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out)["status"] == "solved"
    assert "embed" in err
    assert "left" in err


def test_info_of_the_installation(capsys):
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    for key in ("methods", "networks", "heads", "data sets"):
        assert facts[key]
        assert all(name in shown.replace("\n", " ") for name in facts[key])
    assert "exact" in facts["methods"]
    assert facts["torch"]


def test_info_of_a_run(digits_run, capsys):
    folder, done = digits_run
    assert main(command("info", folder)) == 0
    shown = capsys.readouterr().out
    assert "convnet:width=4" in shown
    assert "short by 45" in shown
    assert main(command("info", folder, "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["certificate"] == json.loads(done.stdout)["certificate"]
    assert (facts["examples"], facts["shape"], facts["target"]) == (20, [1, 8, 8], "digits")
    assert facts["labels_from"] < 0 < facts["labels_to"]


@pytest.mark.parametrize("words", [[], ["--help"], ["distill", "--help"]])
def test_help_is_printed_and_is_no_mistake(words, capsys):
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "Usage: cvxdistill" in out
    assert err == ""


# Ways to distill. -------------------------------------------------------------------------------


def distill_json(capsys, *words):
    code = main(command("distill", *words, "--seeds", 1, "--json"))
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_a_base_from_another_data_set(in_a_folder, capsys):
    target = write_npz(in_a_folder / "target.npz")
    other = write_npz(in_a_folder / "letters.npz", classes="wxyz", seed=1)
    words = ("--target", target, "--test-fraction", 0.3, *BARE, "--out", "run")
    result = distill_json(capsys, *words, "--base", other, "--examples", 8)
    assert set(result["accuracy"]["same_extractor"]) == {"distilled", "full"}
    made = Distilled.load("run")
    assert (made.base.name, made.base.class_names) == ("npz:letters", tuple("wxyz"))
    assert made.class_names == tuple("abc")


def test_the_same_data_under_another_spelling_keeps_the_test_part_out(in_a_folder, capsys):
    target = write_npz("target.npz")
    words = ("--target", target, "--test-fraction", 0.3, *BARE, "--examples", 30, "--out", "run")
    distill_json(capsys, *words, "--base", f"npz:{in_a_folder / 'target.npz'}")
    parts = load_splits(target, test_fraction=0.3)
    base = Distilled.load("run").base
    assert set(base.indices.tolist()) <= set(parts.train.indices.tolist())
    assert not set(base.indices.tolist()) & set(parts.test().indices.tolist())


def test_a_trained_extractor_and_one_from_a_file(in_a_folder, capsys):
    target = write_npz("target.npz")
    words = ("--target", target, "--test-fraction", 0.3, "--students", "none")
    network = "mlp:width=4,bottleneck=3"
    result = distill_json(
        capsys, *words, "--extractor", network, "--train-steps", 3, "--pool", 2, "--out", "run"
    )
    assert result["certificate"]["full_rank"] == 8
    assert [e.trained for e in Distilled.load("run").extractors] == [True, True]
    parts = load_splits(target, test_fraction=0.3)
    extractor = train_extractor(
        parse_network(network), parts.train,
        preprocessing=Preprocessing.fit(parts.train), steps=2, seed=0,
    )  # fmt: skip
    save_extractor(extractor, "weights.safetensors")
    result = distill_json(
        capsys, *words, "--extractor-weights", "weights.safetensors", "--out", "again"
    )
    assert result["certificate"]["lossless"]
    assert (
        result["accuracy"]["same_extractor"]["distilled"]
        == (result["accuracy"]["same_extractor"]["full"])
    )


def test_features_and_smoothed_labels_and_indices(in_a_folder, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 4)).astype(np.float32) + 3 * labels[:, None]
    np.savez("vectors.npz", features=features, labels=labels)
    target = ("--target", "npz:vectors.npz", "--test-fraction", 0.3)
    train = load_splits("npz:vectors.npz", test_fraction=0.3).train
    chosen = ",".join(map(str, train.indices[:7].tolist()))
    words = ("--students", "none", "--indices", chosen, "--method", "smoothed:smoothing=0.2")
    result = distill_json(capsys, *target, *words, "--out", "run")
    assert (result["method"], result["label_kind"]) == ("smoothed", "distribution")
    assert result["certificate"] is None
    assert Distilled.load("run").base.indices.tolist() == train.indices[:7].tolist()


def test_a_run_is_replaced_by_the_next_one(in_a_folder, capsys):
    target = ("--target", write_npz("target.npz"), "--test-fraction", 0.3)
    distill_json(capsys, *target, *BARE, "--out", "run")
    assert main(command("evaluate", "run", "--students", "none", "--seeds", 1)) == 0
    assert "evaluation.json" in listing(in_a_folder / "run")
    capsys.readouterr()
    distill_json(capsys, *target, *BARE, "--out", "run", "--seed", 1)
    assert "evaluation.json" not in listing(in_a_folder / "run")
    assert Distilled.load("run").provenance["seed"] == 1


# Mistakes. --------------------------------------------------------------------------------------


def assert_one_line(code, out, err, match):
    assert code == 2, err
    assert out == ""
    assert err.startswith("cvxdistill: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert match in err


MISTAKES = {
    "wrong data set": (["--target", "mnits"], "a data set must be one of"),
    "no data there": (["--target", "mnist", "--data-root", "."], "mnist"),
    "wrong path": (["--target", "npz:nowhere.npz"], "nothing exists at nowhere.npz"),
    "unreadable": (["--target", "npz:broken.npz"], "broken.npz cannot be read as an npz archive"),
    "unreadable folder": (["--target", "folder:pictures"], "cannot be read as an image"),
    "no test part": (["--target", "npz:toy.npz"], "pass `test_fraction` (--test-fraction 0.2)"),
    "unreadable test part": (["--target", "npy:arrays"], "test_images.npy cannot be read"),
    "test part of other shape": (["--target", "npy:other"], "must be like its training part"),
    "too many": (["--examples", "5000"], "at most the 1,078 examples"),
    "none": (["--examples", "0"], "at least 1 base example"),
    "class without examples": (
        ["--target", "npz:lacking.npz", "--test-fraction", "0.3"],
        "class `c` of npz:lacking has 0",
    ),
    "unknown method": (["--method", "exakt"], "Did you mean `exact`?"),
    "bad method option": (["--method", "smoothed:smoothing=2"], "`smoothing` must lie in [0, 1)"),
    "across": (
        ["--method", "hard", "--base", "npz:toy.npz"], "true labels do not exist across data sets",
    ),
    "unknown network": (["--extractor", "convnot"], "Did you mean `convnet`?"),
    "no extractor": (["--pool", "0", "--train-steps", "3"], "`--pool` must be 1 or more; got 0"),
    "two kinds of extractors": (
        ["--train-steps", "3", "--extractor-weights", "x"], "`--train-steps`, not both",
    ),
    "two kinds of choices": (["--indices", "1,2", "--choose", "greedy"], "`--choose greedy`, not"),
    "options of what has none": (["--method", "hard:x=1"], "`hard` takes no options; got `x=1`"),
    "negative penalty": (["--target-l2", "-1"], "greater than or equal to 0"),
    "no place for the run": (["--out", "broken.npz/run"], "broken.npz` is a file. Choose another"),
    "network too deep": (["--extractor", "convnet:depth=5"], "needs images of at least 32 pixels"),
    "unseen too deep": (["--unseen", "convnet:depth=5"], "needs images of at least 32 pixels"),
    "unknown student": (["--students", "lenot"], "Did you mean `lenet`?"),
    "student without weights": (["--students", "pixels"], "has no weights to train"),
    "unknown choice": (["--choose", "ballanced"], "Did you mean `balanced`?"),
    "bad indices": (["--indices", "1,x"], "must be whole numbers with commas"),
    "unknown intercept": (["--intercept", "fre"], "Did you mean `free`?"),
    "unknown scale": (["--l2-scale", "relative"], "`l2_scale` must be one of trace, absolute"),
    "negative l2": (["--l2", "-1"], "`l2` must be finite and zero or more; got -1"),
    "unknown device": (["--device", "tpu"], "`--device` must be one of auto, cpu, cuda"),
    "bad number": (["--pool", "many"], "--pool"),
    "no pool": (["--pool", "0"], "`--pool` must be 1 or more; got 0"),
    "bad steps": (["--steps", "50,10"], "`--steps` must be rising positive numbers"),
    "bad steps' words": (["--steps", "few"], "got `few`"),
    "no seeds": (["--seeds", "0"], "`--seeds` must be 1 or more"),
    "bad validation": (["--validation", "most"], "`--validation` must be a count"),
    "no validation": (["--validation", "1.0"], "strictly between 0 and 1; got 1.0"),
    "negative training": (["--train-steps", "-1"], "`steps` must be 1 or more; got -1"),
    "training pixels": (
        ["--extractor", "pixels", "--train-steps", "1"], "has no weights to train",
    ),
    "no weights": (["--extractor-weights", "nowhere"], "`nowhere` is not a readable extractor"),
    "unknown option": (["--exampels", "20"], "No such option: --exampels"),
    "option without value": (["--examples"], "--examples"),
    "too many words": (["digits"], "unexpected extra argument"),
    "foreign folder": (["--out", "foreign"], "holds other files (thesis.tex) and is left as it is"),
    "file": (["--out", "broken.npz"], "is a file; give a folder"),
    "the working folder": (["--out", "."], "is the working folder"),
}  # fmt: skip


@pytest.fixture
def messy(in_a_folder):
    """A folder with everything that a mistake may name."""
    write_npz("toy.npz", classes="xyz")
    Path("broken.npz").write_bytes(Path("toy.npz").read_bytes()[:200])
    data = make_images(60)
    kept = data.labels.numpy() != 2
    np.savez(
        "lacking.npz", images=data.images.numpy()[kept, 0], labels=data.labels.numpy()[kept],
        class_names=list("abc"),
    )  # fmt: skip
    for name, size in (("arrays", 8), ("other", 9)):
        Path(name).mkdir()
        for split, side in (("train", 8), ("test", size)):
            part = make_images(30, shape=(1, side, side), split=split)
            np.save(f"{name}/{split}_images.npy", part.images.numpy()[:, 0])
            np.save(f"{name}/{split}_labels.npy", part.labels.numpy())
    content = Path("arrays/test_images.npy").read_bytes()
    Path("arrays/test_images.npy").write_bytes(content[: len(content) // 2])
    for part in ("train", "test"):
        for kind in "ab":
            Path(f"pictures/{part}/{kind}").mkdir(parents=True)
            for index in range(4):
                Path(f"pictures/{part}/{kind}/{index}.png").write_bytes(b"not a picture")
    Path("foreign").mkdir()
    Path("foreign/thesis.tex").write_text("years of work")
    return in_a_folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(messy, capsys, mistake):
    words, match = MISTAKES[mistake]
    before = listing(messy)
    code = main(["distill", *BARE, *words])
    assert_one_line(code, *capsys.readouterr(), match)
    assert listing(messy) == before


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["evaluate"], "Missing argument"),
        (["evaluate", "nowhere"], "`nowhere` is not a distilled set"),
        (["evaluate", "foreign"], "`foreign` is not a distilled set"),
        (["evaluate", "foreign", "--optimisers", "adem"], "Did you mean `adam`?"),
        (["evaluate", "foreign", "--augment", "flop"], "Did you mean `flip`?"),
        (["evaluate", "foreign", "--step-factors", "two"], "positive numbers such as 0.5,2"),
        (["evaluate", "foreign", "--step-factors", "0"], "finite and above zero"),
        (["info", "nowhere"], "`nowhere` is not a distilled set"),
        (["destill"], "destill"),
        (["--verbose"], "--verbose"),
    ],
)
def test_mistakes_of_the_other_verbs(messy, capsys, words, match):
    before = listing(messy)
    code = main(words)
    assert_one_line(code, *capsys.readouterr(), match)
    assert listing(messy) == before


def test_evaluate_refuses_changed_data(in_a_folder, capsys):
    target = ("--target", write_npz("target.npz"), "--test-fraction", 0.3)
    distill_json(capsys, *target, *BARE, "--out", "run")
    write_npz("target.npz", seed=5)
    before = listing(in_a_folder)
    code = main(["evaluate", "run", "--students", "none"])
    assert_one_line(code, *capsys.readouterr(), "is not the one that `run` was made from")
    assert listing(in_a_folder) == before
    Path("target.npz").unlink()
    code = main(["evaluate", "run", "--students", "none"])
    assert_one_line(code, *capsys.readouterr(), "nothing exists at target.npz")


def test_evaluate_refuses_a_changed_run(digits_run, in_a_folder, capsys):
    shutil.copytree(digits_run[0], "run")
    content = bytearray(Path("run/distilled.safetensors").read_bytes())
    content[-1] ^= 1
    Path("run/distilled.safetensors").write_bytes(content)
    before = listing(in_a_folder)
    code = main(["evaluate", "run"])
    assert_one_line(code, *capsys.readouterr(), "was changed after it was written")
    assert listing(in_a_folder) == before


def test_evaluate_of_a_set_that_no_command_made(in_a_folder, capsys):
    data = make_images()
    cvxdistill.distill(
        cvxdistill.choose_base(data, 6), data, extractors="convnet:width=2", pool=1
    ).save("run")
    code = main(["evaluate", "run"])
    assert_one_line(code, *capsys.readouterr(), "does not record where its target came from")


@pytest.mark.parametrize("mistake", ["foreign folder", "unreadable test part", "unseen too deep"])
def test_what_comes_after_the_work_is_checked_before_it(messy, monkeypatch, capsys, mistake):
    monkeypatch.setattr("cvxdistill.cli.distill.distill", failing(AssertionError("work began")))
    words, match = MISTAKES[mistake]
    assert_one_line(main(["distill", *BARE, *words]), *capsys.readouterr(), match)


def test_a_mistake_in_a_process_of_its_own(in_a_folder):
    done = run_process(["distill", "--target", "mnits"], cwd=in_a_folder)
    assert_one_line(done.returncode, done.stdout, done.stderr, "Did you mean `mnist`?")
    assert listing(in_a_folder) == {}


# Faults. ----------------------------------------------------------------------------------------


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def test_a_fault_of_ours_is_not_swallowed(in_a_folder, monkeypatch):
    monkeypatch.setattr("cvxdistill.cli.distill.distill", failing(ZeroDivisionError("a fault")))
    with pytest.raises(ZeroDivisionError, match="a fault"):
        main(["distill", *BARE])
    assert listing(in_a_folder) == {}


@pytest.mark.slow
def test_a_fault_of_ours_ends_with_exit_code_1(in_a_folder):
    code = (
        "import sys, cvxdistill.cli.info as room\n"
        "def fail(): raise ZeroDivisionError('a fault')\n"
        "room._installation = fail\n"
        "from cvxdistill.cli import main\n"
        "sys.exit(main())"
    )
    done = run_process(["info"], cwd=in_a_folder, code=code)
    assert done.returncode == 1
    assert "ZeroDivisionError: a fault" in done.stderr
    assert done.stdout == ""


def test_a_solve_that_fails_ends_with_exit_code_1(in_a_folder, monkeypatch, capsys):
    monkeypatch.setattr("cvxdistill.cli.distill.distill", failing(SolveError("singular")))
    assert main(["distill", *BARE]) == 1
    assert capsys.readouterr().err == "cvxdistill: error: singular\n"
    assert listing(in_a_folder) == {}


def test_an_interrupt_is_said_in_one_line(in_a_folder, monkeypatch, capsys):
    monkeypatch.setattr("cvxdistill.cli.distill.distill", failing(KeyboardInterrupt()))
    assert main(["distill", *BARE]) == 130
    assert capsys.readouterr().err.strip() == "cvxdistill: error: interrupted."


def test_a_request_to_end_is_an_interrupt(in_a_folder, monkeypatch, capsys):
    def ended(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("cvxdistill.cli.distill.distill", ended)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["distill", *BARE]) == 130
    assert "interrupted." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert listing(in_a_folder) == {}


# The bars of the defaults. ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_defaults_beat_true_labels_on_digits(capsys):
    assert main(["distill", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["examples"] == 20
    gains = {
        name: values["distilled"] - values["hard"]
        for name, values in result["accuracy"].items()
        if name != "students"
    }
    (students,) = result["accuracy"]["students"].values()
    assert gains["same_extractor"] >= 0.10
    assert gains["unseen_extractor"] >= 0.10
    assert students["distilled"] - students["hard"] >= 0.12


def test_students_named_twice_are_trained_once():
    assert parse_students("mlp;lenet;mlp") == (MLP(), LeNet())


def test_what_was_chosen_by_hand_is_recorded_so():
    assert BaseExamples(indices="3,1").record()["base"]["choose"] == "indices"
    assert BaseExamples(how="kmeans").record()["base"]["choose"] == "kmeans"
