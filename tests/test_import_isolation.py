"""A fresh interpreter that imports the package must not pay for what it may never use."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "PIL",
    "cvxpy",
    "cvxpylayers",
    "matplotlib",
    "pyarrow",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "timm",
    "torchvision",
)

SCRIPT = """
import json, sys
import torch
before = set(sys.modules)
import cvxdistill
import cvxdistill.solvers
print(json.dumps([sorted(before), sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[set[str], set[str]]:
    """The modules that PyTorch alone loads, and those loaded with the package."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    before, after = json.loads(run.stdout)
    return set(before), set(after)


def test_the_package_was_imported(loaded):
    assert "cvxdistill.solvers" in loaded[1]


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_import(name, loaded):
    by_torch, with_package = loaded
    assert name not in with_package - by_torch
