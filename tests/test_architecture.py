"""What architecture.md and style.md promise about the code, read from the code."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import gateway
from gateway.core import errors
from gateway.core.errors import GatewayError
from gateway.core.outcomes import OUTCOMES

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TESTS_OF = ROOT / "tests"
TESTS = sorted(TESTS_OF.rglob("*.py"))
EVERYTHING = [
    *SOURCES,
    *TESTS,
    *(ROOT / "benchmarks").rglob("*.py"),
    *(ROOT / "examples").rglob("*.py"),
]

FILE_LINES = 450
FUNCTION_LINES = 60

EXCUSED = {
    "gateway/__main__.py": "hands over to the command line, which has its own tests",
    "gateway/compose/running.py": "fields only",
    "gateway/config/process.py": "fields only",
}
"""Sources without a test file, and why. An excuse ends when the file gets a function, or a test."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    """Return everything that is in a tree: several rules look at each file."""
    return list(ast.walk(tree))


def dotted(node: ast.AST) -> str | None:
    """Return a name as it is written (`time.sleep`), or nothing for any other expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def mirror(source: Path) -> Path:
    """Return where the tests of a source file are; those of a package's own code in its name."""
    inner = source.relative_to(ROOT / "gateway")
    name = inner.parent.name if inner.stem == "__init__" else inner.stem.strip("_")
    return ROOT / "tests" / inner.parent / f"test_{name}.py"


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in nodes(tree):
        if isinstance(node, Function):
            yield node


def does_something(function: Function) -> bool:
    """Say whether there is more in a function than its docstring and `...`."""
    return not all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for statement in function.body
    )


def needs_test(source: Path) -> bool:
    """Say whether a file must have tests: all must but packages that only have a docstring."""
    return source.stem != "__init__" or any(map(does_something, functions(parsed(source))))


def test_source_has_its_mirrored_test_file() -> None:
    lacking = [
        name_of(mirror(source))
        for source in SOURCES
        if name_of(source) not in EXCUSED and needs_test(source) and not mirror(source).exists()
    ]

    assert lacking == []


@pytest.mark.parametrize("excused", EXCUSED)
def test_excuse_for_having_no_tests_still_holds(excused: str) -> None:
    source = ROOT / excused

    assert source.exists()
    assert not mirror(source).exists(), "it has tests now"
    assert not any(map(does_something, functions(parsed(source)))), "it has functions now"


def found(paths: Iterable[Path], rule: Callable[[ast.Module], Iterable[str]]) -> dict[str, object]:
    """Return what a rule finds in files, by their names; a file in which it finds nothing is left
    out. One test is one rule: a test for each file and rule would be two thousand of them."""
    by_name = {name_of(path): list(rule(parsed(path))) for path in paths}
    return {name: things for name, things in by_name.items() if things}


def test_file_is_not_longer_than_the_wall() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in EVERYTHING}

    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def long_functions(tree: ast.Module) -> list[str]:
    """Return the functions that are too long."""
    return [
        function.name
        for function in functions(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
    ]


def test_functions_are_short() -> None:
    assert found(EVERYTHING, long_functions) == {}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def package_of(module: str) -> str:
    """Return the package that a module of ours belongs to: its second name, if there is one."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.Module) -> dict[str, str]:
    """Return what a file calls modules and names of ours, with their full names."""
    found: dict[str, str] = {}
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return {short: full for short, full in found.items() if full.startswith("gateway")}


def private_names(tree: ast.Module, own_package: str) -> list[str]:
    """Return the private names that a file takes from packages of ours other than its own."""
    imported = imports(tree)
    attributes = [
        f"{imported[owner]}.{node.attr}"
        for node in nodes(tree)
        if isinstance(node, ast.Attribute) and (owner := dotted(node.value)) in imported
    ]
    return [
        full
        for full in [*imported.values(), *attributes]
        if any(map(is_private, full.split("."))) and package_of(full) != own_package
    ]


def test_tests_use_no_private_name_of_another_package() -> None:
    taken = {
        name_of(path): private_names(parsed(path), f"gateway.{path.relative_to(TESTS_OF).parts[0]}")
        for path in TESTS
    }

    assert {name: names for name, names in taken.items() if names} == {}


def forbidden(tree: ast.Module) -> list[str]:
    """Return what tests must not use: mocks, and sleeping."""
    found = []
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("unittest.mock")]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name.startswith(("unittest.mock", "time.sleep"))]
        elif isinstance(node, ast.Attribute) and dotted(node) == "time.sleep":
            found.append("time.sleep")
    return found


def test_tests_neither_mock_nor_sleep() -> None:
    assert found(TESTS, forbidden) == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import unittest.mock", ["unittest.mock"]),
        ("import unittest.mock as m", ["unittest.mock"]),
        ("from unittest import mock", ["unittest.mock"]),
        ("from unittest.mock import patch", ["unittest.mock.patch"]),
        ("import time\ntime.sleep(1)", ["time.sleep"]),
        ("import time\nwait = time.sleep", ["time.sleep"]),
        ("from time import sleep as wait", ["time.sleep"]),
        ("import time\ntime.monotonic()\n'time.sleep(1)'", []),
    ],
)
def test_mocks_and_sleeping_are_seen(source: str, expected: list[str]) -> None:
    assert forbidden(ast.parse(source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from gateway.web.asgi import _x", ["gateway.web.asgi._x"]),
        ("from gateway.web import _x as y", ["gateway.web._x"]),
        ("from gateway.web import asgi\nasgi._x", ["gateway.web.asgi._x"]),
        ("import gateway.web.asgi\ngateway.web.asgi._x()", ["gateway.web.asgi._x"]),
        ("import gateway.web.asgi as a\na._x = 1", ["gateway.web.asgi._x"]),
        ("from gateway.core.alb import _x", []),
        ("from gateway.core import alb\nalb._x", []),
        ("from gateway.web import asgi\nasgi.__doc__", []),
        ("import os\nos._exit(0)", []),
    ],
)
def test_private_names_are_seen(source: str, expected: list[str]) -> None:
    assert private_names(ast.parse(source), "gateway.core") == expected


@pytest.mark.slow
def test_import_contracts_are_kept() -> None:
    # In a process of its own: it configures logging and turns off every logger there is.
    command = "from importlinter.cli import lint_imports_command as main; main()"
    checked = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def is_protocol(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)


SHARED_NAMES = {
    "Client": "AWS's name in a context object, and that of httpx in gateway.testing",
    "State": "every state machine has its own",
}
"""Classes that several modules may define, and why."""


def public_classes(tree: ast.Module) -> set[str]:
    """Return the names of a module's public classes."""
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name for name in names if not is_private(name)}


