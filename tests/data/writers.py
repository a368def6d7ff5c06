"""Writes a small data set of known content in the format of every registered source."""

import dataclasses
import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from embeddings.writers import Embedded, write_splits
from PIL import Image

from cvxdistill.data import DATASETS


@dataclasses.dataclass
class Written:
    """Where a data set was written, and what reading it must give."""

    spec: str
    root: Path
    truth: dict[str, tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]


def random_images(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def cycle_labels(n: int, classes: int) -> np.ndarray:
    return (np.arange(n) * 7 + 1) % classes


# --- idx -------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx_pair(raw: Path, prefix: str, images, labels, *, zipped: bool = False) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for stem, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        content = idx_bytes(array)
        if zipped:
            (raw / f"{prefix}-{stem}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / f"{prefix}-{stem}").write_bytes(content)


def write_idx(name: str) -> Callable[[Path], Written]:
    def write(root: Path) -> Written:
        source = DATASETS[name]
        classes = len(source.class_names)
        truth = {}
        for i, (split, prefix) in enumerate(source.prefixes.items()):
            n = (3 - i) * classes
            upright, labels = random_images(n, (6, 5), seed=i), cycle_labels(n, classes)
            stored = upright.transpose(0, 2, 1) if source.transposed else upright
            raw = root / source.folder / "raw"
            write_idx_pair(raw, prefix, stored, labels + source.first_label, zipped=i == 0)
            truth[split] = (upright[:, None], labels)
        return Written(name, root, truth, source.class_names)

    return write


# --- CIFAR -----------------------------------------------------------------------------------


def _python2_string(value: bytes) -> bytes:
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def _python2_array(array: np.ndarray) -> bytes:
    rows, columns = array.shape
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + (b"(K\x01J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"\x86")
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        + (b"J\xff\xff\xff\xff" * 2 + b"K\x00tb")
        + (b"\x89" + _python2_string(array.tobytes()) + b"tb")
    )


def python2_pickle(entries: dict[str, object]) -> bytes:
    """The opcodes that Python 2 and its numpy wrote: what the official files consist of."""
    body = b""
    for key, value in entries.items():
        body += _python2_string(key.encode())
        if isinstance(value, np.ndarray):
            body += _python2_array(value)
        else:
            items = (
                b"K" + bytes([v]) if isinstance(v, int) else _python2_string(v.encode())
                for v in value
            )
            body += b"](" + b"".join(items) + b"e"
    return b"\x80\x02}(" + body + b"u."


def cifar_files(name: str) -> tuple[dict[str, bytes], dict, tuple[str, ...]]:
    source = DATASETS[name]
    names = tuple(f"class {k}" for k in range(source.num_classes))
    files = {source.meta: python2_pickle({source.names_key: list(names)})}
    truth = {}
    for split, batches in source.batches.items():
        parts = []
        for i, batch in enumerate(batches):
            n = 4 if len(batches) > 1 else source.num_classes
            images = random_images(n, (3, 32, 32), seed=i + len(split))
            labels = (np.arange(n) + i * n) % source.num_classes
            entries = {"data": images.reshape(n, -1), source.labels_key: labels.tolist()}
            # Every second one as Python 3 writes protocol 2, where bytes pass through a codec.
            dump = python2_pickle if i % 2 == 0 else lambda value: pickle.dumps(value, protocol=2)
            files[batch] = dump(entries)
            parts.append((images, labels))
        truth[split] = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return files, truth, names


def write_cifar(name: str, *, archive: bool = False) -> Callable[[Path], Written]:
    def write(root: Path) -> Written:
        source = DATASETS[name]
        files, truth, names = cifar_files(name)
        if archive:
            write_tar(
                root / source.archive, {f"{source.folder}/{k}": v for k, v in files.items()}, "w:gz"
            )
        else:
            (root / source.folder).mkdir(parents=True)
            for file, content in files.items():
                (root / source.folder / file).write_bytes(content)
        return Written(name, root, truth, names)

    return write


# --- folders and arrays ----------------------------------------------------------------------


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=kind)
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_tree(path: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def folder_files() -> tuple[dict[str, bytes], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Image files of two splits and three classes, in no order, and the truth in order."""
    files, truth = {}, {}
    for i, (split, each) in enumerate((("train", 6), ("test", 3))):
        images = random_images(3 * each, (5, 4, 3), seed=i)
        labels = np.repeat(np.arange(3), each)
        for k in reversed(range(3 * each)):
            files[f"{split}/{'abc'[labels[k]]}/{k:03d}.png"] = png(images[k])
        truth[split] = (images.transpose(0, 3, 1, 2), labels)
    return files, truth


def write_folder(root: Path) -> Written:
    files, truth = folder_files()
    write_tree(root / "tree", files)
    return Written(f"folder:{root / 'tree'}", root, truth, ("a", "b", "c"))


def write_npz(root: Path) -> Written:
    images, labels = random_images(20, (6, 5, 3)), cycle_labels(20, 4)
    np.savez(root / "letters.npz", images=images, labels=labels, class_names=list("wxyz"))
    truth = {"all": (images.transpose(0, 3, 1, 2), labels)}
    return Written(f"npz:{root / 'letters.npz'}", root, truth, tuple("wxyz"))


def write_omniglot(name: str) -> Callable[[Path], Written]:
    def write(root: Path) -> Written:
        images, labels = random_images(48, (6, 5)), np.repeat(np.arange(6), 8)
        names, alphabets = [f"{'AB'[k // 3]}/character{k:02d}" for k in range(6)], ["A", "B"]
        (root / "omniglot").mkdir()
        np.savez(
            root / "omniglot" / "small.npz", images=images, labels=labels.astype(np.int16),
            class_names=names, alphabet_labels=(labels // 3).astype(np.uint8),
            alphabet_names=alphabets, drawer=np.tile(np.arange(1, 9, dtype=np.uint8), 6),
        )  # fmt: skip
        by_alphabet = name == "omniglot-alphabets"
        truth = {"all": (images[:, None], labels // 3 if by_alphabet else labels)}
        return Written(name, root, truth, tuple(alphabets if by_alphabet else names))

    return write


def write_k49(root: Path, *, place: str = "K49", names: bool = True) -> Written:
    (root / place).mkdir(exist_ok=True)
    truth, characters = {}, tuple(chr(0x3042 + k) for k in range(49))
    for i, split in enumerate(("train", "test")):
        images, labels = random_images((3 - i) * 49, (6, 5), i), cycle_labels((3 - i) * 49, 49)
        np.savez_compressed(root / place / f"k49-{split}-imgs.npz", images)
        np.savez_compressed(root / place / f"k49-{split}-labels.npz", labels.astype(np.uint8))
        truth[split] = (images[:, None], labels)
    if names:
        rows = [f"{k},U+{ord(c):04X},{c}" for k, c in enumerate(characters)]
        text = "\n".join(["index,codepoint,char", *rows]) + "\n"
        (root / place / "k49_classmap.csv").write_text(text, encoding="utf-8")
    return Written("k49", root, truth, characters if names else tuple(map(str, range(49))))


def write_npy(root: Path) -> Written:
    (root / "arrays").mkdir()
    truth = {}
    for i, split in enumerate(("train", "test")):
        images, labels = random_images(12, (6, 5), seed=i), cycle_labels(12, 3)
        np.save(root / "arrays" / f"{split}_images.npy", images)
        np.save(root / "arrays" / f"{split}_labels.npy", np.array(["no", "so", "yes"])[labels])
        truth[split] = (images[:, None], labels)
    return Written(f"npy:{root / 'arrays'}", root, truth, ("no", "so", "yes"))


def write_digits(root: Path) -> Written:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8)
    return Written("digits", root, {"all": (images[:, None], bunch.target)}, tuple("0123456789"))


# --- embeddings ------------------------------------------------------------------------------


def write_embedded(kind: str) -> Callable[[Path], Written]:
    """Two splits of feature vectors in two shards each, in a format of `cvxdistill.embeddings`."""

    def write(root: Path) -> Written:
        names, truth = ("no", "so", "yes"), {}
        for i, split in enumerate(("train", "test")):
            features = np.random.default_rng(i).standard_normal((12, 5)).astype(np.float32)
            labels = cycle_labels(12, 3)
            truth[split] = (features, labels)
        splits = {
            split: Embedded([x[:8], x[8:]], [y[:8], y[8:]], names=names)
            for split, (x, y) in truth.items()
        }
        return Written(write_splits(kind, root / kind, splits), root, truth, names)

    return write


WRITERS: dict[str, Callable[[Path], Written]] = {
    "cifar10": write_cifar("cifar10"),
    "cifar100": write_cifar("cifar100"),
    "clip": write_embedded("clip"),
    "digits": write_digits,
    "emnist-letters": write_idx("emnist-letters"),
    "fashion-mnist": write_idx("fashion-mnist"),
    "folder": write_folder,
    "hf": write_embedded("hf"),
    "k49": write_k49,
    "kmnist": write_idx("kmnist"),
    "mnist": write_idx("mnist"),
    "npy": write_npy,
    "npz": write_npz,
    "omniglot": write_omniglot("omniglot"),
    "omniglot-alphabets": write_omniglot("omniglot-alphabets"),
    "parquet": write_embedded("parquet"),
    "safetensors": write_embedded("safetensors"),
}
