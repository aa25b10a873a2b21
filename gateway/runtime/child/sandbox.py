"""What a child does to itself before it runs a function: control groups, directories, limits.

This file imports nothing of ours (Python 3.9 to 3.14): executed.py imports it in a
child, and the fork server loads it. The plan is `gateway.runtime.launch.Plan` as a dictionary.

The room is a new root. Whatever the machine's root holds is bound into it, read-only as on AWS,
without devices, and five directories are made: /var with `task` added, /opt from the layers, a
tmpfs at /tmp, a /dev with five devices, and an empty /run. So none of them has to exist on the
machine, and nothing is left there. What is to be seen of the machine's own below them (`keep`) is
bound once more over them. Everything disappears with the last process and the last descriptor of
the room's namespaces.
"""

# ruff: noqa: S108
# pathlib costs 5 ms at the start of a child; /tmp is what is made here.

from __future__ import annotations

import ctypes
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
    from typing import Any

    _Places = list[tuple[str, str]]  # where things are shown, and another path of each
    _Links = list[tuple[str, list[str], Any]]  # names, other paths of targets, the links in those
else:  # typing and signal would cost a child 14 ms
    import _signal as signal

_NEW_IPC = 0x08000000  # CLONE_NEWIPC: what SysV calls and message queues make ends with a process
_NEW_NAMESPACES = 0x00020000 | 0x10000000 | _NEW_IPC  # CLONE_NEWNS, CLONE_NEWUSER
_MAX_USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
_NOSUID, _NODEV = 2, 4
_REMOUNT = 32 | 4096  # MS_REMOUNT, MS_BIND
_REC = 16384  # MS_REC
_BIND = 4096 | _REC
_PRIVATE = _REC | (1 << 18)  # MS_PRIVATE
_DETACH = 2

# What a remount must keep in a user namespace: nosuid, nodev, noexec, noatime, nodiratime, which
# statvfs and mount have the same bits for, and relatime, for which they have not.
_KEPT_FLAGS = 2 | 4 | 8 | 1024 | 2048
_ST_RELATIME, _MS_RELATIME = 4096, 1 << 21

_SET_PARENT_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_MODE_FILTER, _SPECTRE_ALLOW = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

# mount_setattr(2), Linux 5.12, has this number on every architecture but alpha. Its attributes for
# read-only and without devices are MS_RDONLY and MS_NODEV.
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY = 1

_STAGE = "/tmp"  # where the new root is put together; the machine's is left out of it
_MADE = ("var", "opt", "tmp", "dev", "run")

# What Lambda has. Without /dev/shm, semaphores of multiprocessing fail there and here.
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}

# Debugging of the machine, which root may read, and some of which changes by being read.
_HIDDEN = ("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf")

_libc = ctypes.CDLL(None, use_errno=True)
_Numbers2, _Numbers6, _Attributes = ctypes.c_uint32 * 2, ctypes.c_uint32 * 6, ctypes.c_uint64 * 4

# Looked up and made here, once for all children of a fork server: 0.2 ms each time.
_CALLS = ("unshare", "setns", "mount", "umount2", "pivot_root", "prctl", "capset", "syscall")
if sys.platform == "linux":
    for _name in _CALLS:
        getattr(_libc, _name)


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
        _make_room(plan["room"])
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


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError with its name."""
    if getattr(_libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)


def _join(namespaces: tuple[int, ...]) -> None:
    """Enter namespaces, the user namespace first: it gives the right to enter the other."""
    for descriptor in namespaces:
        _call("setns", descriptor, 0)
    _call("unshare", _NEW_IPC)


def _make_room(room: dict[str, Any]) -> None:
    _unshare()
    held: list[int] = []
    try:
        _build(room, held)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _unshare() -> None:
    """Make a user and a mount namespace, in which the process keeps its user id."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEW_NAMESPACES)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    _forbid_user_namespaces()
    _mount("none", "/", "", _PRIVATE)


def _forbid_user_namespaces() -> None:
    """Allow none within the new one, whose own setting this is: it would give every capability
    back. Where /proc is read-only, the call filter has to do."""
    try:  # noqa: SIM105 - contextlib would cost a child 2 ms
        _write(_MAX_USER_NAMESPACES, "0")
    except OSError:
        pass


