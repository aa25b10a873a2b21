"""The room of a child: a new root, put together out of what the machine's root holds.

This file imports nothing of ours (Python 3.9 to 3.14), as sandbox.py, which imports it.

Whatever the machine's root holds is bound into the room, read-only as on AWS, without devices, and
five directories are made: /var with `task` added, /opt from the layers, a tmpfs at /tmp, a /dev
with five devices, and an empty /run. So none of them has to exist on the machine, and nothing is
left there. What is to be seen of the machine's own below them (`keep`) is bound once more over
them. Everything disappears with the last process and the last descriptor of the room's namespaces.
"""

# ruff: noqa: S108
# pathlib costs 5 ms at the start of a child; /tmp is what is made here.

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing would slow down the start of a child
    from collections.abc import Iterable
    from typing import Any

    _Places = list[tuple[str, str]]  # where things are shown, and another path of each
    _Links = list[tuple[str, list[str], Any]]  # names, other paths of targets, the links in those
else:
    Any = _Places = _Links = object  # in annotations: __future__ would cost a child 0.2 ms
    Iterable = list

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

libc = ctypes.CDLL(None, use_errno=True)
_Attributes = ctypes.c_uint64 * 4

# Looked up here, once for all children of a fork server: 0.2 ms each time.
_CALLS = ("unshare", "setns", "mount", "umount2", "pivot_root", "prctl", "capset", "syscall")
if sys.platform == "linux":
    for _name in _CALLS:
        getattr(libc, _name)


def make(room: dict[str, Any]) -> None:
    """Make the room and change into it, in a mount namespace of this process's own.

    Raises OSError, with the path or the call that failed.
    """
    _mount("none", "/", "", _PRIVATE)
    held: list[int] = []
    try:
        _build(room, held)
    finally:
        for descriptor in held:
            os.close(descriptor)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError with its name."""
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)


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
    call("pivot_root", b".", b".")
    call("umount2", b".", _DETACH)
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
    if libc.syscall(ctypes.c_long(_MOUNT_SETATTR), *arguments) != 0:
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
    if libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"mount {target}")
