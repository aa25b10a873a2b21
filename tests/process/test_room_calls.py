"""No function regains a right: attacks by system calls, from inside environments of the whole
command, forked and executed, in a first process and in one that came into the room later."""

import platform
import sys
from pathlib import Path

import pytest

from gateway.runtime.call_filter import MACHINES, REFUSED
from tests.process.rooms import Attacked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="rooms need Linux"),
]

MACHINE = MACHINES.get(platform.machine())
NAMESPACES = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]
MACHINES_LIMIT = Path("/proc/sys/user/max_user_namespaces")


def test_no_refused_call_works(room: Attacked) -> None:
    assert MACHINE
    numbers = [columns[MACHINE.column] for columns in REFUSED.values() if columns[MACHINE.column]]

    assert room.probe(f"print({{call(number) for number in {numbers}}})") == "{'EPERM'}"


def test_no_call_makes_a_namespace(room: Attacked) -> None:
    assert MACHINE
    before = MACHINES_LIMIT.read_text()
    code = f"""
unshare = libc.unshare
print({{unshare(flag) or ctypes.get_errno() for flag in {[*NAMESPACES, 0x80]}}})
print({{call({MACHINE.clone}, flag | 17, 0, 0, 0, 0) for flag in {NAMESPACES}}})
print(call(435, 0, 0))
print(open("/proc/sys/user/max_user_namespaces").read().strip())
"""

    assert room.probe(code) == "{-1}\n{'EPERM'}\nENOSYS\n0"
    assert MACHINES_LIMIT.read_text() == before


def test_no_capability_is_held_or_comes_by_executing(room: Attacked) -> None:
    code = """
import subprocess
show = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp):' /proc/self/status"
print({line.split()[1] for line in subprocess.check_output(["sh", "-c", show], text=True)
       .splitlines()})
"""

    assert set(eval(room.probe(code))) == {"0" * 16, "1", "2"}


def test_rights_are_not_had_from_another_namespace(room: Attacked) -> None:
    code = "print({attempt(os.open, f'/proc/1/ns/{kind}', 0) for kind in ('user', 'mnt', 'net')})"

    assert room.probe(code) == "{'EACCES'}"


INTERRUPT = """
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("53b8{number:08x}bb{flags:08x}cd805bc3"))
start = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(start)())
"""


def swapped(number: int) -> int:
    return int.from_bytes(number.to_bytes(4, "little"), "big")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls of i386 need x86_64")
def test_calls_of_another_architecture_are_refused(room: Attacked) -> None:
    unshare = INTERRUPT.format(number=swapped(310), flags=swapped(1 << 28))
    getpid = INTERRUPT.format(number=swapped(20), flags=0)

    assert (room.probe(unshare), room.probe(getpid)) == ("-1", "-1")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 needs x86_64")
def test_calls_of_x32_are_refused(room: Attacked) -> None:
    code = f"print({{call(0x40000000 | number, {1 << 28}) for number in (39, 56, 272, 521)}})"

    assert room.probe(code) == "{'EPERM'}"


@pytest.mark.parametrize(
    "attack",
    [
        'libc.mount(b"none", b"/", None, 0x44000, None)',
        'libc.mount(b"none", b"/var/task", None, 32 | 4096, None)',
        'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)',
        'libc.mount(b"memory", b"/tmp", b"cgroup", 0, b"memory")',
        'libc.umount2(b"/var/task", 2)',
        'libc.chroot(b"/tmp")',
        "libc.ptrace(16, os.getppid(), 0, 0)",
        "libc.setns(os.open('/proc/self/ns/user', 0), 0)",
    ],
)
def test_what_the_room_is_made_of_stays(room: Attacked, attack: str) -> None:
    code = f"before = open('/proc/self/mountinfo').read()\nprint({attack}, ctypes.get_errno())\n"
    code += "print(open('/proc/self/mountinfo').read() == before)"

    assert room.probe(code) == "-1 1\nTrue"


LEAVE = """
print(libc.shmget(0x5E41, 4096, 0o1600) >= 0, libc.semget(0x5E42, 1, 0o1600) >= 0,
      libc.msgget(0x5E43, 0o1600) >= 0)
"""


def test_what_it_makes_for_other_processes_stays_in_the_room(room: Attacked) -> None:
    def machine() -> list[str]:
        return [Path("/proc/sysvipc", kind).read_text() for kind in ("shm", "sem", "msg")]

    before = machine()
    assert room.probe(LEAVE) == "True True True"
    assert machine() == before

    room.reset()  # as memory does, what it made ends with the process
    assert room.probe("print(libc.shmget(0x5E41, 0, 0), ctypes.get_errno())") == "-1 2"


def test_keys_of_the_gateways_user_are_out_of_reach(room: Attacked) -> None:
    assert MACHINE
    number = REFUSED["keyctl"][MACHINE.column]

    assert room.probe(f"print(call({number}, 0, -4, 0))") == "EPERM"
