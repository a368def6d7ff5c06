"""Every method on one problem: rows, failures, resuming, and runs that any verb can read."""

import dataclasses
import json
import threading

import pytest
import torch
from artifact.makers import listing, make_images
from compare.misbehaving import Faulty, Greedy, Hanging
from compare.problems import NETWORK, digits, problem, run, yardstick

from cvxdistill.artifact import Distilled
from cvxdistill.choose import choose_base
from cvxdistill.compare import Comparison, isolate, read_trace, worker
from cvxdistill.compare import run as course
from cvxdistill.compare.plan import folder_name
from cvxdistill.compare.trace import Trace
from cvxdistill.errors import InputError
from cvxdistill.evaluate import evaluate
from cvxdistill.methods import METHODS, Journal, MethodResult, Smoothed

# Every published system, with as few steps as it can take. The labels of the first have a recipe.
TINY = {
    "online-ridge": "online-ridge:steps=4,batch_size=8,validate_every=2",
    "alternating": (
        "alternating:teachers=1,teacher_steps=2,rounds=1,students=1,student_steps=2,examples=9"
    ),
    "exact": "exact",
    "first-order": "first-order:steps=4",
    "hard": "hard",
    "images": "images:steps=2,inner_steps=2,inner_epochs=1,networks=1,batch_size=8",
    "images-labels": "images-labels:steps=2,inner_steps=2,inner_epochs=1,networks=1,batch_size=8",
    "second-order": "second-order:steps=4,batch_size=8,validate_every=2",
    "smoothed": "smoothed:smoothing=0.3",
    "teacher": "teacher:teachers=1,steps=30,checkpoints=2,students=1,student_steps=2",
}
LEARNED = ("images", "images-labels")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All tiny methods, in one folder, with labels kept after every step."""
    folder = tmp_path_factory.mktemp("made") / "all"
    with pytest.MonkeyPatch.context() as patch:
        marks = tuple(1e-4 * 2**k for k in range(20))
        patch.setattr(worker, "marks_until", lambda budget: marks)
        comparison = run(list(TINY.values()), folder, command=["cvxdistill", "compare"])
    return folder, comparison


def test_there_is_a_row_for_every_method_in_the_order_given(made):
    _, comparison = made
    assert [row.method for row in comparison.rows] == list(TINY.values())
    assert [row.reason for row in comparison.rows] == [""] * len(TINY)
    assert all(row.status in ("solved", "stopped_early") for row in comparison.rows)


def test_every_run_is_an_artefact_of_the_same_problem(made):
    folder, comparison = made
    bases, targets = set(), set()
    for row in comparison.rows:
        distilled = Distilled.load(folder / row.run)
        known = distilled.provenance
        bases.add(tuple(distilled.base.indices.tolist()))
        targets.add((known["target"]["fingerprint"], known["seed"], known["student"]))
        assert known["seconds"] == row.seconds
        assert known["target_passes"] == row.target_passes
        assert distilled.bits == row.bits
    assert len(bases) == len(targets) == 1


def test_the_numbers_are_those_of_evaluate(made):
    folder, comparison = made
    data, measured = digits(), yardstick()
    for row in comparison.rows:
        rows = evaluate(
            Distilled.load(folder / row.run),
            data.test(),
            validation=data.validation,
            seeds=measured.seeds,
            recipe=measured.recipe,
            label_sets=("distilled",),
        )
        wanted = [(one.setting, one.network, one.values, one.choices) for one in rows]
        found = [(one.setting, one.network, one.values, one.choices) for one in row.evaluations]
        assert found == wanted
        assert {one.setting for one in rows} == {"same_extractor", "unseen_extractor", "students"}


def test_the_full_data_are_measured_once_and_like_all_else(made):
    folder, comparison = made
    data, measured = digits(), yardstick()
    first = Distilled.load(folder / comparison.rows[0].run)
    assert first.recipe is not None
    plain = dataclasses.replace(first, recipe=None)
    wanted = evaluate(
        plain,
        data.test(),
        train=data.train,
        validation=data.validation,
        seeds=measured.seeds,
        recipe=measured.recipe,
        label_sets=("full",),
    )
    found = [(row.setting, row.labels, row.values) for row in comparison.full]
    assert found == [(row.setting, row.labels, row.values) for row in wanted]
    assert len(found) == 3


def test_what_is_stored(made):
    _, comparison = made
    for row in comparison.rows:
        learned = row.method.partition(":")[0] in LEARNED
        assert row.bits.images == 10 * 64 * (32 if learned else 8)
        assert (row.bits.labels, row.bits.hard_labels) == (10 * 10 * 64, 10 * 4)
        kind = "float32" if learned else "uint8"
        assert row.stored == {"images": f"10 x 1x8x8 {kind}", "labels": "10 x 10 float64"}


def test_a_curve_ends_with_the_labels_of_the_run_and_rises_in_time(made):
    folder, comparison = made
    measured, shared = yardstick(), problem()
    for row in comparison.rows:
        seconds = [point.seconds for point in row.curve]
        assert seconds == sorted(seconds)
        assert (row.curve[-1].seconds, row.curve[-1].step) == (row.seconds, None)
        final = measured.ready(shared).measure_validation(Distilled.load(folder / row.run), shared)
        assert [one.values for one in row.curve[-1].rows] == [one.values for one in final]
        assert [one.network for one in final] == [NETWORK]
        kept = read_trace(folder / row.run / "trace.safetensors")
        there = {(round(point.seconds, 4), point.step) for point in kept}
        assert {(point.seconds, point.step) for point in row.curve[:-1]} <= there
        stepless = row.method.partition(":")[0] in ("exact", "hard", "smoothed")
        assert bool(kept) != stepless, row.method


def test_labels_that_came_after_the_end_have_no_place_on_the_curve(tmp_path):
    folder, quick = tmp_path / "out", yardstick(full=False)
    (row,) = run(["exact"], folder, measured=quick).rows
    labels = Distilled.load(folder / "exact").labels
    trace = Trace(folder / "exact" / "trace.safetensors", "the same run")
    for step, seconds in enumerate((0.5, 2.0, 0.25)):
        trace.keep(seconds * row.seconds, step, MethodResult(labels, "scores"))
    measured = yardstick(full=False, curve_seeds=1)
    (again,) = run(["exact"], folder, measured=measured, resume=True).rows
    assert [point.step for point in again.curve] == [2, 0, None]


def test_kept_images_are_those_of_then(made):
    folder, comparison = made
    row = next(row for row in comparison.rows if row.method.startswith("images:"))
    final = Distilled.load(folder / row.run)
    (point, *_) = read_trace(folder / row.run / "trace.safetensors")
    then = point.applied(final)
    assert then.examples.dtype == torch.float32
    assert not torch.equal(then.examples, final.examples)
    assert torch.equal(then.labels, point.labels)


def test_the_file_says_the_same_and_how_it_was_made(made):
    folder, comparison = made
    record = json.loads((folder / "comparison.json").read_text())
    assert record == json.loads(json.dumps(comparison.record()))
    assert Comparison.load(folder) == Comparison.from_record(record)
    assert set(record) == {
        "format", "command", "environment", "problem", "yardstick", "budget", "reference", "rows",
        "full", "time_to_accuracy",
    }  # fmt: skip
    assert record["format"] == "cvxdistill.comparison/1"
    assert record["command"] == ["cvxdistill", "compare"]
    assert set(record["environment"]) >= {
        "cvxdistill", "python", "torch", "numpy", "platform", "cpu", "cores", "threads", "device",
        "device_name", "isolated",
    }  # fmt: skip
    for row in record["rows"]:
        assert set(row["accuracy"]) == {"same_extractor", "unseen_extractor", "students"}
        assert set(row["accuracy"]["students"]) == {NETWORK}
        low, high = row["accuracy_ci"]["students"][NETWORK]
        assert low <= row["accuracy"]["students"][NETWORK] <= high
    assert record["reference"] == TINY["online-ridge"]
    times = {(one["method"], one["below"]) for one in record["time_to_accuracy"]}
    assert len(times) == len(record["time_to_accuracy"]) == 4 * len(TINY)


def test_nothing_unfinished_is_left(made):
    folder, comparison = made
    names = {path.name for path in folder.iterdir()}
    assert names == {"comparison.json", *(row.run for row in comparison.rows)}


def test_all_registered_methods_are_tried_here():
    assert set(TINY) == set(METHODS)


# Failures. --------------------------------------------------------------------------------------


def test_a_method_that_fails_is_a_row_with_its_reason(tmp_path):
    letters = make_images(30, classes=tuple("pqrs"), name="letters")
    shared = problem(base=choose_base(letters, 8))
    comparison = run(["hard", Faulty(), "exact"], tmp_path / "out", shared=shared, budget=60)
    hard, faulty, exact = comparison.rows
    assert hard.status == faulty.status == "failed"
    assert hard.reason.startswith("true labels do not exist across data sets")
    assert faulty.reason == "ZeroDivisionError: a fault over two lines"
    assert hard.evaluations == hard.curve == ()
    assert hard.seconds is hard.bits is hard.peak_memory is None
    assert exact.status == "solved"
    assert exact.evaluation("students").accuracy is not None
    record = comparison.record()["rows"][0]
    assert (record["accuracy"], record["bits"], record["seconds"]) == ({}, None, None)
    assert Comparison.load(tmp_path / "out").rows == comparison.rows


def test_a_process_of_its_own_gives_the_same_labels(tmp_path):
    shared, quick = problem(), yardstick(full=False)
    (row,) = run(["exact"], tmp_path / "out", shared=shared, measured=quick, isolate=True).rows
    assert row.reason == ""
    assert row.peak_memory > 50e6
    assert Distilled.load(tmp_path / "out" / "exact").provenance["comparison"]["isolated"]
    (alone,) = run(["exact"], tmp_path / "alone", shared=shared, measured=quick).rows
    assert [one.values for one in alone.evaluations] == [one.values for one in row.evaluations]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL; systems do"),
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("import sys; sys.stderr.write('a\\nthe last word\\n'); sys.exit(7)", "7: the last word"),
        ("import sys; sys.exit(3)", "its process ended with code 3"),
    ],
)
def test_a_process_that_ends_is_a_row_and_the_next_method_gets_its_turn(
    tmp_path, monkeypatch, script, reason
):
    monkeypatch.setattr(isolate, "START", script)
    comparison = run(["hard", "exact"], tmp_path / "out", isolate=True)
    assert [row.status for row in comparison.rows] == ["failed"] * 2
    assert all(reason in row.reason for row in comparison.rows)


HANGING = """
import pathlib, sys, time
(pathlib.Path(sys.argv[1]) / "paused.txt").write_text("0.0")
time.sleep(600)
"""


def test_a_hanging_process_is_ended_after_budget_and_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate, "START", HANGING)
    comparison = run(["hard"], tmp_path / "out", isolate=True, budget=0.5, grace=0.5)
    assert "the budget is 0.5 s, and 0.5 s of grace are over" in comparison.rows[0].reason


LATE = """
import pathlib, sys, time
time.sleep(1)
(pathlib.Path(sys.argv[1]) / "paused.txt").write_text("0.0")
"""


def test_the_start_of_a_process_does_not_count_but_has_an_end_too(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate, "START", LATE)
    limits = {"budget": 0.3, "grace": 0.3, "isolate": True}
    (row,) = run(["hard"], tmp_path / "late", **limits).rows
    assert row.reason == "it ended without a result"
    monkeypatch.setattr(isolate, "LONGEST_START", 0.5)
    (row,) = run(["hard"], tmp_path / "later", **limits).rows
    assert "had not begun after" in row.reason


PAUSING = """
import pathlib, sys, time
file, began = pathlib.Path(sys.argv[1]) / "paused.txt", time.time()
while time.time() < began + 1.5:
    file.write_text(str(time.time() - began))
    time.sleep(0.02)
