"""What all tests share: one thread, the real-data folder, and the `--slow` switch."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("suite")
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow to run it"))
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets, from the environment; its tests skip without it."""
    value = os.environ.get("CVXDISTILL_DATA_ROOT")
    if not value or not Path(value).is_dir():
        pytest.skip("CVXDISTILL_DATA_ROOT does not name a folder with the real data sets")
    return Path(value)
