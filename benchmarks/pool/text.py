"""Words that both pages share."""

import textwrap
from typing import Any


def origin(results: dict[str, Any]) -> list[str]:
    """Return where the numbers come from."""
    environment = ", ".join(f"{key} {value}" for key, value in results["environment"].items())
    threads = results["options"]["threads"]
    return wrapped(
        f"Written by `{results['command']}` from its JSON; {environment}; {threads} thread(s). "
        "Seconds are of a machine shared with other work, and leave out the features."
    )


def wrapped(text: str) -> list[str]:
    """Return the lines of a paragraph."""
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
