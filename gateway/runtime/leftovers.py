"""Clears away what a gateway left that was killed: control groups and temporary directories.

Nothing of a living gateway is touched; several gateways may clear at the same time.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gateway.runtime.confinement import Abilities
from gateway.runtime.control_groups import kill_groups, remove_group
from gateway.runtime.owner import is_ownerless


def sweep(abilities: Abilities) -> None:
    """Remove what dead gateways left on this machine; blocks.

    What is still in their control groups is killed; a group whose processes take a moment to die
    goes when the next gateway starts.
    """
    for hierarchy in abilities.hierarchies:
        sweep_groups(hierarchy.directory)
    for directory in _ownerless(tempfile.gettempdir()):
        if _is_own_directory(directory):  # every user may write there
            shutil.rmtree(directory, ignore_errors=True)


def sweep_groups(directory: str) -> None:
    """Kill what is left in the control groups of dead gateways, and remove them."""
    for group in _ownerless(directory):
        kill_groups([str(group)])
        remove_group(group)


def _ownerless(directory: str) -> Iterator[Path]:
    with suppress(OSError):
        names = os.listdir(directory)  # noqa: PTH208 - the names are all that is wanted
        yield from (Path(directory, name) for name in names if is_ownerless(name))


def _is_own_directory(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
