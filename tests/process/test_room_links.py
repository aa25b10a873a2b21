"""Links that lead out of the code or a layer: an environment has the files, as the archive that is
deployed has."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gateway.runtime.links import find_links
from tests.process.rooms import APPS, EXECUTED, FORKED, SELF, attacked
from tests.runtime.child.entering import NO_OVERLAY, entered
from tests.runtime.launching import need_room, room_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="rooms need Linux"),
]


@pytest.fixture(params=[None, "/var/tmp"], ids=["below-tmp", "elsewhere"])
def base(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a directory with code, a layer and what their links lead to."""
    with tempfile.TemporaryDirectory(dir=request.param) as name:
        found = Path(name).resolve()
        make(found)
        yield found


def make(base: Path) -> None:
    files = {
        "code/own/inside.py": "WHERE = 'inside'",
        "shared/module.py": "WHERE = 'shared'",
        "shared/package/__init__.py": "WHERE = 'package'",
        "other/deep.py": "WHERE = 'deep'",
        "other/data.txt": "data",
        "layer/python/real.py": "WHERE = 'real'",
        "base/python/based.py": "WHERE = 'based'",
        "absolute/there.py": "WHERE = 'there'",
    }
    for path, text in files.items():
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text)
    shutil.copy(APPS / "prober.py", base / "code")
    links = {
        "code/shared": "../shared",
        "code/deep.py": "../other/deep.py",
        "code/own/data.txt": "../../other/data.txt",
        "code/absolute": str(base / "absolute"),
        "code/alias": "own",
        "code/circle": "circle",
        "code/gone": "../nowhere",
        "shared/linked.py": "../other/deep.py",
        "shared/back": "../code",
        "layer/python/linked": "../../shared",
        "lower/python": "../base/python",
    }
    for path, text in links.items():
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).symlink_to(text)


PROBE = """
import deep, own.inside, shared.module, shared.linked, shared.package, absolute.there
import alias.inside, real, based, linked.module, sys
print(*(sys.modules[name].WHERE for name in ("deep", "own.inside", "shared.module",
      "shared.linked", "shared.package", "absolute.there", "alias.inside", "real", "based",
      "linked.module")))
print(open("own/data.txt").read(), sorted(os.listdir()) if os.getcwd() == "/var/task" else "?")
print(os.path.islink("shared"), os.path.islink("alias"), os.path.realpath("deep.py"))
print(attempt(os.stat, "gone"), attempt(os.stat, "circle"), attempt(os.stat, "shared/back/own"))
print({attempt(open, path, "w") for path in ("shared/new", "shared/module.py", "deep.py", "new",
       "own/data.txt", "/opt/python/linked/new", "/opt/python/new")})
"""

NAMES = ["absolute", "alias", "circle", "deep.py", "gone", "own", "prober.py", "shared"]

EXPECTED = [
    "deep inside shared deep package there inside real based shared",
    f"data {NAMES}",
]


@pytest.mark.parametrize("how", [FORKED, EXECUTED], ids=["forked", "executed"])
def test_environment_has_what_links_lead_to(base: Path, how: tuple[str, ...]) -> None:
    need_room()
    layers = ("--layer", str(base / "lower"), "--layer", str(base / "layer"))
    with attacked(SELF, *how, *layers, code=base / "code") as server:
        found = server.probe(PROBE).splitlines()
        server.reset()
        assert server.probe(PROBE).splitlines() == found
        server.output.wait_for("shared/back: a link to .*code is not followed: it leads back")

    names = found[1].replace(", '__pycache__'", "")
    assert [found[0], names] == EXPECTED
    assert found[2] == "False True /var/task/deep.py"
    assert found[3] == "ENOENT ELOOP ENOENT"
    assert found[4] == "{'EROFS'}"


def test_links_into_the_machine_are_not_followed_and_the_operator_is_told(tmp_path: Path) -> None:
    need_room()
    shutil.copy(APPS / "prober.py", tmp_path)
    up = "../" * len(tmp_path.parts)
    for name in ("run", "dev", "sys"):
        (tmp_path / name).symlink_to(f"{up}{name}")
    (tmp_path / "absolute").symlink_to("/run")
    with attacked(SELF, code=tmp_path) as server:
        for name in ("run", "dev", "sys"):
            server.output.wait_for(f"{name}: a link to /{name} is not followed: /{name} is the")
        server.output.wait_for("absolute: a link to /run is not followed")
        found = server.probe(
            "print(os.listdir('run'), os.listdir('absolute'), len(os.listdir('dev')))"
        )

    assert found == "[] [] 9"


def test_saved_link_is_followed_after_a_reload(tmp_path: Path) -> None:
    need_room()
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "more.txt").write_text("more")
    shutil.copy(APPS / "prober.py", code)
    with attacked(SELF, "--reload", code=code) as server:
        assert server.probe("print(os.path.exists('more.txt'))") == "False"
        (code / "more.txt").symlink_to("../more.txt")
        with (code / "prober.py").open("a") as file:
            file.write("\nSAVED = True\n")
        server.output.wait_for("reloaded")
        assert server.probe("print(open('more.txt').read())") == "more"


@pytest.mark.parametrize("change", ["gone", "a link", "deeper a link"])
def test_target_that_has_changed_since_is_left_out(tmp_path: Path, change: str) -> None:
    """A directory at the look that is a link at the start of an environment may lead anywhere."""
    code, shared = tmp_path / "code", tmp_path / "above" / "shared"
    code.mkdir()
    shared.mkdir(parents=True)
    (shared / "passwd").write_text("")
    (code / "it").symlink_to("../above/shared")
    plan = room_plan("", code)
    assert plan.room
    found = find_links(str(code), (), plan.room.keep)
    assert found.code
    shutil.rmtree(tmp_path / "above")
    if change == "a link":
        shared.parent.mkdir()
        shared.symlink_to("/etc")
    elif change == "deeper a link":
        (tmp_path / "evil").mkdir()
        (tmp_path / "evil" / "shared").symlink_to("/etc")
        shared.parent.symlink_to("evil")
    plan = replace(plan, room=replace(plan.room, code_links=found.code))
    show = "print(os.listdir('/var/task'), os.path.exists('/var/task/it/passwd'))"

    assert entered(asdict(plan), show) == "['it'] False"


def test_links_are_followed_where_overlays_are_denied(tmp_path: Path) -> None:
    make(tmp_path)
    layers = (tmp_path / "lower", tmp_path / "layer")
    plan = room_plan("", tmp_path / "code", *layers)
    assert plan.room
    found = find_links(str(tmp_path / "code"), tuple(map(str, layers)), plan.room.keep)
    room = replace(plan.room, code_links=found.code, layer_links=found.layers)
    show = """
for path in ("/var/task/shared/linked.py", "/var/task/own/data.txt", "/var/task/own/inside.py",
             "/opt/python/real.py", "/opt/python/based.py", "/opt/python/linked/module.py"):
    print(open(path).read())
print(os.listdir('/tmp'))
"""
    one, other = (
        entered(asdict(replace(plan, room=room)), show, before) for before in ("", NO_OVERLAY)
    )

    assert one == other
    words = ["deep", "inside", "real", "based", "shared"]
    texts = [f"WHERE = '{word}'" for word in words]
    assert one.splitlines()[:6] == [texts[0], "data", *texts[1:]]
