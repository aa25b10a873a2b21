"""The files that a function sees, looked at from inside its room by real processes."""

import errno
import os
import resource
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gateway.runtime.child import room
from gateway.runtime.process import open_namespaces
from tests.runtime.child.entering import NO_OVERLAY, NO_SETATTR, TRY, entered, tree
from tests.runtime.launching import (
    is_any_there,
    keep,
    launched,
    python_plan,
    room_plan,
    run,
    until,
)

pytestmark = pytest.mark.slow

PAGE = resource.getpagesize()


async def test_code_is_at_var_task_and_the_working_directory(task: Path) -> None:
    code = "import os; print(os.getcwd(), open('/var/task/app.py').read(), os.listdir('lib'))"

    assert await run(room_plan(code, task)) == (0, "/var/task the code ['more.py']")


@pytest.mark.parametrize(
    "path", ["/var/task/new", "/var/task/app.py", "/opt/new", "/new", "/var/new", "/var/tmp/new"]
)
async def test_nothing_but_tmp_can_be_written_to(task: Path, path: str) -> None:
    code = f"{TRY}\nattempt(lambda: open({path!r}, 'w'))"

    assert await run(room_plan(code, task)) == (0, "EROFS")
    assert (task / "app.py").read_text() == "the code"


async def test_tmp_is_empty_open_to_all_and_of_its_own(task: Path) -> None:
    code = "import os; print(oct(os.stat('/tmp').st_mode)); open('/tmp/x', 'w')"

    assert await run(room_plan(code, task)) == (0, "0o41777")
    assert not is_any_there(["/tmp/x"])


@pytest.mark.parametrize(("more", "outcome"), [(-1, "done"), (0, "done"), (1, "ENOSPC")])
async def test_tmp_has_its_size(task: Path, more: int, outcome: str) -> None:
    written = 16 * PAGE + more * PAGE
    code = f"{TRY}\nfile = os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)\n"
    code += f"[os.write(file, bytes({PAGE})) for _ in range({written // PAGE} - 1)]\n"
    code += f"attempt(lambda: os.write(file, bytes({PAGE})))"

    assert await run(room_plan(code, task, tmp_bytes=16 * PAGE)) == (0, outcome)


async def test_tmp_survives_a_reset_through_the_namespaces(task: Path) -> None:
    first = room_plan("import signal; open('/tmp/x', 'w').write('kept'); signal.pause()", task)
    async with launched(first) as it:
        written = Path("/proc", str(it.process.pid), "root/tmp/x")
        await until(lambda: written.exists() and written.read_text() == "kept")
        namespaces = open_namespaces(it.process.pid)
    second = room_plan(
        "import os; print(open('/tmp/x').read(), sorted(os.listdir()), os.getcwd())", task
    )

    assert len(namespaces) == 2
    try:
        assert await run(second, namespaces) == (0, "kept ['app.py', 'lib'] /var/task")
    finally:
        for descriptor in namespaces:
            os.close(descriptor)


async def test_a_process_that_is_gone_has_no_namespaces(task: Path) -> None:
    async with launched(python_plan("")) as it:
        await it.process.exited

    assert open_namespaces(it.process.pid) == ()


LAYERS = [
    {"python/a.py": "first", "python/b.py": "first", "thing": "file", "only": "1", "deep/x/1": "1"},
    {"python/b.py": "second", "thing/inner": "directory", "deep/x/2": "2"},
]

SHOW = """
import os
print(open('/opt/python/a.py').read(), open('/opt/python/b.py').read())
print(os.listdir('/opt/thing'), sorted(os.listdir('/opt')), sorted(os.listdir('/opt/deep/x')))
print(os.readlink('/opt/link'))
"""

SHOWN = """first second
['inner'] ['deep', 'link', 'only', 'python', 'thing'] ['1', '2']
only"""


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    made = [tree(tmp_path / f"layer{index}", files) for index, files in enumerate(LAYERS)]
    (made[0] / "link").symlink_to("only")
    return made


async def test_layers_are_merged_at_opt_and_later_ones_win(task: Path, layers: list[Path]) -> None:
    assert await run(room_plan(SHOW, task, *layers)) == (0, SHOWN)


async def test_one_layer_is_opt(task: Path, layers: list[Path]) -> None:
    code = "import os; print(open('/opt/python/b.py').read(), os.listdir('/opt/thing'))"

    assert await run(room_plan(code, task, layers[1])) == (0, "second ['inner']")


async def test_no_layers_make_an_empty_opt(task: Path) -> None:
    plan = room_plan("import os; print(os.listdir('/opt'))", task)
    assert plan.room
    hidden = tuple(path for path in plan.room.keep if not path.startswith("/opt/"))
    plan = replace(plan, room=replace(plan.room, keep=hidden))
    if any(path.startswith("/opt/") for path in keep()):
        pytest.skip("this Python lives below /opt")

    assert await run(plan) == (0, "[]")


def test_layers_are_merged_by_binds_where_overlays_are_denied(
    task: Path, layers: list[Path]
) -> None:
    plan = asdict(room_plan("", task, *layers))

    assert entered(plan, SHOW, NO_OVERLAY) == SHOWN


OLD_LINUX = """
import glob
attempt(lambda: open('/var/task/app.py', 'w'))
for path in sorted(glob.glob('/sys/fs/cgroup/*/cgroup.procs')):
    attempt(lambda: open(path, 'w'))
for path in ('/dev/null', '/dev', '/', '/etc', '/run'):
    attempt(lambda: os.chmod(path, 0o666))
flags = {line.split()[4]: line.split()[5] for line in open('/proc/self/mountinfo')}
print(sorted(path for path, flag in flags.items() if 'ro' not in flag or 'nodev' not in flag))
"""