def test_name_of_a_class_has_one_meaning() -> None:
    defined: dict[str, list[str]] = {}
    for source in SOURCES:
        for name in public_classes(parsed(source)) - SHARED_NAMES.keys():
            defined.setdefault(name, []).append(name_of(source))

    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def waiting_functions(tree: ast.Module) -> list[str]:
    """Return the asynchronous functions that no Protocol holds."""
    inside_protocols = {
        function for node in nodes(tree) if is_protocol(node) for function in functions(node)
    }
    waiting = [node for node in functions(tree) if isinstance(node, ast.AsyncFunctionDef)]
    return [function.name for function in waiting if function not in inside_protocols]


def test_core_cannot_wait() -> None:
    assert found((ROOT / "gateway/core").glob("*.py"), waiting_functions) == {}


def undocumented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[str]:
    """Give the public classes and functions that have no docstring, and what is in the classes."""
    if ast.get_docstring(node) is None:
        yield name
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not is_private(child.name):
            yield from undocumented(child, f"{name}.{child.name}")
        if isinstance(child, Function) and not child.name.startswith("_"):
            yield from [] if ast.get_docstring(child) else [f"{name}.{child.name}"]


def test_everything_public_has_a_docstring() -> None:
    lacking = [name for source in SOURCES for name in undocumented(parsed(source), name_of(source))]

    assert lacking == []


def gateway_errors() -> set[type[GatewayError]]:
    """Return every error class of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {GatewayError}
    waiting = [GatewayError]
    while waiting:
        children = waiting.pop().__subclasses__()
        found |= set(children)
        waiting += children
    return {kind for kind in found if kind.__module__.startswith("gateway.")}


def test_every_error_has_an_outcome_and_is_in_the_drawing() -> None:
    drawn = set(re.findall(r"\w+", (errors.__doc__ or "").partition("The one mapping")[0]))

    for kind in gateway_errors():
        assert kind in OUTCOMES, f"{kind.__name__} has no entry in gateway.core.outcomes"
        assert kind.__name__ in drawn, f"{kind.__name__} is missing in gateway.core.errors"


def test_newest_release_in_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert headings[1] == gateway.__version__


def test_unpublished_version_is_written_in_one_file() -> None:
    written = {
        name_of(path)
        for path in SOURCES
        for node in nodes(parsed(path))
        if isinstance(node, ast.Constant) and node.value == "$LATEST"
    }

    assert written == {"gateway/core/invocation.py"}


SIBLINGS = {"gateway.balancer", "gateway.functions", "gateway.invokers"}


def test_only_compose_takes_classes_of_two_packages_beside_each_other() -> None:
    taking = {
        name_of(path)
        for path in SOURCES
        if len({package_of(full) for full in imports(parsed(path)).values()} & SIBLINGS) > 1
    }

    assert {Path(name).parent.name for name in taking} <= {"compose"}
