"""The card of a published distilled set: what a reader needs who knows nothing of this package."""

import json
from collections.abc import Mapping
from typing import Any

from cvxdistill.export.record import Contents, Record
from cvxdistill.export.table import column_of, holds_png

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_SETTINGS = {
    "same_extractor": "head on the extractor of the solve",
    "unseen_extractor": "head on unseen extractors",
    "students": "trained from scratch",
}


def front_matter(contents: Contents, *, license: str, data_bytes: int) -> str:
    """Return the YAML at the top of the card, which the Hub and `datasets` read.

    Args:
        contents: what is published.
        license: its identifier.
        data_bytes: size of the data file.
    """
    from huggingface_hub import DatasetCardData

    record, count = contents.record, len(contents.examples)
    task = "image-classification" if record.kind == "images" else "tabular-classification"
    size = next((name for most, name in _SIZES if count < most), "n>1M")
    split = {"name": "train", "num_bytes": data_bytes, "num_examples": count}
    card = DatasetCardData(
        license=license,
        task_categories=[task],
        size_categories=[size],
        tags=["dataset-distillation", "label-distillation", "soft-labels", "cvxdistill"],
        pretty_name=_title(record),
        dataset_info={
            "features": _features(record),
            "splits": [split],
            "download_size": data_bytes,
            "dataset_size": data_bytes,
        },
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*"}],
            }
        ],
    )
    text: str = card.to_yaml()
    return text


def body(contents: Contents) -> str:
    """Return the text of the card in Markdown."""
    record, count = contents.record, len(contents.examples)
    base = record.base
    parts = [
        f"# {_title(record)}",
        f"{count} examples of `{base.name}` with synthetic soft labels over "
        f"{len(record.class_names)} classes, made by label distillation: a model trained on these "
        "examples and labels alone is meant to do nearly as well as one trained on the whole "
        "target data.",
        _columns(record),
        f"## How to load\n\n{_code(_loading(record))}",
        f"## How to train\n\n{_training(contents)}",
        f"## Where the labels come from\n\n{_provenance(record)}",
        f"## How it was evaluated\n\n{_evaluation(contents.results)}",
        f"## Limits\n\n{_limits(record)}",
    ]
    return "\n\n".join(parts) + "\n"


def _title(record: Record) -> str:
    target = _target(record)
    source = "" if target == record.base.name else f" by examples of {record.base.name}"
    return f"{target} in {len(record.content_hashes)} labelled examples{source}"


def _target(record: Record) -> str:
    known = record.provenance.get("target")
    return str(known["name"]) if isinstance(known, Mapping) and "name" in known else "a target"


def _features(record: Record) -> list[dict[str, Any]]:
    column, names = column_of(record), record.base.class_names
    label: Any = "int64"
    if len(set(names)) == len(names):
        label = {"class_label": {"names": {str(k): name for k, name in enumerate(names)}}}
    if holds_png(record):
        example: dict[str, Any] = {"name": column, "dtype": "image"}
    else:
        stored = "float32" if record.dtype == "bfloat16" else record.dtype
        size = 1
        for extent in record.shape:
            size *= extent
        example = {"name": column, "sequence": stored, "length": size}
    return [
        example,
        {"name": "label", "dtype": label},
        {"name": "soft_label", "sequence": "float64", "length": len(record.class_names)},
        {"name": "index", "dtype": "int64"},
    ]


def _columns(record: Record) -> str:
    what = {
        "image": "the image, PNG without loss",
        "pixels": f"the image, flat, in the order channel, row, column: shape {record.shape}",
        "features": f"the feature vector, {record.shape[0]} numbers",
    }[column_of(record)]
    kind = "non-negative, summing to 1" if record.label_kind == "distribution" else "any numbers"
    rows = [
        (column_of(record), what),
        ("label", f"class of the example in `{record.base.name}`; not what to train on"),
        ("soft_label", f"synthetic label, {kind}; one entry a class of the target, order below"),
        ("index", f"position in the {record.base.source_split} part of `{record.base.name}`"),
    ]
    table = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in rows)
    # A name may hold the marks that end a block of code.
    names = json.dumps(record.class_names, ensure_ascii=False).replace("`", "\\u0060")
    shown = _code(names, "json")
    return f"| column | holds |\n|---|---|\n{table}\n\nClasses of the target:\n\n{shown}"


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"


def _loading(record: Record) -> str:
    column = column_of(record)
    shaped = f'\nimages = data["{column}"].reshape(-1, *{record.shape})'
    lines = (
        "from datasets import load_dataset\n\n"
        'data = load_dataset("PATH_OR_NAME", split="train").with_format("torch")\n'
        f'print(data[0]["{column}"].shape, data[0]["soft_label"])'
    )
    return lines if column != "pixels" else lines.replace("print(", shaped[1:] + "\nprint(")


