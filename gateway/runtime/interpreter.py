"""The Python that runs a function: the one that its owner means, and what has to be known of it.

That is `--python`, else the environment that VIRTUAL_ENV names, else `.venv` in the code directory,
else the gateway's own. `--runtime python3.x` asks for a version: the first of these that has it, or
one from the PATH.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.core.errors import InvalidSetting

OLDEST = (3, 9)
"""Of Python, for our own bootstrap."""

ASK_SECONDS = 20
"""How long an interpreter may take to say what it is."""

FACTS = """\
import sys
sys.path[:] = [path for path in sys.path if path]  # or a file json.py of this directory is read
import json, os
paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
link = sys.executable
while link:
    paths.append(os.path.dirname(link))
    link = os.path.islink(link) and os.path.join(paths[-1], os.readlink(link))
print(json.dumps([sys.version_info[:3], sys.executable, sys.path, paths]))
"""

PYTHON_RUNTIME = re.compile(r"python3\.\d+")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that was asked what it is."""

    path: str
    version: tuple[int, int, int]
    search_path: tuple[str, ...]
    """Where it finds modules without those of the function."""
    keep: tuple[str, ...]
    """Directories that it needs, for `MountNamespace.keep`."""
    source: str = ""
    """What named it; empty for the gateway's own."""
    note: str = ""
    """What the operator may have meant instead."""

    @property
    def runtime(self) -> str:
        """Return AWS's name of a runtime of this version."""
        return "python{}.{}".format(*self.version)

    def __str__(self) -> str:
        version = ".".join(map(str, self.version))
        source = f" ({self.source})" if self.source else ""
        return f"python {version}: {self.path}{source}"


def chosen(
    python: str, runtime: str, code: Path, variables: Mapping[str, str] = os.environ
) -> Interpreter:
    """Return the interpreter of a function; blocks, and raises InvalidSetting."""
    wanted = runtime if PYTHON_RUNTIME.fullmatch(runtime) else ""
    if runtime and not wanted:
        raise no_such_runtime(runtime)
    if python:
        found = ask(named(python), f"--python {python}", "--python")
        if wanted not in {"", found.runtime}:
            raise InvalidSetting(
                f"--python {python} is Python {found.runtime[6:]}, not {wanted}; leave out "
                "--runtime, or name another interpreter"
            )
        return found
    meant = _environment_of_user(code, variables)
    if meant is not None and wanted in {"", meant.runtime}:
        return meant
    found = _of_version(wanted or own_runtime(), variables)
    note = f"{meant.source} has Python {meant.runtime[6:]} and is not used" if meant else ""
    return replace(found, note=note)


def own() -> Interpreter:
    """Return the gateway's own; blocks for about 50 ms."""
    return ask(sys.executable, sys.executable)


def own_runtime() -> str:
    """Return AWS's name of a runtime of the gateway's own version."""
    return "python{}.{}".format(*sys.version_info)


def _environment_of_user(code: Path, variables: Mapping[str, str]) -> Interpreter | None:
    """Return the virtual environment that is active or lies in the code, unless the gateway is in
    it; raises InvalidSetting for an active one that has no Python."""
    directory, source = next(iter(user_environments(code, variables)), (Path(), ""))
    if not source or is_own(directory):
        return None
    found = python_of(directory)
    if found is None:
        raise InvalidSetting(
            f"{source} {directory} has no bin/python: make the environment again, unset "
            "VIRTUAL_ENV, or name an interpreter with --python"
        )
    return ask(found, f"{source} {directory}", f"{source} {directory}")


def user_environments(code: Path, variables: Mapping[str, str]) -> list[tuple[Path, str]]:
    """Return directories of virtual environments and what names them, the first one counts."""
    active, beside = variables.get("VIRTUAL_ENV", ""), code.absolute() / ".venv"
    found = [(Path(active).absolute(), "VIRTUAL_ENV")] if active else []
    return [*found, *([(beside, "virtual environment")] if python_of(beside) else [])]


