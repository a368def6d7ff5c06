"""Runs that are killed, interrupted or out of time, and what `--resume` makes of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from methods.test_methods_contract import SPECS

import cvxdistill
from cvxdistill.artifact import Distilled
from cvxdistill.cli import main
from cvxdistill.methods import METHODS, IterativeMethod, Journal

# Options as a user types them: enough steps that there is something left to do after the first.
STEPS = {
    **{name: SPECS[name][0] for name, kind in METHODS.items() if issubclass(kind, IterativeMethod)},
    "teacher": "teacher:teachers=1,steps=60,batch_size=32,choose=false,temperature=2.0",
}
TENSORS = "distilled.safetensors"
LONG = "first-order:steps=150,batch_size=64"
SHORT = "first-order:steps=20,batch_size=64"
WORDS = (
    "distill", "--target", "digits", "--examples", "10", "--extractor", "convnet:width=4",
    "--pool", "1", "--student", "mlp:width=8", "--students", "none", "--seeds", "1", "--json",
    "--device", "cpu",
)  # fmt: skip
# Kills the process from within, once the first checkpoint is complete and before the next step.
SUICIDE = """
import os, signal, sys
from cvxdistill.methods import Journal
keep = Journal.save
def save(self, *given):
    keep(self, *given)
    os.kill(os.getpid(), signal.SIGKILL)
Journal.save = save
from cvxdistill.cli import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, method, out, *words):
    code = main([*WORDS, "--method", method, "--out", str(out), *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def start(method, out, code=None):
    """Start a run in a process of its own that leaves a checkpoint after every step."""
    first = ["-c", code] if code else ["-m", "cvxdistill"]
    return subprocess.Popen(
        [sys.executable, *first, *WORDS, "--method", method, "--out", str(out),
         "--checkpoint-every", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(cvxdistill.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip


def assert_resumed_alike(capsys, method):
    """The killed run left its checkpoint alone; resumed, it is the run that nobody killed."""
    checkpoint = Path("killed.checkpoint")
    assert checkpoint.is_file()
    assert not Path("killed").exists()
    code, out, err = run(capsys, method, "killed")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is the checkpoint of an interrupted run" in err
    code, _, err = run(capsys, method, "killed", "--resume")
    assert (code, err) == (0, "")
    assert not checkpoint.exists()
    assert run(capsys, method, "whole")[0] == 0
    killed, whole = (Path(name, TENSORS) for name in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()
    assert Distilled.load("killed").recipe == Distilled.load("whole").recipe


def test_a_run_that_is_killed_goes_on_to_the_same_artefact(capsys):
    process = start(LONG, "killed")
    deadline = time.monotonic() + 120
    while not Path("killed.checkpoint").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_resumed_alike(capsys, LONG)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_every_method_that_is_killed_goes_on_to_the_same_artefact(name, capsys):
    process = start(STEPS[name], "killed", SUICIDE)
    _, err = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, err
    assert_resumed_alike(capsys, STEPS[name])


def test_a_checkpoint_of_other_options_is_refused_and_kept(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        assert run(capsys, LONG, "run", "--checkpoint-every", "0")[0] == 130
    content = Path("run.checkpoint").read_bytes()
    code, out, err = run(capsys, LONG, "run", "--resume", "--seed", "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is the checkpoint of another run" in err
    Path("run.checkpoint").write_bytes(content[: len(content) // 2])
    code, out, err = run(capsys, LONG, "run", "--resume")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is not a readable checkpoint" in err


def interrupt(patch):
    """Press Ctrl-C before the third step."""
    asked = []

    def exhausted(self):
        asked.append(self)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return False

    patch.setattr(Journal, "exhausted", property(exhausted))


def test_an_interrupt_from_the_keyboard_keeps_the_last_checkpoint(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        code, out, err = run(capsys, LONG, "killed", "--checkpoint-every", "0")
    assert (code, out) == (130, "")
    assert "`killed.checkpoint` is kept; go on from there by `--resume`" in err
    assert_resumed_alike(capsys, LONG)


def test_a_budget_stops_early_and_leaves_an_artefact(capsys):
    code, out, err = run(capsys, LONG, "run", "--budget", "0.001")
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] == "stopped_early"
    assert len(Distilled.load("run")) == 10
    assert not Path("run.checkpoint").exists()


def test_a_run_out_of_budget_goes_on_with_a_larger_one(capsys, monkeypatch):
    assert run(capsys, SHORT, "whole")[0] == 0
    with monkeypatch.context() as patch:
        taken = []
        patch.setattr(Journal, "exhausted", property(lambda _: taken.append(1) or len(taken) > 3))
        assert run(capsys, SHORT, "run")[0] == 0
    assert Path("run", "checkpoint.safetensors").exists()
    found, opened = [], Journal.open
    monkeypatch.setattr(Journal, "open", lambda *given: found.append(opened(*given)) or found[0])
    code, _, err = run(capsys, SHORT, "run", "--resume", "--budget", "1000")
    assert (code, err, found[0][0]) == (0, "", 3)
    assert Path("run", TENSORS).read_bytes() == Path("whole", TENSORS).read_bytes()
    assert not Path("run", "checkpoint.safetensors").exists()


def test_a_run_out_of_budget_is_replaced_by_a_new_one(capsys):
    assert run(capsys, SHORT, "run", "--budget", "0.001")[0] == 0
    first = Path("run", TENSORS).read_bytes()
    assert run(capsys, SHORT, "run")[0] == 0
    assert Path("run", TENSORS).read_bytes() != first
    assert sorted(path.name for path in Path().iterdir()) == ["run"]


def test_the_student_of_the_method_is_that_of_the_evaluation(capsys):
    words = list(WORDS)
    del words[words.index("--students") : words.index("--students") + 2]
    code = main([*words, "--method", "online-ridge:steps=2,validate_every=2", "--out", "run",
                 "--steps", "2"])  # fmt: skip
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert set(json.loads(out)["accuracy"]["students"]) == {"mlp:width=8"}
    assert Distilled.load("run").provenance["student"] == "mlp:width=8"
    assert main(["evaluate", "run", "--json", "--seeds", "1", "--steps", "2"]) == 0
    assert set(json.loads(capsys.readouterr().out)["accuracy"]["students"]) == {"mlp:width=8"}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--student", "lenot"], "Did you mean `lenet`"),
        (["--student", "pixels"], "`--student pixels` has no weights to train"),
        (["--student", "convnet:depth=6"], "needs images of at least"),
        (["--budget", "0"], "`--budget` must be finite and above zero"),
        (["--checkpoint-every", "-1"], "`--checkpoint-every` must be finite and zero or more"),
    ],
)
def test_wrong_options_are_refused_before_the_work(words, match, capsys, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work began")

    monkeypatch.setattr("cvxdistill.cli.distill.distill", work)
    code, out, err = run(capsys, "hard", "run", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert match in err
    assert list(Path().iterdir()) == []


def test_every_registered_method_is_named_in_the_help(capsys):
    assert main(["distill", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in METHODS)
