"""`cvxdistill evaluate`: judge a saved run again, with other students, seeds or networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvxdistill.artifact import Distilled
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli.judge import Judge
from cvxdistill.data import Splits
from cvxdistill.errors import InputError


def evaluate_command(
    run: opt.Run,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    students: opt.Students = None,
    seeds: opt.Seeds = 3,
    steps: opt.Steps = "50,100,200",
    augment: opt.Augment = "none",
    optimisers: opt.Optimisers = None,
    step_factors: opt.StepFactors = None,
    unseen: opt.Unseen = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Evaluate a run folder on the test data of its own target."""
    judge = Judge.parse(
        students,
        seeds,
        steps,
        unseen,
        seed,
        device,
        augment=augment,
        optimisers=optimisers,
        step_factors=step_factors,
    )
    distilled = Distilled.load(run)
    parts = recorded_parts(distilled, run, data_root, download)
    with common.progress_bars() as progress:
        rows = judge.rows(distilled, parts, progress)
    common.publish(run, "evaluation.json", distilled, rows, as_json=as_json)
    return 0


def recorded_parts(
    distilled: Distilled, run: Path, data_root: str | None, download: bool
) -> Splits:
    """Return the data that a run was made from, divided as it was then.

    Raises:
        InputError: it is not recorded, cannot be found, or is not the same.
    """
    parts = _request(distilled.provenance, data_root, download).load()
    recorded = distilled.provenance["target"]["fingerprint"]
    if parts.train.fingerprint() != recorded:
        raise InputError(
            f"the training part of `{parts.train.name}` found here is not the one that `{run}` was "
            "made from, so its test part may hold base examples. Give the same data."
        )
    return parts


def _request(
    provenance: Mapping[str, Any], data_root: str | None, download: bool
) -> common.DataRequest:
    """Return the recorded request for the target, to be found under this `data_root`."""
    try:
        return common.DataRequest(**provenance["data"], data_root=data_root, download=download)
    except (KeyError, TypeError) as error:
        raise InputError(
            "this artefact does not record where its target came from; evaluate it with "
            "cvxdistill.evaluate(distilled, test) instead."
        ) from error