def _build(room: dict[str, Any], held: list[int]) -> None:
    """Put the new root together and change into it; descriptors it opens are added to `held`."""
    code = _hold(room["code"], held)
    layers = [_hold(layer, held) for layer in room["layers"]]
    code_links = _hold_links(room.get("code_links", ()), held)
    layer_links = _hold_links(room.get("layer_links", ()), held)
    kept = _hold_all(_outermost(room.get("keep", ())), held)
    _mount("tmpfs", _STAGE, "tmpfs", _NOSUID | _NODEV, "mode=0755")
    _copy_machine()
    os.mkdir(f"{_STAGE}/tmp")
    _fill(_made(f"{_STAGE}/var/task"), [code], code_links)
    _make_opt(layers, _below("/opt/", kept), layer_links)
    _bind_all(_below("/opt/", kept) + _below("/run/", kept) + _below("/var/run/", kept))
    _seal(_STAGE, _READ_ONLY | _NODEV)
    _make_dev(_below("/dev/", kept))
    _make_tmp(room["tmp_bytes"])
    for place, source in _below("/tmp/", kept):
        _bind_all([(place, source)])
        _seal(_STAGE + place, _READ_ONLY | _NODEV)
    _change_root()


def _hold(path: str, held: list[int]) -> str:
    """Return another path of a directory, one that stays right whatever is mounted over it."""
    held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return f"/proc/self/fd/{held[-1]}"


def _hold_all(paths: Iterable[str], held: list[int]) -> _Places:
    """Hold what exists of these."""
    return [(path, _hold(path, held)) for path in paths if os.path.exists(path)]


def _hold_links(links: Iterable[dict[str, Any]], held: list[int]) -> _Links:
    """Hold what links lead to; leave out those that have changed since they were looked at."""
    found = []
    for link in links:
        targets = [_hold_exactly(path, held) for path in link["targets"]]
        if all(targets):
            found.append((link["name"], targets, _hold_links(link["links"], held)))
    return found


def _hold_exactly(path: str, held: list[int]) -> str:
    """Hold a path without links; return nothing when it is gone or has got links by now."""
    try:
        other = _hold(path, held)
    except OSError:
        return ""
    return other if os.readlink(other) == path else ""


def _outermost(paths: Iterable[str]) -> list[str]:
    """Leave out what is below another path, and so is shown with that."""
    found = set(paths)
    return sorted(path for path in found if not any(path.startswith(f"{one}/") for one in found))


def _below(directory: str, places: _Places) -> _Places:
    return [(path, source) for path, source in places if path.startswith(directory)]


def _made(path: str) -> str:
    try:
        os.mkdir(path)
    except OSError:
        os.makedirs(path, exist_ok=True)
    return path


def _bind_all(places: _Places) -> None:
    for place, source in places:
        _mount(source, _place_for(source, _STAGE + place), "", _BIND)


def _place_for(source: str, target: str) -> str:
    """Make the directory or the file that something is bound over."""
    if os.path.isdir(source):
        return _made(target)
    _made(os.path.dirname(target))
    return _file(target)


def _file(path: str) -> str:
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC))
    return path


def _copy_machine() -> None:
    """Bind what the machine has at / and in /var, except for what is made again or hidden."""
    _merge(["/"], _STAGE, leave_out=_MADE)
    for name in ("var", "dev", "run"):
        os.mkdir(f"{_STAGE}/{name}")
    if os.path.isdir("/var"):
        _merge(["/var"], f"{_STAGE}/var", leave_out=("task", "run"))
    os.symlink("../run", f"{_STAGE}/var/run")
    for path in _HIDDEN:
        if os.access(path, os.R_OK):
            _mount(f"{_STAGE}/dev", _STAGE + path, "", _BIND & ~_REC)


def _make_dev(kept: _Places) -> None:
    """Make a /dev of devices that hold nothing of the machine, and of those that were asked for."""
    dev = f"{_STAGE}/dev"
    _mount("tmpfs", dev, "tmpfs", _NOSUID | _NODEV, "mode=0755")
    for name in _DEVICES:
        try:
            _mount(f"/dev/{name}", _file(f"{dev}/{name}"), "", _BIND)
        except FileNotFoundError:  # the machine has not got it, either
            os.unlink(f"{dev}/{name}")
    _bind_all(kept)
    for name, end in _DEVICE_LINKS.items():
        os.symlink(f"/proc/self/fd{end}", f"{dev}/{name}")
    _seal(dev, _READ_ONLY)


def _make_opt(layers: list[str], kept: _Places, links: _Links) -> None:
    """Merge layers over a directory that has a place for what stays visible at /opt."""
    opt = _made(f"{_STAGE}/opt")
    for path, source in kept:
        _place_for(source, _STAGE + path)
    if layers:
        _fill(opt, [opt, *layers], links)


def _fill(target: str, sources: list[str], links: _Links) -> None:
    """Show directories as one, later over earlier, or a file, and follow links in them."""
    if links:
        sources = [*sources, _places_for(links)]
    if len(sources) > 1:
        _overlay(target, sources)
    else:
        _mount(sources[0], target, "", _BIND)
    for name, targets, inner in links:
        _fill(f"{target}/{name}", targets, inner)


