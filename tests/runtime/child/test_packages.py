"""Which packages are imported from this machine, which are told of, and which are refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.child.packages import SHIPPED
from gateway.testing import FakeSink
from tests.runtime.child.functions import WAYS, WAYS_AND_AWSS, replies, warnings
from tests.soaking import in_soak

pytestmark = pytest.mark.slow

TOLD = "on AWS these must be in the package or a layer: "
TRY = """
def tried(name):
    try:
        return __import__(name).__file__
    except ImportError as error:
        return str(error)
"""
OURS = [
    "gateway", "gateway.core", "api", "bootstrap", "bootstrap_loop", "fork_server", "launch",
    "logs", "marshaller", "packages", "room", "sandbox", "search", "awslambdaric.bootstrap_loop",
    "awslambdaric.packages", "awslambdaric.search", "_sandbox", "_fork_processes",
    "_fork_child", "_fork_channel", "fork_child", "fork_channel",
]  # fmt: skip


def handler(expression: str, head: str = "") -> str:
    return f"{TRY}\n{head}\ndef handler(event, context):\n    return {expression}\n"


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_of_ours_can_be_imported(tmp_path: Path, way: dict[str, Any]) -> None:
    app = handler(f"[name for name in {OURS} if 'No module named' not in tried(name)]")

    assert await replies(tmp_path, way, app=app) == [[]]


NAMES = [
    "gateway", "bootstrap", "bootstrap_loop", "room", "sandbox", "launch", "packages", "search",
    "logs", "marshaller", "lambda_context",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS_AND_AWSS)
async def test_a_function_may_have_modules_of_our_names(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    found = ", ".join(f"{name}.MINE" for name in NAMES)
    app = handler(f"[{found}]", f"import {', '.join(NAMES)}")

    assert await replies(tmp_path, way, app=app, **dict.fromkeys(NAMES, "MINE = 1")) == [
        [1] * len(NAMES)
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_packages_of_this_machine_are_told_of_once(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    app = handler("[tried('click'), tried('uvicorn')][0] and 1", "import boto3, fastapi, mangum")
    sink = FakeSink()

    await replies(tmp_path, way, times=3, sink=sink, app=app)

    assert warnings(sink) == [f"{TOLD}fastapi, mangum", f"{TOLD}click, uvicorn"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("head", [
    "import fastapi\nfrom orjson import dumps",
    *in_soak("import fastapi, orjson", "import fastapi\nfrom starlette.requests import Request"),
])  # fmt: skip
async def test_what_another_package_has_brought_is_told_of_when_it_is_used(
    tmp_path: Path, way: dict[str, Any], head: str
) -> None:
    sink = FakeSink()

    await replies(tmp_path, way, sink=sink, app=handler("1", head))

    second = "starlette" if "starlette" in head else "orjson"
    assert warnings(sink) == [f"{TOLD}fastapi, {second}"]


@pytest.mark.parametrize("way", WAYS)
async def test_what_aws_ships_and_what_the_function_brings_is_not_told_of(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    (tmp_path / "layer/python").mkdir(parents=True)
    (tmp_path / "layer/python/layered.py").write_text("import wrapt")
    head = """
import boto3, botocore, dateutil, jmespath, s3transfer, six, urllib3, simplejson, sys, tempfile
import awslambdaric, click, ctypes, html, layered, xml.dom
directory = tempfile.mkdtemp()
open(directory + "/made.py", "w").close()
sys.path.append(directory)
import made
try:
    import not_there
except ImportError:
    pass
"""
    sink = FakeSink()
    way = {**way, "layers": (tmp_path / "layer",)}

    await replies(tmp_path, way, sink=sink, app=handler("1", head), click="NAME = 'mine'")

    assert warnings(sink) == [f"{TOLD}wrapt"]  # which the layer does not bring along


@pytest.mark.parametrize("way", WAYS)
async def test_strict_packages_are_those_of_aws(tmp_path: Path, way: dict[str, Any]) -> None:
    sink = FakeSink()
    app = handler("[tried('click'), tried('boto3')[-3:], orjson]", (
        "try:\n    import orjson\nexcept ModuleNotFoundError as error:\n    orjson = error.name"
    ))  # fmt: skip

    (reply,) = await replies(tmp_path, {**way, "strict_packages": True}, sink=sink, app=app)

    where = next(entry for entry in sys.path if entry.endswith("site-packages"))
    assert reply == [
        "No module named 'click' in the code or a layer, and AWS's runtime has none: it is only in "
        f"{where}; add it to the package, or leave out --strict-packages",
        ".py",
        "orjson",
    ]
    assert warnings(sink) == []


@pytest.mark.parametrize("way", WAYS)
async def test_orjson_of_the_runtime_is_not_seen(tmp_path: Path, way: dict[str, Any]) -> None:
    app = handler("{'statusCode': 200, 'body': str('orjson' in sys.modules)}", "import sys")
    sink = FakeSink()

    found = await replies(tmp_path, way, times=3, sink=sink, app=app)

    assert [reply["body"] for reply in found] == ["False"] * 3
    assert warnings(sink) == []


def test_every_supported_python_has_its_list() -> None:
    assert [minor for _, minor in SHIPPED] == [9, 10, 11, 12, 13, 14, 15]
    assert all("boto3" in names for names in SHIPPED.values())
    assert "setuptools" in SHIPPED[3, 11] - SHIPPED[3, 12]
