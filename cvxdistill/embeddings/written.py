"""The manifest beside shards that were written here: what is in them, and which are done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cvxdistill.errors import InputError
from cvxdistill.files import atomic_file

FORMAT: Literal["cvxdistill.embeddings/1"] = "cvxdistill.embeddings/1"
MANIFEST = "manifest.json"
# What may differ between two runs that write into one folder.
_VARIES = {"shards", "versions"}


class ShardRecord(BaseModel):
    """A shard that is complete: its rows, and the bytes of each of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(gt=0)
    files: dict[str, int]


class EmbeddingManifest(BaseModel):
    """What `manifest.json` beside shards holds; unknown or missing keys are errors.

    Attributes:
        format: of this file.
        storage: the key in `WRITERS`.
        dtype: of the features as stored.
        num_rows: of all shards, those not yet written included.
        num_features: `d`.
        shard_rows: rows of every shard but the last.
        class_names: one name a class; `None` without labels.
        metadata: whether index, hash and source of each row are kept.
        extractor: its spec and fingerprint.
        preprocessing: kind and fingerprint; of networks that prepare images themselves, theirs.
        source: data set, split and fingerprint.
        shards: those that are complete, by number.
        versions: of the libraries that wrote.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["cvxdistill.embeddings/1"] = FORMAT
    storage: str
    dtype: str
    num_rows: int = Field(ge=0)
    num_features: int = Field(gt=0)
    shard_rows: int = Field(gt=0)
    class_names: tuple[str, ...] | None
    metadata: bool
    extractor: dict[str, Any]
    preprocessing: dict[str, Any]
    source: dict[str, Any]
    shards: dict[int, ShardRecord] = {}
    versions: dict[str, str] = {}

    @property
    def num_shards(self) -> int:
        """Number of shards, those not yet written included."""
        return -(-self.num_rows // self.shard_rows)

    @property
    def complete(self) -> bool:
        """Whether all shards are written."""
        return len(self.shards) == self.num_shards

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return the first row of a shard and the row after its last."""
        start = shard * self.shard_rows
        return start, min(start + self.shard_rows, self.num_rows)

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`, whole."""
        with atomic_file(folder / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_embedding_manifest(folder: Path) -> EmbeddingManifest:
    """Read the manifest of a folder of shards.

    Raises:
        InputError: none there, or not one of this format.
    """
    path = folder / MANIFEST
    try:
        return EmbeddingManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`{folder}` has no readable `{MANIFEST}`; expected a folder that `cvxdistill embed` "
            "wrote."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"`{path}` is not a valid manifest of embeddings: {where}: {first['msg']}."
        ) from error


def check_same(found: EmbeddingManifest, wanted: EmbeddingManifest, folder: Path) -> None:
    """Raise unless the shards in a folder are those that a run would write.

    Raises:
        InputError: anything else in which the two differ, named.
    """
    have, want = (one.model_dump(mode="json", exclude=_VARIES) for one in (found, wanted))
    # What matters most is named first.
    for key in dict.fromkeys(("extractor", "source", *want)):
        there, now = have[key], want[key]
        if isinstance(now, Mapping) and now.get("fingerprint"):
            # A file of weights may lie elsewhere now; what is in it may not differ.
            same = there.get("fingerprint") == now["fingerprint"]
        else:
            same = there == now
        if not same:
            raise InputError(
                f"`{folder}` holds embeddings with another {key}: {_shown(there, now)} there, "
                f"{_shown(now, there)} now. Choose another folder (--out)."
            )


def _shown(value: object, other: object) -> str:
    """Return what two values differ in, short enough for a line."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        differing = [k for k in value if other.get(k) != value[k]]
        value = ", ".join(f"{key} {str(value[key])[:60]}" for key in differing[:2])
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
