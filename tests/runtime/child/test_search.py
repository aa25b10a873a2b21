"""Where modules are found, in which order, and which names stay the standard library's."""

import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.child.search import loaded_on_lambda
from tests.runtime.child.functions import (
    EXECUTED,
    FORKED,
    WAYS,
    WAYS_AND_AWSS,
    replies,
)
from tests.soaking import soak_only

pytestmark = pytest.mark.slow

MINOR = sys.version_info.minor
HANDLER = "def handler(event, context):\n    return {}\n"


def handler(expression: str, head: str = "import os, sys") -> str:
    return f"{head}\ndef handler(event, context):\n    return {expression}\n"


@pytest.mark.parametrize("way", WAYS)
async def test_the_search_path_is_in_the_order_of_lambda(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    (path,) = await replies(tmp_path, way, app=handler("sys.path"))

    first = path[: path.index(next(x for x in path if x.endswith(".zip")))]
    assert first[0] in {"/var/task", str(tmp_path / "code")}
    assert [entry.rpartition("/")[2] for entry in first[-1:]] == ["site-packages"]
    assert len(path) == len(set(path))
    assert not [entry for entry in path if "gateway/runtime" in entry]


@pytest.mark.parametrize("way", WAYS_AND_AWSS)
async def test_a_layer_comes_behind_the_code_and_before_what_is_installed(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    versioned = tmp_path / f"layer/python/lib/python3.{MINOR}/site-packages"
    versioned.mkdir(parents=True)
    (versioned / "click.py").write_text("NAME = 'versioned'")
    (tmp_path / "layer/python/click.py").write_text("NAME = 'plain'")
    (tmp_path / "layer/python/plain.py").write_text("NAME = 'plain'")
    (tmp_path / "layer/python/both.py").write_text("NAME = 'layer'")
    way = {**way, "layers": (tmp_path / "layer",)}

    (reply,) = await replies(
        tmp_path,
        way,
        app=handler("[click.NAME, plain.NAME, both.NAME]", "import both, click, plain"),
        both="NAME = 'code'",
    )

    assert reply == ["versioned", "plain", "code"]


@pytest.mark.parametrize("way", WAYS)
async def test_variables_of_the_search_are_those_of_lambda(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    names = "[os.environ['PYTHONPATH'], [name for name in os.environ if 'GATEWAY' in name]]"
    (reply,) = await replies(tmp_path, way, app=handler(names))

    assert reply == ["/var/runtime", []]


async def test_a_path_of_the_functions_own_takes_the_place_of_layers(tmp_path: Path) -> None:
    (tmp_path / "layer/python").mkdir(parents=True)
    (tmp_path / "layer/python/layered.py").touch()
    way = {"layers": (tmp_path / "layer",), "environment": {"PYTHONPATH": "lib2"}}
    app = handler(
        "[os.environ['PYTHONPATH'], mine.NAME, find_spec('layered') is None]",
        "import mine, os\nfrom importlib.util import find_spec",
    )

    (reply,) = await replies(tmp_path, way, app=app, lib2__mine="NAME = 1")

    assert reply == ["lib2", 1, True]


@pytest.mark.parametrize("way", WAYS)
async def test_path_files_of_the_code_are_read(tmp_path: Path, way: dict[str, Any]) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/more.pth").write_text("vendored\n")
    app = handler("deep.NAME", "import deep")

    (reply,) = await replies(tmp_path, way, app=app, vendored__deep="NAME = 'deep'")

    assert reply == "deep"


SHADOWS = ["platform", "typing", "socket", "email", "calendar", "random", "http", "selectors"]
"""What our runtime or its template has loaded and Lambda's has not."""


@pytest.mark.parametrize(
    ("package", "way"),
    [
        pytest.param(False, FORKED, id="file-forked"),
        pytest.param(True, FORKED, id="package-forked", marks=soak_only),
        pytest.param(False, EXECUTED, id="file-executed", marks=soak_only),
        pytest.param(True, EXECUTED, id="package-executed", marks=soak_only),
    ],
)
@pytest.mark.parametrize("name", SHADOWS)
async def test_a_handlers_file_may_hide_what_lambda_has_not_loaded(
    tmp_path: Path, way: dict[str, Any], name: str, package: bool
) -> None:
    assert await reply_of(tmp_path, way, name, package=package) == {}


async def test_a_handlers_package_may_hide_it_where_each_process_is_executed(
    tmp_path: Path,
) -> None:
    assert await reply_of(tmp_path, EXECUTED, SHADOWS[0], package=True) == {}


async def reply_of(tmp_path: Path, way: dict[str, Any], name: str, *, package: bool) -> Any:
    """Return what a handler says that is in a module of that name."""
    file = f"{name}____init__" if package else name
    (reply,) = await replies(tmp_path, {**way, "handler": f"{name}.handler"}, **{file: HANDLER})
    return reply


@pytest.mark.parametrize("way", WAYS)
async def test_files_that_are_not_modules_hide_nothing(tmp_path: Path, way: dict[str, Any]) -> None:
    code = tmp_path / "code"
    for name in ("email", "json"):
        (code / name).mkdir(parents=True)
        (code / name / "template.txt").touch()
    (code / "random.txt").touch()
    app = handler(
        "[email.__file__, random is sys.modules['random'], id(socket) == SEEN]",
        "import email.message, json, random, socket, sys\nSEEN = id(socket)",
    )

    (reply,) = await replies(tmp_path, way, app=app)

    assert reply[0].endswith("email/__init__.py")
    assert reply[1:] == [True, True]


@pytest.mark.parametrize("way", WAYS)
async def test_what_stays_the_standard_librarys_is_what_stays_so_on_lambda(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    names = [*SHADOWS, "json", "re", "logging", "queue", "decimal", "enum", "string", "textwrap"]
    head = f"import importlib, json\nNAMES = {names}"
    app = handler("[n for n in NAMES if hasattr(importlib.import_module(n), 'MINE')]", head)

    (reply,) = await replies(tmp_path, way, app=app, **dict.fromkeys(names, "MINE = 1"))

    assert reply == [n for n in names if n not in loaded_on_lambda(sys.version_info[:2])]


def test_newer_runtimes_have_loaded_more() -> None:
    assert loaded_on_lambda((3, 12)) - loaded_on_lambda((3, 11)) >= {"queue", "concurrent"}
