"""What a child does to itself before it runs a function: control groups, directories, limits.

This file imports nothing of ours but room.py, which is beside it (Python 3.9 to 3.14): executed.py
imports it in a child, and the fork server loads it. The plan is `gateway.runtime.launch.Plan` as a
dictionary.
"""

import ctypes
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:  # typing and signal would cost a child 14 ms
    import _signal as signal

    Any = object  # in annotations: __future__ would cost a child 0.2 ms

if TYPE_CHECKING or __package__:
    from gateway.runtime.child import room
else:
    import room

_NEW_IPC = 0x08000000  # CLONE_NEWIPC: what SysV calls and message queues make ends with a process
_NEW_NAMESPACES = 0x00020000 | 0x10000000 | _NEW_IPC  # CLONE_NEWNS, CLONE_NEWUSER
_MAX_USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
_SET_PARENT_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_MODE_FILTER, _SPECTRE_ALLOW = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522
_Numbers2, _Numbers6 = ctypes.c_uint32 * 2, ctypes.c_uint32 * 6


def enter(plan: dict[str, Any], namespaces: tuple[int, ...] = ()) -> None:
    """Do to this single-threaded process what the plan says, up to its command.

    `namespaces` are descriptors of the user and mount namespaces to enter in place of new ones.
    Raises OSError, with the path or the call that failed (lambda.md 1.8).
    """
    furnish(plan, namespaces)
    seal(plan)


def furnish(plan: dict[str, Any], namespaces: tuple[int, ...] = ()) -> None:
    """Do all but the last step: the process still has every right in its room."""
    for group in plan["cgroups"]:
        _write(f"{group}/{_entrance(group)}", "0")
    if sys.platform == "linux":
        _write("/proc/self/oom_score_adj", "1000")  # rather this than the gateway
    if namespaces:
        _join(namespaces)
    elif plan["room"] is not None:
        _unshare()
        room.make(plan["room"])
    os.chdir(plan["directory"])
    _limit(plan)


def seal(plan: dict[str, Any]) -> None:
    """Give up for good whatever could change the room: the last step."""
    if sys.platform == "linux":
        _give_up_privileges()
        if plan["call_filter"]:
            _filter_calls(bytes.fromhex(plan["call_filter"]))


def _entrance(group: str) -> str:
    """Return the file for single threads, which this process is, where there is one (version 1).
    The other takes a lock of the whole system and waits for a grace period first: 5 to 20 ms
    measured, against 0.15 (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
    """
    return "tasks" if os.path.exists(f"{group}/tasks") else "cgroup.procs"


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def _join(namespaces: tuple[int, ...]) -> None:
    """Enter namespaces, the user namespace first: it gives the right to enter the other."""
    for descriptor in namespaces:
        room.call("setns", descriptor, 0)
    room.call("unshare", _NEW_IPC)


def _unshare() -> None:
    """Make a user and a mount namespace, in which the process keeps its user id."""
    user, group = os.geteuid(), os.getegid()
    room.call("unshare", _NEW_NAMESPACES)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    _forbid_user_namespaces()


def _forbid_user_namespaces() -> None:
    """Allow none within the new one, whose own setting this is: it would give every capability
    back. Where /proc is read-only, the call filter has to do."""
    try:  # noqa: SIM105 - contextlib would cost a child 2 ms
        _write(_MAX_USER_NAMESPACES, "0")
    except OSError:
        pass


def _limit(plan: dict[str, Any]) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, plan["open_files"])
    if plan["processes"]:
        _lower(resource.RLIMIT_NPROC, plan["processes"])
    if plan["data_bytes"]:
        _lower(resource.RLIMIT_DATA, plan["data_bytes"])


def _lower(kind: int, limit: int) -> None:
    """Set both limits, never above the hard one that there is already."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _give_up_privileges() -> None:
    """Drop every capability for good, and die with the parent (cleared by any change of rights)."""
    room.call("prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    room.call("capset", _Numbers2(_CAPABILITY_VERSION_3, 0), _Numbers6())
    room.call("prctl", _SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)


def _filter_calls(program: bytes) -> None:
    """Have the kernel judge every call from now on by a program (call_filter.py)."""
    address = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value or 0
    # struct sock_fprog, little-endian: a number of instructions in a field of 8 bytes, an address.
    described = b"".join(part.to_bytes(8, "little") for part in (len(program) // 8, address))
    # Unlike prctl, this does not slow the process down before Linux 5.16; it came with 4.17.
    arguments = map(ctypes.c_ulong, (_SECCOMP[os.uname().machine], 1, _SPECTRE_ALLOW))
    if room.libc.syscall(*arguments, described) != 0:
        room.call("prctl", _SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0)
