"""What a function may do and use of the machine, tried from inside by real processes."""

import json
import os
import resource
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gateway.runtime.child import sandbox
from gateway.runtime.launch import MountNamespace
from tests.runtime.child.entering import TRY, entered
from tests.runtime.launching import (
    abilities,
    need_room,
    python_plan,
    room_plan,
    run,
)

pytestmark = pytest.mark.slow


async def test_it_has_no_capability_and_gets_none(task: Path) -> None:
    code = "print([x.split()[1] for x in open('/proc/self/status') if x[:6] in "
    code += "('CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'NoNewP')])"

    none = "0" * 16
    expected = str([none, none, none, none, "1"])
    assert await run(python_plan(code)) == (0, expected)
    assert await run(room_plan(code, task)) == (0, expected)


async def test_it_cannot_read_the_memory_or_variables_of_others(task: Path) -> None:
    code = f"{TRY}\nfor name in ('environ', 'mem', 'cwd/x', 'root/x'):\n"
    code += f"    attempt(lambda: open('/proc/{os.getpid()}/' + name, 'rb').read(1))"

    assert await run(room_plan(code, task)) == (0, "\n".join(["EACCES"] * 4))


async def test_it_cannot_leave_its_control_groups(task: Path) -> None:
    names = [hierarchy.directory for hierarchy in abilities().hierarchies]
    if not names:
        pytest.skip("no control group can be made here")
    code = f"{TRY}\nfor name in {names}:\n"
    code += "    attempt(lambda: open(name + '/cgroup.procs', 'w').write('0'))"

    assert await run(room_plan(code, task)) == (0, "\n".join(["EROFS"] * len(names)))


async def test_calls_are_filtered_without_a_room_too() -> None:
    if not abilities().call_filter:
        pytest.skip("system calls cannot be filtered here")
    code = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
    code += "print(libc.unshare(0x10000000), ctypes.get_errno())"

    assert await run(replace(python_plan(code), call_filter=abilities().call_filter)) == (0, "-1 1")


@pytest.mark.parametrize("call", ["seccomp", "prctl"])
def test_calls_are_filtered_before_linux_4_17_too(call: str) -> None:
    if not abilities().call_filter:
        pytest.skip("system calls cannot be filtered here")
    plan = asdict(replace(python_plan(""), call_filter=abilities().call_filter))
    before = "sandbox._SPECTRE_ALLOW = 1 << 20" if call == "prctl" else ""
    code = "print(room.libc.unshare(0x10000000), open('/proc/self/status').read().count('p:\\t2'))"

    assert entered(plan, code, before) == "-1 1"


def test_program_that_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="prctl"):
        sandbox._filter_calls(bytes(8))


async def test_limits_are_those_of_the_plan() -> None:
    code = "import resource as r; print([r.getrlimit(k) for k in (r.RLIMIT_CORE, r.RLIMIT_NOFILE, "
    code += "r.RLIMIT_NPROC, r.RLIMIT_DATA)], r.getrlimit(r.RLIMIT_AS))"
    plan = replace(python_plan(code), open_files=100, processes=50, data_bytes=64 * 1024 * 1024)
    untouched = resource.getrlimit(resource.RLIMIT_AS)

    data = 64 * 1024 * 1024
    limits = [(0, 0), (100, 100), (50, 50), (data, data)]
    assert await run(plan) == (0, f"{limits} {untouched}")


async def test_open_files_end_at_the_limit() -> None:
    code = f"{TRY}\nattempt(lambda: [os.dup(1) for _ in range(100)])"

    assert await run(replace(python_plan(code), open_files=50)) == (0, "EMFILE")


async def test_memory_ends_at_the_limit_of_its_data_segment() -> None:
    code = "try:\n    bytes(200_000_000)\nexcept MemoryError:\n    print('refused')"

    assert await run(replace(python_plan(code), data_bytes=100_000_000)) == (0, "refused")


async def test_it_dies_first_when_the_machine_is_out_of_memory(task: Path) -> None:
    code = "print(open('/proc/self/oom_score_adj').read())"

    assert await run(python_plan(code)) == (0, "1000")
    assert await run(room_plan(code, task)) == (0, "1000")


async def test_limit_above_the_one_that_holds_here_is_cut() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"

    assert await run(replace(python_plan(code), open_files=hard + 1)) == (0, f"({hard}, {hard})")


def test_control_group_that_is_not_there_is_named() -> None:
    plan = asdict(replace(python_plan(""), cgroups=("/no/such/group",)))
    with pytest.raises(FileNotFoundError) as caught:
        sandbox.enter(plan)

    assert caught.value.filename == "/no/such/group/cgroup.procs"


def interpreter(version: str) -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    own = pyenv.glob(f"{version}.*/bin/python") if os.access(pyenv, os.R_OK | os.X_OK) else ()
    return next(map(str, own), shutil.which(f"python{version}"))


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_other_versions_of_python_run_it(version: str, task: Path) -> None:
    need_room()
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    room = MountNamespace(str(task), tmp_bytes=65536)
    plan = asdict(replace(python_plan(""), room=room, directory="/var/task"))
    script = "import json, os, sys; plan = json.loads(sys.argv[2])\n"
    script += "sys.path.append(sys.argv[1]); import sandbox; sandbox.enter(plan)\n"
    script += "print(sorted(os.listdir()))"
    done = subprocess.run(
        [python, "-I", "-c", script, str(Path(sandbox.__file__).parent), json.dumps(plan)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "['app.py', 'lib']\n", done.stderr
