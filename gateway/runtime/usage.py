"""What processes hold in memory and a directory on disk, for where the kernel limits neither."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from gateway.runtime.processes import read

PAGE_BYTES = os.sysconf("SC_PAGESIZE")

STEP_FILES = 2000
"""How many files one look counts, in 10 ms; a directory that has more takes several looks."""


def memory_bytes(pids: Iterable[int], limit: int) -> int:
    """Return what processes hold in memory: the sum of their resident sizes, or where that is over
    the limit, with shared pages divided among those that share them.

    The resident size takes 0.02 ms a process, the divided one 0.3. Processes that are gone count
    nothing; the resident size counts where Linux does not say the divided one.
    """
    resident = {pid: _resident_bytes(pid) for pid in pids}
    total = sum(resident.values())
    return total if total <= limit else sum(_divided_bytes(pid, resident[pid]) for pid in resident)


def _resident_bytes(pid: int) -> int:
    pages = read(f"/proc/{pid}/statm").split()
    return int(pages[1]) * PAGE_BYTES if len(pages) > 1 else 0


def _divided_bytes(pid: int, resident: int) -> int:
    found = re.search(rb"^Pss:\s+(\d+) kB", read(f"/proc/{pid}/smaps_rollup"), re.MULTILINE)
    return int(found[1]) * 1024 if found else resident


class Storage:
    """Counts what the files of a directory take on disk, a part of them with each look."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._sizes = _file_bytes(directory)
        self._bytes = 0

    def is_over(self, limit: int) -> bool:
        """Count on, and say whether the directory takes more than this; blocks for 10 ms at most.

        A count that is over, or has come to the end, begins again with the next look.
        """
        sizes = list(islice(self._sizes, STEP_FILES))
        self._bytes += sum(sizes)
        is_over = self._bytes > limit
        if is_over or len(sizes) < STEP_FILES:
            self._sizes = _file_bytes(self._directory)
            self._bytes = 0
        return is_over


def _file_bytes(directory: str) -> Iterator[int]:
    """Give what each file below a directory takes on disk."""
    directories = [directory]
    while directories:
        with suppress(OSError), os.scandir(directories.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                with suppress(OSError):  # gone since the listing
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
