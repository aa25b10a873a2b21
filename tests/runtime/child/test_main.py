"""The main module of an environment, and what multiprocessing makes of it; AWS's client beside."""

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.child.functions import BY_AWS, WAYS, WAYS_AND_AWSS, interpreter, replies

pytestmark = pytest.mark.slow

LOOK = """
import __main__, sys
def handler(event, context):
    names = [name for name in vars(__main__) if not name.startswith("__")]
    return [names, __main__.__name__, sys.argv[0] == __main__.__file__, sys.orig_argv[0]]
"""


@pytest.mark.parametrize("way", WAYS)
async def test_the_main_module_is_nearly_empty(tmp_path: Path, way: dict[str, Any]) -> None:
    (reply,) = await replies(tmp_path, way, app=LOOK)

    names, name, is_script, _ = reply
    assert (set(names), name, is_script) == ({"sys", "package"}, "__main__", True)


FLAGS = "import sys\ndef handler(event, context):\n    return repr(sys.flags)"


@pytest.mark.parametrize("way", WAYS)
async def test_flags_are_those_under_awss_client(tmp_path: Path, way: dict[str, Any]) -> None:
    ours = await replies(tmp_path, way, app=FLAGS)
    theirs = await replies(tmp_path, BY_AWS, app=FLAGS)

    random = "hash_randomization=1", "hash_randomization=0"
    assert ours[0].replace(*random) == theirs[0].replace(*random)


WORK = """
import importlib, multiprocessing, sys

def work(pipe, context):
    def tried(name):
        try:
            return bool(importlib.import_module(name))
        except ImportError:
            return False
    pipe.send([context.aws_request_id, sys.path[0], tried("click"), tried("mine")])
    pipe.close()

def handler(event, context):
    found = []
    for method in ("spawn", "forkserver", "fork"):
        way = multiprocessing.get_context(method)
        ours, theirs = way.Pipe()
        process = way.Process(target=work, args=(theirs, context))
        process.start()
        theirs.close()
        request_id, *rest = ours.recv()
        process.join()
        found.append([method, process.exitcode, request_id == context.aws_request_id, *rest])
    return found
"""


@pytest.mark.parametrize("way", WAYS_AND_AWSS)
async def test_multiprocessing_works_as_under_awss_client(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    (reply,) = await replies(tmp_path, way, app=WORK, mine="")

    (root,) = {found.pop(3) for found in reply}
    assert root in {"/var/task", str(tmp_path / "code")}
    assert reply == [[method, 0, True, True, True] for method in ("spawn", "forkserver", "fork")]


@pytest.mark.parametrize("way", WAYS)
async def test_children_of_multiprocessing_do_not_see_the_gateway(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    app = WORK.replace('"click"', '"gateway"')

    (reply,) = await replies(tmp_path, way, app=app, mine="")

    assert [found[-2:] for found in reply] == [[False, True]] * 3


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
async def test_other_pythons_do_the_same(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    app = WORK.replace('"click"', '"gateway"').replace(
        "    return found", "    return [found, sys.version_info[1], sys.flags.isolated]"
    )

    (reply,) = await replies(tmp_path, {"python": python}, app=app, mine="")

    found, minor, isolated = reply
    assert [each[:3] + each[4:] for each in found] == [
        [method, 0, True, False, True] for method in ("spawn", "forkserver", "fork")
    ]
    assert (f"3.{minor}", isolated) == (version, 0)