"""


def test_looking_at_labels_along_the_way_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate, "START", PAUSING)
    limits = {"budget": 0.4, "grace": 0.4, "isolate": True}
    (row,) = run(["hard"], tmp_path / "pausing", **limits).rows
    assert row.reason == "it ended without a result"
    monkeypatch.setattr(isolate, "START", PAUSING.replace("time.time() - began", "0.0"))
    (row,) = run(["hard"], tmp_path / "working", **limits).rows
    assert "of grace are over" in row.reason


def test_no_single_look_counts_for_more_than_the_grace(tmp_path):
    class Stuck(Journal):
        pauses = (0.5, 3.0, 100.0)

    path = tmp_path / "paused.txt"
    told = threading.Thread(target=worker._tell_pauses, args=(Stuck(), 2.0, path), daemon=True)
    told.start()
    while not (path.exists() and path.read_text().endswith("\n")):
        assert told.is_alive()
    assert float(path.read_text()) == 4.5


def test_what_no_process_can_be_handed_is_refused_before_anything_is_written(tmp_path):
    class Local(Smoothed):
        pass

    with pytest.raises(InputError, match=r"cannot be handed to a process.*isolate=False"):
        run([Local()], tmp_path / "out", isolate=True)
    shared = problem(provenance={"made by": lambda: None})
    with pytest.raises(InputError, match="the problem cannot be handed"):
        run(["hard"], tmp_path / "out", isolate=True, shared=shared)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_that_lost_its_parent_ends(tmp_path):
    """The worker waits for the end of its stdin, which closes however the parent ends."""
    started = []
    popen = isolate.subprocess.Popen

    def orphan(*given, **options):
        process = popen(*given, **options)
        process.stdin.close()
        started.append(process)
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolate.subprocess, "Popen", orphan)
        comparison = run([Hanging()], tmp_path / "out", isolate=True, budget=60, grace=60)
    assert started[0].returncode == 1
    assert comparison.rows[0].reason.startswith("its process ended with code 1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_peak_memory_of_the_gpu(tmp_path):
    comparison = run(["exact"], tmp_path / "out", shared=problem(device="cuda"))
    assert comparison.rows[0].peak_gpu_memory > 0


def test_peak_memory_is_that_of_the_method(tmp_path):
    methods = [Greedy(megabytes=300), Greedy(megabytes=1)]
    much, little = run(methods, tmp_path / "out", measured=yardstick(full=False)).rows
    if little.peak_memory is None:
        pytest.skip("this system cannot tell the peak of a stretch of work")
    assert 200e6 < much.peak_memory - little.peak_memory < 400e6


# Going on. --------------------------------------------------------------------------------------


def test_resume_skips_what_is_done_and_adds_what_is_new(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    first = run(["hard", Faulty(), TINY["first-order"]], folder)
    before = {name: content for name, content in listing(folder).items() if "first-order" in name}

    def refuse(problem, job, *_, **__):
        raise InputError(f"started {job.method.name}")

    monkeypatch.setattr(course, "work", refuse)
    again = run(["exact", TINY["first-order"], "hard", Faulty()], folder, resume=True)
    assert [row.reason for row in again.rows] == ["started exact", "", "", "started faulty"]
    assert again.rows[2] == first.rows[0]
    assert again.rows[1] == first.rows[2]
    assert again.full == first.full
    after = {name: content for name, content in listing(folder).items() if "first-order" in name}
    assert after == before
    # Another yardstick asks for new numbers of the same labels.
    with pytest.raises(InputError, match=r"not listed: first-order-steps-4. List them too"):
        run(["hard"], folder, resume=True)
    both = ["hard", TINY["first-order"]]
    more = run(both, folder, resume=True, measured=yardstick(seeds=3, full=False))
    assert len(more.rows[0].evaluation("students").values) == 3


def test_an_interruption_loses_no_row_of_before(tmp_path):
    folder = tmp_path / "out"
    before = run(["hard", "exact"], folder)

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["smoothed", "hard", "exact"], folder, resume=True, progress=stop)
    assert Comparison.load(folder).rows == before.rows


def test_the_full_data_have_the_head_of_the_problem_whatever_methods_bring(tmp_path):
    logistic = "first-order:steps=2,head=logistic"
    first = run([logistic, "exact"], tmp_path / "first")
    second = run(["exact", logistic], tmp_path / "second")
    assert [row.values for row in first.full] == [row.values for row in second.full]
    assert all(row.values for row in first.full)


def test_an_interrupted_method_goes_on_from_its_checkpoint(tmp_path):
    spec = TINY["online-ridge"]
    whole = tmp_path / "whole"
    (one,) = run([spec], whole).rows
    steps = []

    def stop(stage, done, total):
        if stage.endswith(": online-ridge"):
            steps.append(done)
            if len(steps) == 3:
                raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([spec], folder, every=0.0, progress=stop)
    assert list((folder / ".work").glob("*.checkpoint.safetensors"))
    (two,) = run([spec], folder, every=0.0, resume=True, progress=stop).rows
    assert steps == [1, 2, 3, 3, 4]
    assert two.evaluations[0].values == one.evaluations[0].values
    labels = [Distilled.load(place / one.run).labels for place in (whole, folder)]
    assert torch.equal(*labels)
    assert not (folder / ".work").exists()


def test_a_budget_stops_steps(tmp_path):
    (row,) = run(["first-order:steps=100000"], tmp_path / "out", budget=0.3).rows
    assert row.status == "stopped_early"
    assert row.seconds < 30


# Folders and options. ---------------------------------------------------------------------------


def test_a_folder_of_other_things_or_of_another_problem_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    run(["hard"], tmp_path / "out")
    before = listing(tmp_path)
    for folder, options, match in (
        ("thesis", {}, "holds other files and no `comparison.json`"),
        ("thesis", {"resume": True}, "holds other files and no `comparison.json`"),
        ("file", {}, "is a file; give a folder"),
        ("file/out", {}, "cannot be made: .*file` is a file"),
        ("out", {}, "holds an earlier comparison. Go on with it by `--resume`"),
        ("out", {"resume": True, "shared": problem(seed=1)}, "is a run on another problem"),
        ("out", {"resume": True, "budget": 5.0}, "is a run on another problem"),
    ):
        with pytest.raises(InputError, match=match):
            run(["hard"], tmp_path / folder, **options)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("methods", "options", "match"),
    [
        ([], {}, "must name at least one method"),
        (["exakt"], {}, "Did you mean `exact`"),
        (["hard", "exact", "exact:loss=squared"], {}, "must not name `exact:loss=squared` twice"),
        (["hard"], {"budget": 0.0}, "`budget` must be finite and above zero; got 0"),
        (["hard"], {"budget": float("inf")}, "`budget` must be finite"),
        (["hard"], {"grace": -1.0}, "`grace` must be finite and zero or more"),
        (["hard"], {"every": -1.0}, "`every` must be finite and zero or more"),
        (["hard"], {"reference": "exact"}, "`reference` must be one of hard"),
        (["hard"], {"shared": problem(extractors="convnet:depth=9")}, "needs images of at least"),
        (["hard"], {"shared": problem(base=make_images(6, shape=(1, 9, 9)))}, "one shape"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, methods, options, match):
    with pytest.raises(InputError, match=match):
        run(methods, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_a_test_part_of_other_classes_is_refused(tmp_path):
    measured = dataclasses.replace(yardstick(), test=make_images(9))
    with pytest.raises(InputError, match="the test part must be like the target"):
        run(["hard"], tmp_path / "out", measured=measured)
    with pytest.raises(InputError, match="`curve_seeds` must be 1 or more; got 0"):
        yardstick(curve_seeds=0)


def test_without_validation_there_are_no_curves_and_without_students_heads_have_them(tmp_path):
    (row,) = run(["exact"], tmp_path / "none", shared=problem(validation=None)).rows
    assert row.curve == ()
    measured = yardstick(students=(), full=False)
    (row,) = run(["exact"], tmp_path / "heads", measured=measured).rows
    assert [one.setting for one in row.curve[-1].rows] == ["unseen_extractor"]
    assert row.evaluation("students") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("exact", "exact"),
        ("exact:loss=cross_entropy,temperature=0.5", "exact-loss-cross_entropy-temperature-0.5"),
    ],
)
def test_folders_are_named_after_methods(text, name):
    assert folder_name(text) == name


@pytest.mark.parametrize("text", ["exact: loss=squared", "smoothed/..", "a" * 200, "Smoothed()"])
def test_folders_of_odd_names_are_short_plain_and_apart(text):
    name = folder_name(text)
    assert len(name) < 100
    assert name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert name != folder_name(text + " ")


@pytest.mark.parametrize("damage", [{"rows": [1]}, {"rows": None}, {"full": ["x"]}])
def test_a_damaged_comparison_is_named(tmp_path, damage):
    run(["hard"], tmp_path / "out", measured=yardstick(full=False))
    path = tmp_path / "out" / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(InputError, match="lacks or distorts"):
        Comparison.load(tmp_path / "out")
