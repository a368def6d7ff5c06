"""Run with `python -m benchmarks.heads`; writes JSON and a page of markdown."""

import argparse
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.heads import logistic_gradient, memory, ridge_layers
from benchmarks.heads.render import render

PACKAGES = (
    *("torch", "numpy", "scipy", "scikit-learn", "cvxpy", "cvxpylayers", "diffcp"),
    *("clarabel", "scs", "qpth"),
)
SIZE = (100, 85, 10)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the results, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heads", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few repeats, the small shapes only")
    parser.add_argument("--slow", action="store_true", help="also what takes minutes a row")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/heads.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/heads.md"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        ridge = ridge_layers.measure(
            m=SIZE[0],
            d=SIZE[1],
            classes=SIZE[2],
            rounds=5 if options.quick else 60,
            seconds=1.0 if options.quick else 8.0,
        )
        logistic = logistic_gradient.measure(quick=options.quick, slow=options.slow)
    results = {
        "command": " ".join(["python -m benchmarks.heads", *(arguments or sys.argv[1:])]),
        "threads": options.threads,
        "environment": environment(),
        "size": SIZE,
        "directions": logistic_gradient.DIRECTIONS,
        "ridge": ridge,
        "logistic": logistic,
        "memory": memory.measure(),
    }
    results["verdicts"] = verdicts(results)
    publish(results, render(results), options)


def publish(results: dict[str, Any], page: str, options: argparse.Namespace) -> None:
    """Write results and page to where the options say, and print the verdicts."""
    for path, text in ((options.json, json.dumps(results, indent=1)), (options.page, page)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip("\n") + "\n")
    for verdict in results["verdicts"]:
        print("met    " if verdict["met"] else "NOT MET", verdict["what"], verdict["measured"])


def verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was asked for, what was measured, and whether it is met."""
    median = {row["name"]: row["median"] for row in results["ridge"] if row["status"] == "ok"}
    found = []

    def judge(what: str, measured: float, bound: float, *, at_least: bool) -> None:
        met = measured >= bound if at_least else measured <= bound
        found.append({"what": what, "measured": measured, "bound": bound, "met": met})

    for kind, rival in (
        ("labels", "constant features"),
        ("features and labels", "features as parameter"),
    ):
        own = median[f"RidgeHead, gradient in {kind}"]
        hand = median[f"hand-written torch.linalg, gradient in {kind}"]
        slow = median[f"cvxpylayers, {rival}"]
        judge(f"RidgeHead is faster than cvxpylayers, {rival}", slow / own, 300, at_least=True)
        judge(f"RidgeHead against hand-written, {kind}", own / hand, 1.3, at_least=False)
    errors = [
        row["gradient_error"]
        for row in results["logistic"]
        if row["name"] == "LogisticHead" and row["status"] == "ok"
    ]
    if errors:
        judge(
            "LogisticHead's largest error of the label gradient", max(errors), 1e-5, at_least=False
        )
    for side in ("d", "m"):
        exponent = results["memory"][f"exponent_in_{side}"]
        judge(f"memory grows linearly in {side}", exponent, 1.05, at_least=False)
    return found


def environment() -> dict[str, Any]:
    """Return the processor and the versions."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"cpu": _processor(), "versions": versions}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
