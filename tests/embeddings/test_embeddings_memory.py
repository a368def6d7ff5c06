"""Sets larger than memory: opening and reading take a batch's memory, whatever the size on disk."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from embeddings.writers import arrow_column, save_quietly

from cvxdistill.embeddings import open_embeddings

MIB = 1 << 20
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def resident() -> int:
    """Resident memory of this process in bytes, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def bytes_read() -> int:
    """Bytes that this process has read from files so far, mapped ones left out."""
    return int(Path("/proc/self/io").read_text().split()[1])


def last_rows(reader, rows: int, batch: int):
    return list(reader.rows(rows - batch, rows, batch_rows=batch))


@needs_proc
@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_files_of_many_gigabytes_are_not_read_whole(kind, tmp_path):
    rows, d, batch = 8 * MIB, 256, 16384
    if kind == "npy":
        # Zeros that take no space on disk.
        path = tmp_path / "features.npy"
        x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, d))
        x[-2:] = [[1.0], [2.0]]
        del x
    else:
        path = tmp_path / "a.safetensors"
        entry = {"dtype": "F16", "shape": [rows, d], "data_offsets": [0, rows * d * 2]}
        header = json.dumps({"features": entry}).encode()
        header += b" " * (-len(header) % 8)
        with path.open("wb") as stream:
            stream.write(struct.pack("<Q", len(header)) + header)
            stream.truncate(8 + len(header) + rows * d * 2)
            stream.seek(-2 * d * 2, 2)
            stream.write(np.repeat(np.array([1, 2], np.float16), d).tobytes())
    assert path.stat().st_size > 4 << 30
    before = resident()
    reader = open_embeddings(str(tmp_path))
    assert (reader.layout.num_rows, reader.layout.num_features) == (rows, d)
    (last,) = last_rows(reader, rows, batch)
    assert last.features[-3:, 0].tolist() == [0.0, 1.0, 2.0]
    # Batches that were read are released: 20 batches of 8 MiB pass, and do not stay.
    for batch_of_rows in reader.rows(0, 20 * batch, batch_rows=batch):
        assert resident() - before < 64 * MIB
        del batch_of_rows


def test_row_groups_are_decoded_by_pieces(tmp_path):
    """All 26 MB lie in one row group, as some writers like it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.zeros((100_000, 64), np.float32)
    x[:, 0] = np.arange(len(x)) % 1000
    table = pa.table({"features": arrow_column(x)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=len(x))
    del table
    before = pa.total_allocated_bytes()
    reader = open_embeddings(str(tmp_path / "a.parquet"))
    held = []
    for rows in reader.rows(batch_rows=2048):
        held.append(pa.total_allocated_bytes() - before)
        assert rows.features[0, 0] == rows.start % 1000
    assert len(held) == -(-len(x) // 2048)
    assert max(held) < 6 * MIB


@needs_proc
def test_opening_a_saved_data_set_reads_no_features(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    import pyarrow as pa

    rows, d = 40_000, 128
    column = arrow_column(np.zeros((rows, d), np.float32))
    table = pa.table({"emb": column, "label": pa.array(np.arange(rows) % 7)})
    save_quietly(datasets.Dataset(table), tmp_path / "set")
    before = bytes_read()
    reader = open_embeddings(str(tmp_path / "set"))
    assert reader.layout.num_targets == 7
    assert bytes_read() - before < MIB
    assert sum(len(batch) for batch in reader.rows(batch_rows=1000)) == rows
    assert bytes_read() - before > rows * d * 4


def test_packed_archives_are_streamed(tmp_path):
    import tracemalloc

    x = np.zeros((50_000, 64), np.float32)
    np.savez_compressed(tmp_path / "a.npz", features=x)
    size = x.nbytes
    del x
    reader = open_embeddings(str(tmp_path / "a.npz"))
    tracemalloc.start()
    try:
        total = torch.zeros(64)
        for rows in reader.rows(batch_rows=1024):
            total += rows.features.sum(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total.sum() == 0
    assert peak < size / 8
