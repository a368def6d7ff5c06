"""`cvxdistill import`: make a run folder of what `export` or the authors' scripts wrote."""

import sys
from pathlib import Path
from typing import Any

from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.export import find_importer
from cvxdistill.manifest import check_replaceable


def import_command(
    path: opt.ImportPath,
    source: opt.ImportFrom = None,
    target: opt.ImportTarget = None,
    base: opt.Base = None,
    base_fit: opt.BaseFit = None,
    data_root: opt.DataRoot = None,
    download: opt.Download = False,
    indices: opt.Indices = None,
    seed: opt.AuthorsSeed = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> int:
    """Read a distilled set that others hold and save it as a run folder.

    Exports of this program need no more than the path. A label JSON of the authors' scripts needs
    the data sets by --target, --base and --data-root.
    """
    told: dict[str, Any] = {
        "target": target,
        "base": base,
        "base_fit": base_fit,
        "data_root": data_root,
        "download": download or None,
        "indices": indices,
        "seed": seed,
    }
    given = {key: value for key, value in told.items() if value is not None}
    importer = find_importer(path, source, **given)
    folder = out or Path("runs") / path.stem
    check_replaceable(folder)
    distilled = importer.read(path)
    distilled.save(folder)
    summary = {
        "run": str(folder),
        "format": importer.name,
        "path": str(path),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "examples": len(distilled),
        "classes": len(distilled.class_names),
        "label_kind": distilled.label_kind,
        "extractors": len(distilled.extractors),
    }
    if as_json:
        common.write_json(summary)
    else:
        sys.stdout.write(
            f"{len(distilled)} examples with labels over {summary['classes']} classes from "
            f"`{path}`, format {importer.name}; run folder {folder}\n"
        )
    return 0
