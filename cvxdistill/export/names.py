"""Names of classes as names of folders that every file system takes."""

import unicodedata
from collections.abc import Sequence

# What Windows keeps for devices, whatever the ending.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{k}" for p in ("com", "lpt") for k in range(10)}
_KEPT = set(" !#$%&'()+,-.;=@[]^_`{}~")
_MOST_BYTES = 100


def folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return a folder name for each class name: readable, valid everywhere, and all different.

    Letters, digits and harmless signs of any script are kept; slashes, colons and what else some
    system forbids become `_`. Names are also different where a file system tells neither capitals
    nor composed characters apart: whichever comes later gets a number.

    Example:
        >>> folder_names(["A/B", "a_b", "été", "..", "con"])
        ('A_B', 'a_b-2', 'été', '_', '_con')
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain = _plain(name)
        candidate, count = plain, 1
        while _folded(candidate) in taken:
            count += 1
            candidate = f"{plain}-{count}"
        taken.add(_folded(candidate))
        found.append(candidate)
    return tuple(found)


def _plain(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    kept = "".join(c if c.isalnum() or c in _KEPT or _is_mark(c) else "_" for c in composed)
    # Windows drops dots and spaces at the end; a dot in front hides a folder.
    short = kept.encode()[:_MOST_BYTES].decode(errors="ignore").strip(" .") or "_"
    return f"_{short}" if short.partition(".")[0].strip().lower() in _RESERVED else short


def _is_mark(character: str) -> bool:
    """Whether it is an accent or a vowel sign, without which some scripts cannot be read."""
    return unicodedata.category(character).startswith("M")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name.casefold())