def _places_for(links: _Links) -> str:
    """Return a directory with empty files and directories in the place of links."""
    blank = _blank()
    for name, targets, _ in links:
        _place_for(targets[-1], f"{blank}/{name}")
    return blank


def _blank() -> str:
    """Return a new directory, in the stage's /tmp, where the room's covers it."""
    return _made(f"{_STAGE}/tmp/{len(os.listdir(f'{_STAGE}/tmp'))}")


def _overlay(target: str, sources: list[str]) -> None:
    """Merge directories, later over earlier: an overlay where that is allowed, else binds."""
    lower = ":".join(reversed(sources))
    try:
        _mount("overlay", target, "overlay", 1 | _NOSUID | _NODEV, f"lowerdir={lower}")
    except OSError:
        if target not in sources:  # it may be full of what was bound with the one above
            _mount(_blank(), target, "", _BIND)
        _merge([source for source in sources if source != target], target)


def _make_tmp(size: int) -> None:
    _mount("tmpfs", f"{_STAGE}/tmp", "tmpfs", _NOSUID | _NODEV, f"size={size},mode=1777")


def _change_root() -> None:
    """Make the stage the root, as pivot_root(2) describes it: no directory for the old one."""
    os.chdir(_STAGE)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")


def _merge(sources: list[str], target: str, leave_out: tuple[str, ...] = ()) -> None:
    """Show in `target` what the sources hold: later ones win, directories of several are merged."""
    found: dict[str, list[os.DirEntry[str]]] = {}
    for source in sources:
        with os.scandir(source) as entries:
            for entry in entries:
                found.setdefault(entry.name, []).append(entry)
    for name in found.keys() - set(leave_out):
        _show(found[name], f"{target}/{name}")


def _show(entries: list[os.DirEntry[str]], target: str) -> None:
    last = entries[-1]
    directories = _last_directories(entries)
    if len(directories) > 1:
        _merge(directories, _made(target))
    elif last.is_symlink():
        os.symlink(os.readlink(last.path), target)
    else:
        _mount(last.path, _made(target) if directories else _file(target), "", _BIND)


def _last_directories(entries: list[os.DirEntry[str]]) -> list[str]:
    """Return the directories at the end of the list, up to something else, which hides the rest."""
    kept: list[str] = []
    for entry in reversed(entries):
        if not entry.is_dir(follow_symlinks=False):
            break
        kept.insert(0, entry.path)
    return kept


def _seal(target: str, flags: int) -> None:
    """Set flags on what is mounted at a directory, and on all that is mounted below it."""
    attributes = _Attributes(flags)
    arguments = (_AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.c_size_t(32))
    if _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), *arguments) != 0:
        for point in _mount_points(target):
            _remount(point, flags)


def _mount_points(target: str, table: str = "/proc/self/mountinfo") -> list[str]:
    """Return a mount point and those below what is mounted there last, for Linux before 5.12."""
    found = {}
    with open(table, encoding="latin-1") as file:
        for number, parent, _, _, point, *_ in map(str.split, file):
            raw = point.encode("latin-1").decode("unicode_escape").encode("latin-1")
            if raw == os.fsencode(target):
                found = {number: target}
            elif parent in found:
                found[number] = os.fsdecode(raw)
    return list(found.values())


def _remount(target: str, flags: int) -> None:
    """Add flags to one mount; what this user cannot reach is left as it is."""
    if os.access(target, os.F_OK):
        found = os.statvfs(target).f_flag
        kept = found & _KEPT_FLAGS | (_MS_RELATIME if found & _ST_RELATIME else 0)
        _mount("none", target, "", _REMOUNT | flags | kept)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = [os.fsencode(text) for text in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"mount {target}")


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
    _call("prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("capset", _Numbers2(_CAPABILITY_VERSION_3, 0), _Numbers6())
    _call("prctl", _SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)


def _filter_calls(program: bytes) -> None:
    """Have the kernel judge every call from now on by a program (call_filter.py)."""
    address = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value or 0
    # struct sock_fprog, little-endian: a number of instructions in a field of 8 bytes, an address.
    described = b"".join(part.to_bytes(8, "little") for part in (len(program) // 8, address))
    # Unlike prctl, this does not slow the process down before Linux 5.16; it came with 4.17.
    arguments = map(ctypes.c_ulong, (_SECCOMP[os.uname().machine], 1, _SPECTRE_ALLOW))
    if _libc.syscall(*arguments, described) != 0:
        _call("prctl", _SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0)
