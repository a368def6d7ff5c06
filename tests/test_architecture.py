"""The layout rules, read off the source: import order, no circles, sizes, docstrings, no print.

Imports inside functions count like those at the top of a module: a lazy import is still a
dependency.
"""

import ast
import dataclasses
import graphlib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cvxdistill"
NAME = PACKAGE.name

# Lowest first. A room imports only from rows above its own; rooms in one row know nothing of one
# another. The package's `__init__` is the public index and stands outside the order.
LAYERS = (
    ("errors",),
    ("checks",),
    ("seeding",),
    ("progress",),
    ("files",),
    ("linalg",),
    ("specs",),
    ("embeddings",),
    ("data",),
    ("statistics",),
    ("streaming",),
    ("features", "heads", "labels"),
    ("codecs",),
    ("choose",),
    ("students",),
    ("certificate",),
    ("problem",),
    ("solvers",),
    ("methods",),
    ("manifest",),
    ("artifact",),
    ("distill", "evaluate", "export"),
    ("compare", "compress"),
    ("report",),
    ("sklearn",),
    ("cli",),
    ("__main__",),
)
# Evaluation sees only the artefact, so that nothing leaks past it.
BLIND = {"evaluate": {"solvers", "methods"}}
MODULE_LINES = 300
FUNCTION_LINES = 80
MAY_PRINT = "cli"

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


@dataclasses.dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its room, and the modules of the package it imports."""

    name: str
    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text)

    @property
    def room(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ""


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def _read() -> dict[str, Module]:
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [NAME, *path.relative_to(PACKAGE).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, path.read_text(encoding="utf-8"))
    return modules


MODULES = _read()


def imports_of(module: Module) -> set[str]:
    """Return the modules of the package that `module` imports, anywhere in its source."""
    is_package = module.path.name == "__init__.py"
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                drop = node.level - is_package
                parents = module.name.split(".")
                parents = parents[: len(parents) - drop] if drop else parents
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                # `from room import name`: a module called so, or a name defined in the room.
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return {name for name in found if name.split(".")[0] == NAME and name != module.name}


@pytest.fixture(params=list(MODULES))
def module(request) -> Module:
    return MODULES[request.param]


def test_the_package_was_found():
    assert {f"{NAME}.problem", f"{NAME}.heads.ridge", f"{NAME}.solvers.exact"} <= set(MODULES)
    assert f"{NAME}.heads" in imports_of(MODULES[f"{NAME}.problem"])


def test_imports_point_left(module):
    if not module.room:
        return
    assert module.room in LEVEL, f"{module.room} is not in LAYERS: give it a place"
    for name in imports_of(module):
        assert name in MODULES, f"{module.name} imports {name}, which is not there"
        assert name != NAME, f"{module.name} imports the public index; name the module instead"
        other = MODULES[name].room
        assert other == module.room or LEVEL[other] < LEVEL[module.room], (
            f"{module.name} imports {name}: {other} is not to the left of {module.room}"
        )


@pytest.mark.parametrize("room", BLIND)
def test_blind_rooms_import_nothing_hidden_from_them(room):
    seen = {
        MODULES[name].room
        for module in MODULES.values()
        if module.room == room
        for name in imports_of(module)
    }
    assert not seen & BLIND[room]


def test_imports_make_no_circle():
    graph = {name: imports_of(module) for name, module in MODULES.items()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail("circular imports: " + " imports ".join(reversed(error.args[1])))


def test_module_is_short(module):
    lines = len(module.text.splitlines())
    assert lines <= MODULE_LINES, f"{module.name} has {lines} lines"


def test_functions_are_short(module):
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{module.name}.{node.name} has {lines} lines"


def test_public_names_have_docstrings(module):
    if module.text.strip():
        assert ast.get_docstring(module.tree), f"{module.name} has no docstring"
    for owner, node in _public(module.tree, module.name):
        assert ast.get_docstring(node), f"{owner}.{node.name} has no docstring"


def _public(tree, owner):
    """Yield public classes and functions of a module, and public methods of its classes."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        # What belongs to a private class is private, and an overload has its implementation's.
        if node.name.startswith("_") or "overload" in map(ast.unparse, node.decorator_list):
            continue
        yield owner, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node, f"{owner}.{node.name}")


def test_nothing_prints_but_the_command_line(module):
    if module.room == MAY_PRINT:
        return
    calls = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print")
    ]
    assert not calls, f"{module.name} prints at lines {calls}"
