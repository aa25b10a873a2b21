"""Which files a reload watches: all of code and layers, what links in them point to, and single
files such as that of the variables."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IGNORED_DIRECTORIES = frozenset(
    {
        *("__pycache__", ".git", ".hg", ".svn", ".idea", ".venv", ".tox"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    }
)
"""What tools keep beside code and no deployment has."""

IGNORED_FILES = re.compile(r"\.sw.$|~$|^\.#|^\.DS_Store$|\.___jb_...___$|^flycheck_")
"""What editors write for themselves while a file is edited."""

FileIdentity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WatchedPaths:
    """What is watched; all paths are absolute and without links."""

    directories: frozenset[Path]
    """With all that is in them."""
    files: frozenset[Path]
    """Alone; each is watched by its directory, because editors put another file in its place."""

    def is_relevant(self, path: str) -> bool:
        """Say whether a change of a path asks for a reload."""
        changed = Path(path)
        if changed in self.files:
            return True
        inside = [place for place in self.directories if changed.is_relative_to(place)]
        return any(not is_ignored(changed.relative_to(place)) for place in inside)


def is_ignored(path: Path) -> bool:
    """Say whether a path below a watched directory is a tool's and not the function's."""
    return not IGNORED_DIRECTORIES.isdisjoint(path.parts) or bool(IGNORED_FILES.search(path.name))


def find_places(directories: Iterable[Path], files: Iterable[Path] = ()) -> WatchedPaths:
    """Return what to watch now: links are looked for, because what they point to may be elsewhere;
    blocks."""
    roots = {Path(os.path.realpath(each)) for each in directories}
    singles = {Path(os.path.realpath(each)) for each in files}
    for target in [target for root in roots for target in _targets(root)]:
        if target.is_file():
            singles.add(target)
        elif target.is_dir() and not any(root.is_relative_to(target) for root in roots):
            roots.add(target)
    return WatchedPaths(frozenset(roots), frozenset(singles))


def _targets(root: Path) -> Iterator[Path]:
    """Give what the links below a directory point to outside it."""
    for place, names, files in os.walk(root):
        names[:] = [name for name in names if name not in IGNORED_DIRECTORIES]
        for name in (*names, *files):
            path = Path(place, name)
            if path.is_symlink():
                target = Path(os.path.realpath(path))
                if not target.is_relative_to(root):
                    yield target


class Outputs:
    """What the gateway itself writes, which may be in the code directory: none of it is a save."""

    def __init__(self, paths: Iterable[str], descriptors: Iterable[int] = (1, 2)) -> None:
        self._paths = [Path(os.path.realpath(path)) for path in paths]
        self._identities = {identity for each in descriptors if (identity := _identity(each))}

    def __contains__(self, path: str) -> bool:
        """Say whether a path is one of them, by name or as the file behind a descriptor."""
        if any(Path(path).is_relative_to(each) for each in self._paths):
            return True
        return bool(self._identities) and _identity(path) in self._identities


def _identity(file: str | int) -> FileIdentity | None:
    """Return what tells a regular file from all others, None for what is not one."""
    with suppress(OSError):
        found = os.stat(file)  # noqa: PTH116 - descriptors too
        return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
    return None
