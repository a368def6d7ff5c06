"""The README's commands and every Python block of the documentation."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COMMANDS = ("pip install . && cvxdistill distill", "pip install '.[test]' && pytest")
FENCED = re.compile(r"^```(?P<kind>[a-z]*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def fenced(path):
    text = path.read_text(encoding="utf-8")
    return [
        (match["kind"], match["code"], text.count("\n", 0, match.start()) + 1)
        for match in FENCED.finditer(text)
    ]


def python_blocks():
    """Yield every page with Python in it, and its blocks as `(name, code)`."""
    for path in [README, *sorted((ROOT / "docs").rglob("*.md"))]:
        page = str(path.relative_to(ROOT))
        found = fenced(path) if path.is_file() else ()
        blocks = [(f"{page}:{line}", code) for kind, code, line in found if kind == "python"]
        if blocks:
            yield page, blocks


PAGES = dict(python_blocks())


def test_the_first_two_blocks_are_the_two_commands():
    if not README.is_file():
        pytest.skip("there is no README.md yet")
    assert tuple(code.strip() for _, code, _ in fenced(README)[:2]) == COMMANDS


@pytest.mark.parametrize("page", PAGES or [None])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """The blocks of a page run from top to bottom, as a reader would type them."""
    if page is None:
        pytest.skip("the documentation has no Python blocks yet")
    monkeypatch.chdir(tmp_path)
    namespace, ran = {"__name__": "__main__"}, 0
    for name, code in PAGES[page]:
        if re.search(r"data_root|--data-root", code):
            continue  # needs data sets that are not in the package
        ran += 1
        if code.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, namespace, name, name, 0)
            flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
            runner = doctest.DocTestRunner(optionflags=flags)
            assert runner.run(test, clear_globs=False).failed == 0
            namespace.update(test.globs)
        else:
            exec(compile(code, name, "exec"), namespace)
    if not ran:
        pytest.skip("every block needs data sets that are not in the package")
