"""`cvxdistill export`: write a saved run in a format of other tools."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvxdistill.artifact import Distilled
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.export import export_distilled, find_exporter

# The newest evaluation of a run comes first.
_RESULTS = ("evaluation.json", "result.json")


def export_command(
    run: opt.Run,
    out: opt.ExportOut,
    to: opt.ExportTo = None,
    as_json: opt.Json = False,
) -> int:
    """Write examples, labels and provenance of a run folder in a format of other tools."""
    exporter = find_exporter(out, to)
    distilled = Distilled.load(run)
    export_distilled(distilled, out, format=exporter, results=_results(run))
    summary = {
        "run": str(run),
        "format": exporter.name,
        "path": str(out),
        "bytes": _size(out),
        "examples": len(distilled),
        "classes": len(distilled.class_names),
        "label_kind": distilled.label_kind,
    }
    if as_json:
        common.write_json(summary)
    else:
        sys.stdout.write(
            f"{len(distilled)} examples with labels over {summary['classes']} classes in `{out}`, "
            f"format {exporter.name}, {summary['bytes']:,} bytes\n"
        )
    return 0


def _results(run: Path) -> Mapping[str, Any] | None:
    """Return the newest evaluation beside the artefact, where there is a readable one."""
    for name in _RESULTS:
        try:
            found = json.loads((run / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, Mapping):
            return found
    return None


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