def test_what_is_bound_is_read_only_before_linux_5_12_too(task: Path) -> None:
    plan = asdict(room_plan("", task))
    new, old = (entered(plan, f"{TRY}{OLD_LINUX}", how) for how in ("", NO_SETATTR))

    assert old == new
    assert old.startswith("EROFS\n")
    assert "done" not in old


TABLE = r"""
20 1 8:1 / / rw - ext4 /dev/sda rw
21 20 0:5 / /proc rw - proc proc rw
30 20 0:9 / /tmp rw - tmpfs machine rw
31 30 0:9 / /tmp/other/proc rw - proc proc rw
40 30 0:10 / /tmp rw - tmpfs stage rw
41 40 8:1 /usr /tmp/usr rw - ext4 /dev/sda rw
42 41 0:5 / /tmp/usr/a\040b rw - tmpfs none rw
"""


def test_mount_points_of_the_stage_are_told_from_those_that_it_covers(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(TABLE.lstrip())

    found = room._mount_points("/tmp", str(tmp_path / "table"))
    assert found == ["/tmp", "/tmp/usr", "/tmp/usr/a b"]


def test_mount_points_have_any_name_before_linux_5_12(task: Path, tmp_path: Path) -> None:
    layer = tree(tmp_path / "layer", {"a b\\ \u00fc/file": ""})
    plan = asdict(room_plan("", task, layer))
    code = f"{TRY}\nattempt(lambda: open('/opt/a b\\\\ \u00fc/file', 'w'))"

    assert entered(plan, code, NO_SETATTR + NO_OVERLAY) == "EROFS"


def directories_of(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.glob("*")) if path.is_dir()]


def test_descriptors_that_a_room_is_made_with_are_closed(task: Path, layers: list[Path]) -> None:
    plan = asdict(room_plan("", task, *layers))
    before = "before = os.listdir('/proc/self/fd')"

    assert entered(plan, "print(os.listdir('/proc/self/fd') == before)", before) == "True"


async def test_what_an_interpreter_needs_below_tmp_and_opt_stays_visible(
    task: Path, tmp_path: Path, layers: list[Path]
) -> None:
    kept = [tree(tmp_path / "kept", {"inner": "visible"})]
    kept += directories_of(Path("/opt"))[:1]
    code = f"import os; print([sorted(os.listdir(path)) for path in {list(map(str, kept))}])\n"
    code += "print(open('/opt/python/b.py').read(), os.path.exists('/opt/link'))"
    plan = room_plan(code, task, *layers)
    assert plan.room
    plan = replace(plan, room=replace(plan.room, keep=(*keep(), *map(str, kept))))

    expected = [sorted(inner.name for inner in path.iterdir()) for path in kept]
    assert await run(plan) == (0, f"{expected}\nsecond True")


def test_machine_whose_var_run_is_a_directory_hides_it_too(task: Path, tmp_path: Path) -> None:
    plan = asdict(room_plan("", task))
    token = tree(tmp_path / "token", {"it": "secret"})
    before = f"""
hold = room._hold
def other(path, held):
    return hold({str(token / "it")!r} if path == "/var/run/app/it" else path, held)
room._hold = other
exists = os.path.exists
os.path.exists = lambda path: path == "/var/run/app/it" or exists(path)
"""
    plan["room"]["keep"] += ("/var/run/app/it",)
    code = "print(open('/var/run/app/it').read(), os.listdir('/run'), os.listdir('/var/run/app'))"

    assert entered(plan, code, before) == "secret ['app'] ['it']"
    assert not Path("/run/app").exists()


def test_device_that_the_machine_has_not_got_is_left_out(task: Path) -> None:
    before = "room._DEVICES += ('nothing',)"
    code = "print(len(os.listdir('/dev')), os.path.exists('/dev/nothing'))"

    assert entered(asdict(room_plan("", task)), code, before) == "9 False"


async def test_other_directories_below_tmp_are_hidden(task: Path, tmp_path: Path) -> None:
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip("temporary directories are not below /tmp here")
    code = f"import os; print(os.path.exists({str(tmp_path)!r}))"

    assert await run(room_plan(code, task)) == (0, "False")


async def test_nothing_is_left_on_the_machine(task: Path, layers: list[Path]) -> None:
    def machine() -> tuple[object, ...]:
        return (
            Path("/proc/self/mountinfo").read_text(),
            sorted(Path("/").iterdir()),
            sorted(Path("/var").iterdir()),
            sorted(Path("/opt").glob("*")),
            len(list(Path("/proc/self/fd").iterdir())),
        )

    await run(room_plan("", task))  # what is made once, such as the loop's own descriptors
    before = machine()
    await run(room_plan("open('/tmp/x', 'w')", task, *layers))

    assert machine() == before


def test_failed_call_is_named() -> None:
    with pytest.raises(OSError, match="umount2") as caught:
        room.call("umount2", b"/no/such/mount", 0)

    assert caught.value.errno in (errno.ENOENT, errno.EPERM)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["d1"], ["d1"]),
        (["d1", "d2"], ["d1", "d2"]),
        (["d1", "f", "d2"], ["d2"]),
        (["d1", "f"], []),
    ],
)
def test_what_is_not_a_directory_hides_those_before_it(
    tmp_path: Path, sources: list[str], expected: list[str]
) -> None:
    tree(tmp_path, {"d1/x": "", "d2/x": "", "f": ""})

    entries = {entry.name: entry for entry in os.scandir(tmp_path)}
    found = room._last_directories([entries[name] for name in sources])
    assert found == [f"{tmp_path}/{name}" for name in expected]