def unused_environment(code: Path, variables: Mapping[str, str] = os.environ) -> Path | None:
    """Return the virtual environment that is meant, if the gateway is not in it."""
    directories = [directory for directory, _ in user_environments(code, variables)]
    return None if not directories or is_own(directories[0]) else directories[0]


def is_own(directory: Path) -> bool:
    """Say whether the gateway runs in this environment."""
    return os.path.realpath(directory) == os.path.realpath(sys.prefix)


def python_of(directory: Path) -> str | None:
    """Return the interpreter of an environment, None when it has none that can be run."""
    names = (str(directory / "bin" / name) for name in ("python", "python3"))
    return next((name for name in names if shutil.which(name)), None)


def named(python: str) -> str:
    """Return the path of what `--python` names, a directory of an environment included."""
    place = Path(python)
    if place.is_dir():
        found = python_of(place)
        if found is None:
            raise InvalidSetting(f"--python {python}: there is no bin/python in this directory")
        return str(Path(found).absolute())
    which = shutil.which(python)
    if which is None:
        why = "it may not be executed" if place.exists() else "there is no such interpreter"
        raise InvalidSetting(f"--python {python}: {why}")
    return str(Path(which).absolute())


def _of_version(wanted: str, variables: Mapping[str, str]) -> Interpreter:
    """Return the gateway's own or the first on the PATH that is of a version."""
    if wanted == own_runtime():
        return own()
    for directory in variables.get("PATH", "").split(os.pathsep):
        which = shutil.which(wanted, path=directory or ".")
        if which is None:
            continue
        try:
            return ask(str(Path(which).absolute()), which, f"--runtime {wanted}")
        except InvalidSetting:
            continue  # such as pyenv's, for a version that is not there
    raise no_such_runtime(wanted)


def no_such_runtime(runtime: str) -> InvalidSetting:
    """Return the refusal of a runtime that is not here."""
    return InvalidSetting(
        f"--runtime {runtime}: no {runtime} on the PATH; name an interpreter with --python, or "
        "put an executable called bootstrap into the code and use --runtime provided.al2023"
    )


def ask(python: str, called: str, source: str = "") -> Interpreter:
    """Ask an interpreter what it is; raises InvalidSetting, with what it is called, when it
    cannot be run."""
    version, executable, search_path, paths = _facts(python, called)
    # pyenv's and its like choose by variables that a function does not have.
    path = executable if Path(python).parent.name == "shims" else python
    places = filter(None, [*paths, *search_path])
    forms = {form for each in places for form in (str(Path(each)), os.path.realpath(each))}
    keep = tuple(sorted(form for form in forms if Path(form).is_dir()))
    is_same = Path(path).absolute() == Path(sys.executable).absolute()
    return Interpreter(path, version, tuple(search_path), keep, "" if is_same else source)


def _facts(python: str, called: str) -> tuple[tuple[int, int, int], str, list[str], list[str]]:
    try:
        done = subprocess.run(  # noqa: S603 - the operator named it
            [python, "-c", FACTS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=ASK_SECONDS,
        )
        (major, minor, micro), executable, search_path, paths = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise InvalidSetting(f"{called} did not answer within {ASK_SECONDS} s") from error
    except OSError as error:
        raise InvalidSetting(f"{called} cannot be run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        # A traceback says it last, and whatever else stands for an interpreter says it first.
        why = said[-said[0].startswith("Traceback")] if said else ""
        why = why or f"it ended with status {error.returncode}"
        raise InvalidSetting(f"{called} is not a Python interpreter: {why}") from error
    except (ValueError, TypeError) as error:
        raise InvalidSetting(f"{called} is not a Python interpreter") from error
    return (major, minor, micro), executable, search_path, paths


def check_version(interpreter: Interpreter) -> None:
    """Raise InvalidSetting for a version that our own bootstrap does not run on."""
    if interpreter.version[:2] < OLDEST:
        raise InvalidSetting(
            f"{interpreter} is too old: functions need Python 3.9 or later; name another "
            "interpreter with --python"
        )
