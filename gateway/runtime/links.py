"""Finds the links in code and layers that lead out of them, and what a room shows in their place.

The archive that is deployed holds the files themselves (`zip` follows links), so a room does, too:
it shows what such a link leads to in its place. All other links stay what they are. The code
is looked through once, when it is taken in, not for each environment.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.runtime.launch import Link
from gateway.runtime.visible import OWN, is_hidden

MACHINES = ("/proc", "/sys", "/dev", "/run", "/var/run")
"""Where no link leads: the machine's state, devices and sockets."""

MOST_FOLLOWED = 1000
"""Links that are followed; each costs an environment's start two calls, about 20 us."""

MOST_LOOKED_AT = 200_000
"""Files that are looked at in all, which takes about a second."""

MOST_NESTED = 40
"""Directories on the way, each reached by a link in the one before: as many as Linux follows."""


@dataclass(frozen=True, slots=True)
class Links:
    """What is shown in the place of links."""

    code: tuple[Link, ...] = ()
    layers: tuple[Link, ...] = ()
    refused: tuple[str, ...] = ()
    """A line for each link that is not followed, and why."""


def find_links(
    code: str, layers: tuple[str, ...], keep: Iterable[str], most_looked_at: int = MOST_LOOKED_AT
) -> Links:
    """Look through code and layers, paths without links; blocks for about 5 us a file.

    `keep` is as in MountNamespace: absolute links to what is visible anyway are left alone.
    """
    look = _Look(tuple(keep), most_looked_at)
    in_code = look.through((code,), (code,)) if code else ()
    in_layers = look.through(layers, layers)
    return Links(in_code, in_layers, tuple(look.refused))


@dataclass
class _Look:
    keep: tuple[str, ...]
    most_looked_at: int
    refused: dict[str, None] = field(default_factory=dict)
    followed: int = 0
    looked_at: int = 0
    seen: dict[str, list[str]] = field(default_factory=dict)
    """Names of all links in a directory, by its path."""

    def through(self, directories: tuple[str, ...], way: tuple[str, ...]) -> tuple[Link, ...]:
        """Return the links to follow in directories that are shown as one, later over earlier."""
        found: list[Link] = []
        names = {name for directory in directories for name in self._links_in(directory)}
        for name in sorted(names):
            if any(name.startswith(f"{link.name}/") for link in found[-1:]):
                continue  # it is found again in what that link leads to
            targets = self._targets(directories, name, way)
            if targets:
                is_directory = Path(targets[-1]).is_dir()
                inner = self.through(targets, (*way, *targets)) if is_directory else ()
                found.append(Link(name, targets, inner))
        return tuple(found)

    def _links_in(self, directory: str) -> list[str]:
        if directory not in self.seen:
            self.seen[directory] = list(self._links_below(directory, ""))
        return self.seen[directory]

    def _links_below(self, directory: str, prefix: str) -> Iterator[str]:
        for entry in _entries(directory):
            self.looked_at += 1
            if self.looked_at > self.most_looked_at:
                self.refused[f"links behind {self.most_looked_at} files are not followed"] = None
                return
            if entry.is_symlink():
                yield f"{prefix}{entry.name}"
            elif entry.is_dir():
                yield from self._links_below(entry.path, f"{prefix}{entry.name}/")

    def _targets(
        self, directories: tuple[str, ...], name: str, way: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return what is shown at a name, the last over those before; empty where no link that
        leads out has a part in it."""
        shown: list[str] = []
        is_followed = False
        for directory in directories:
            path = f"{directory}/{name}"
            if not _has_place(directory, name):
                continue
            target = self._followed(directory, name, way) if os.path.islink(path) else path  # noqa: PTH114
            if not (os.path.isdir(target) and shown and os.path.isdir(shown[-1])):  # noqa: PTH112
                shown, is_followed = [], False
            if target:
                shown.append(target)
                is_followed = is_followed or target != path
        return tuple(shown) if is_followed else ()

    def _followed(self, directory: str, name: str, way: tuple[str, ...]) -> str:
        """Return where a link leads, or nothing when it stays what it is."""
        path = f"{directory}/{name}"
        try:
            text = os.readlink(path)  # noqa: PTH115
            target = os.path.realpath(path, strict=True)
            if not self._leads_out(directory, name, text, target):
                return ""
            why = _objection(target, way) or self._limit(way)
        except OSError:  # it leads nowhere or in a circle, and would in an archive, too
            return ""
        if why:
            self.refused[f"{path}: a link to {target} is not followed: {why}"] = None
            return ""
        self.followed += 1
        return target

    def _limit(self, way: tuple[str, ...]) -> str:
        if self.followed >= MOST_FOLLOWED:
            return f"more than {MOST_FOLLOWED} links lead out of code and layers"
        return "it is behind too many others" if len(way) > MOST_NESTED else ""

    def _leads_out(self, directory: str, name: str, text: str, target: str) -> bool:
        """Say whether a link would lead elsewhere in a room, where its directory has moved."""
        if text.startswith("/"):
            return any(is_hidden(path) for path in (os.path.normpath(text), target)) and not any(
                _is_within(target, one) for one in self.keep
            )
        place = os.path.normpath(os.path.join(os.path.dirname(name), text))  # noqa: PTH118, PTH120
        is_crooked = ".." in text.split("/") and not _is_within(target, directory)
        return place.split("/")[0] == ".." or is_crooked


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """Return what a directory holds; what cannot be read cannot be run, either."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _has_place(directory: str, name: str) -> bool:
    """Say whether a directory has something of that name, without a link on the way."""
    path = directory
    for part in name.split("/"):
        if os.path.islink(path) and path != directory:  # noqa: PTH114
            return False
        path = f"{path}/{part}"
    return os.path.lexists(path)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _objection(target: str, way: tuple[str, ...]) -> str:
    """Return why a room shows something in the place of no link, or nothing."""
    machines = next((place for place in MACHINES if _is_within(target, place)), "")
    if machines:
        return f"{machines} is the machine's own"
    if target in OWN:
        return "that is a directory that each environment has of its own"
    if any(_is_within(one, target) for one in way):
        return "it leads back to a directory that holds it"
    mode = os.stat(target).st_mode  # noqa: PTH116
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        return "that is neither a file nor a directory"
    return "" if _is_readable(target) else "the gateway's user may not read it"


def _is_readable(path: str) -> bool:
    """Say whether this user may read a path without the privileges of root, which a function has
    not: directories of other users that are closed to all stay closed."""
    parents = [str(parent) for parent in Path(path).parents]
    return all(_has_bit(parent, 1) for parent in parents) and _has_bit(path, 4)


def _has_bit(path: str, bit: int) -> bool:
    groups = {os.getegid(), *os.getgroups()}
    return grants(os.stat(path), bit, os.geteuid(), groups)  # noqa: PTH116


def grants(found: os.stat_result, bit: int, user: int, groups: set[int]) -> bool:
    """Say whether a file's mode gives a right to a user of these groups, as to all but root."""
    if found.st_uid == user:
        return bool(found.st_mode & bit << 6)
    if found.st_gid in groups:
        return bool(found.st_mode & bit << 3)
    return bool(found.st_mode & bit)
