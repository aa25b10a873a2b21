"""Rooms as functions see them: code and layers for one, and code that is run inside."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

TRY = """
import errno, os
def attempt(act):
    try:
        act()
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        print("done")
"""


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    directory.mkdir(exist_ok=True)
    return directory


def entered(plan: dict[str, object], code: str, before: str = "") -> str:
    """Enter a plan in a child that can be tampered with before, and return what code then prints.

    Python finds what it imports while it still has the machine's directories.
    """
    script = f"import errno, os\nfrom gateway.runtime.child import room, sandbox\n{before}\n"
    script += f"sandbox.enter({plan!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


NO_OVERLAY = """
mount = room._mount
def refuse(source, target, kind, flags, data=""):
    if kind == "overlay":
        raise PermissionError(1, "no overlay")
    mount(source, target, kind, flags, data)
room._mount = refuse
"""

NO_SETATTR = "room._MOUNT_SETATTR = 100000\n"
