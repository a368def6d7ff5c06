"""`cvxdistill info`: what is installed, or what a run folder or a file of moments holds."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cvxdistill.artifact import Distilled
from cvxdistill.choose import CHOOSERS
from cvxdistill.cli import common
from cvxdistill.cli import options as opt
from cvxdistill.cli.stats import describe, publish
from cvxdistill.codecs import CODECS
from cvxdistill.data import DATASETS
from cvxdistill.embeddings import READERS
from cvxdistill.export import EXPORTERS, IMPORTERS
from cvxdistill.features import BACKBONES, FEATURES
from cvxdistill.heads import HEADS
from cvxdistill.labels import CONSTRAINTS, LOSSES
from cvxdistill.manifest import versions
from cvxdistill.methods import METHODS
from cvxdistill.solvers import SOLVERS
from cvxdistill.statistics import TargetStatistics
from cvxdistill.students import OPTIMISERS


def info_command(run: opt.OptionalRun = None, as_json: opt.Json = False) -> int:
    """Say what a run folder or a file of moments holds, or what this installation offers."""
    if run is not None and run.is_file():
        publish(describe(TargetStatistics.load(run), run), as_json=as_json)
        return 0
    facts = _installation() if run is None else _artefact(run)
    if as_json:
        common.write_json(facts)
        return 0
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key, _readable(value))
    Console(highlight=False).print(table)
    return 0


def _installation() -> dict[str, Any]:
    registries: dict[str, Mapping[str, object]] = {
        "data sets": DATASETS,
        "embeddings": READERS,
        "choosers": CHOOSERS,
        "networks": FEATURES,
        "sources of extractors": BACKBONES,
        "heads": HEADS,
        "losses": LOSSES,
        "constraints": CONSTRAINTS,
        "label codecs": CODECS,
        "solvers": SOLVERS,
        "methods": METHODS,
        "optimisers": OPTIMISERS,
        "exporters": EXPORTERS,
        "importers": IMPORTERS,
    }
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    names = {key: sorted(registry) for key, registry in registries.items()}
    return {**versions(), "gpu": gpu, **names}


def _artefact(run: Path) -> dict[str, Any]:
    distilled = Distilled.load(run)
    known, bits = distilled.provenance, distilled.bits
    return {
        "run": str(run),
        "method": known.get("method", {}).get("name"),
        "status": known.get("status"),
        "certificate": known.get("certificate"),
        "certificate_text": known.get("certificate_text"),
        "seconds": known.get("seconds"),
        "examples": len(distilled),
        "shape": list(distilled.base.shape),
        "base": distilled.base.name,
        "target": known.get("target", {}).get("name"),
        "classes": list(distilled.class_names),
        "label_kind": distilled.label_kind,
        "labels_from": float(distilled.labels.min()),
        "labels_to": float(distilled.labels.max()),
        "label_codec": str(distilled.codec),
        "bits": {**dataclasses.asdict(bits), "total": bits.total},
        "bits_per_label_entry": bits.labels / distilled.labels.numel(),
        "extractors": [str(extractor.network) for extractor in distilled.extractors],
        "head": str(distilled.head),
        "preprocessing": distilled.preprocessing.kind,
        "seed": known.get("seed"),
        "versions": known.get("versions"),
    }


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "-" if value is None else str(value)