def _training(contents: Contents) -> str:
    record = contents.record
    if record.label_kind == "distribution":
        loss = "torch.nn.functional.cross_entropy(logits, soft_label)"
        why = "The labels are distributions, so any cross-entropy that takes probabilities does."
    else:
        loss = "torch.nn.functional.mse_loss(logits, soft_label)"
        why = (
            "The labels are scores and may be negative: use a squared error, or fit a head of the "
            "kind they were solved for. Do not put them through a softmax."
        )
    text = f"{why}\n\n{_code('loss = ' + loss)}"
    text += f"\n\nThe head they were solved for: `{json.dumps(record.head)}`."
    if record.recipe:
        text += f" Students are to be trained by this recipe: `{json.dumps(record.recipe)}`."
    mean, std = (contents.preprocessing.get(key) for key in ("mean", "std"))
    if mean is not None and std is not None:
        whitened = ", and then whitened (the matrix is in the metadata of the Parquet file)"
        text += (
            "\n\nScale bytes to [0, 1] and normalise them, test images as well, by mean "
            f"`{_numbers(mean)}` and standard deviation `{_numbers(std)}` of each channel"
            f"{whitened if record.preprocessing.get('kind') == 'zca' else ''}."
        )
    return text


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.6g}" for value in values.tolist())


def _provenance(record: Record) -> str:
    known, base = record.provenance, record.base
    method = known.get("method")
    about: dict[str, Any] = {
        "base examples": f"{base.name}, {base.source_split} part, {len(base.class_names)} classes",
        "target": _target(record),
        "method": method.get("options", method.get("name")) if isinstance(method, dict) else None,
        "extractors": ", ".join(str(spec.get("network")) for spec in record.extractors),
        "certificate": known.get("certificate_text"),
        "status": known.get("status"),
        "seed": known.get("seed"),
        "seconds": known.get("seconds"),
    }
    rows = "\n".join(
        f"| {key} | `{_cell(value)}` |" for key, value in about.items() if value not in (None, "")
    )
    return (
        f"| what | value |\n|---|---|\n{rows}\n\nMade with "
        "cvxdistill. `cvxdistill import FOLDER --out RUN` "
        "gives back the artefact with its whole record: options, splits, hashes of every image."
    )


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").replace("`", "'").split())


def _evaluation(results: Mapping[str, Any] | None) -> str:
    protocol = (
        "Accuracy on the test part of the target, which no label and no choice has seen; choices "
        "(numbers of steps, scales) are made on a validation part. Measure it yourself with "
        "`cvxdistill evaluate`."
    )
    rows = results.get("rows") if results else None
    if not isinstance(rows, list) or not rows:
        return f"No evaluation came with this set. {protocol}"
    lines = [line for row in rows if isinstance(row, Mapping) for line in _line(row)]
    head = "| setting | network | trained on | accuracy | 95 % interval | repeats |\n" + "|---" * 6
    return f"{protocol}\n\n{head}|\n" + "\n".join(lines)


def _line(row: Mapping[str, Any]) -> list[str]:
    """Return the row of the table for one measurement; failed ones and side cells have none."""
    accuracy, interval = row.get("accuracy"), row.get("accuracy_ci")
    if not isinstance(accuracy, float) or not row.get("main", True):
        return []
    setting = str(row.get("setting"))
    repeats = len(row.get("values") or ())
    # One repetition has no spread to tell.
    spread = interval if isinstance(interval, list) and repeats > 1 else []
    span = " to ".join(f"{bound:.4f}" for bound in spread)
    cells = (
        _SETTINGS.get(setting, setting),
        f"`{_cell(row.get('network'))}`",
        f"{_cell(row.get('labels'))} labels" if row.get("labels") != "full" else "all target data",
        f"{accuracy:.4f}",
        span,
        str(repeats),
    )
    return ["| " + " | ".join(cells) + " |"]


def _limits(record: Record) -> str:
    lines = [
        "- The labels are exact or best for the head and the extractors named above at most. "
        "Another network is another problem: there they help, how much has to be measured.",
        f"- The {record.kind} are real examples of `{record.base.name}`, or were made from them: "
        "its licence and its biases go on, and people shown there are no less shown here.",
        "- So few examples cannot stand for rare cases of the target. Do not judge a model on "
        "this set; it has no test part.",
    ]
    if record.label_kind == "scores":
        lines.append("- Scores are no probabilities and cannot be read as confidence.")
    return "\n".join(lines)
