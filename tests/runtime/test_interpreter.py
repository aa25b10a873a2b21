"""Which Python runs a function, and what is said of one that cannot."""

import os
import sys
import venv
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.runtime.interpreter import ask, chosen, own, own_runtime, unused_environment

VERSION = ".".join(map(str, sys.version_info[:3]))
OTHER = "python3.9"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def that_is(path: Path, version: str = OTHER) -> Path:
    """Write a program that says that it is a Python of some version."""
    minor = version.partition(".")[2]
    return script(path, f"""echo '[[3, {minor}, 0], "/real/{version}", ["", "/lib"], ["/usr"]]'""")


def refusal(python: str = "", runtime: str = "", code: Path = Path(), **variables: str) -> str:
    with pytest.raises(InvalidSetting) as caught:
        chosen(python, runtime, code, variables)
    return str(caught.value)


def test_the_gateways_own_is_what_is_left(code: Path) -> None:
    found = chosen("", "", code, {})

    assert (found.path, found.source, found.note) == (sys.executable, "", "")
    assert found.runtime == own_runtime()
    assert str(found) == f"python {VERSION}: {sys.executable}"


def test_an_interpreter_says_which_directories_it_needs() -> None:
    found = own().keep

    assert {sys.prefix, sys.base_prefix, str(Path(sys.executable).parent)} <= set(found)
    assert str(Path(sys.executable).resolve().parent) in found
    assert all(Path(path).is_dir() for path in found)


def test_files_of_the_working_directory_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)

    assert own().path == sys.executable


def test_the_active_environment_is_meant(code: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "active", with_pip=False)
    venv.create(code / ".venv", with_pip=False)

    found = chosen("", "", code, {"VIRTUAL_ENV": str(tmp_path / "active")})

    assert found.path == str(tmp_path / "active/bin/python")
    assert found.source == f"VIRTUAL_ENV {tmp_path}/active"
    assert any(path.startswith(str(tmp_path / "active/lib")) for path in found.search_path)


def test_else_the_environment_in_the_code(code: Path) -> None:
    that_is(code / ".venv/bin/python3")

    found = chosen("", "", code, {"VIRTUAL_ENV": ""})

    assert (found.path, found.version) == (str(code / ".venv/bin/python3"), (3, 9, 0))
    assert found.source == f"virtual environment {code}/.venv"


def test_an_environment_in_the_code_without_python_does_not_count(code: Path) -> None:
    (code / ".venv/bin").mkdir(parents=True)
    (code / ".venv/bin/python").symlink_to("/no/such/python")

    assert chosen("", "", code, {}).path == sys.executable


@pytest.mark.parametrize("spelling", [sys.prefix, sys.prefix + "/", "link"])
def test_the_gateways_own_environment_is_its_own(code: Path, tmp_path: Path, spelling: str) -> None:
    (tmp_path / "link").symlink_to(sys.prefix)
    active = str(tmp_path / spelling)
    that_is(code / ".venv/bin/python")

    found = chosen("", "", code, {"VIRTUAL_ENV": active})

    assert (found.path, found.source) == (sys.executable, "")
    assert unused_environment(code, {"VIRTUAL_ENV": active}) is None


def test_an_active_environment_without_python_is_refused(code: Path, tmp_path: Path) -> None:
    assert refusal(code=code, VIRTUAL_ENV=f"{tmp_path}/gone") == (
        f"VIRTUAL_ENV {tmp_path}/gone has no bin/python: make the environment again, unset "
        "VIRTUAL_ENV, or name an interpreter with --python"
    )


def test_the_option_comes_before_the_environments(code: Path, tmp_path: Path) -> None:
    that_is(tmp_path / "mine")

    found = chosen(f"{tmp_path}/mine", "", code, {"VIRTUAL_ENV": f"{tmp_path}/gone"})

    assert (found.path, found.source) == (f"{tmp_path}/mine", "--python")


@pytest.mark.parametrize("name", ["python", "python3"])
def test_the_option_may_name_a_directory(code: Path, tmp_path: Path, name: str) -> None:
    that_is(tmp_path / "env/bin" / name)

    assert chosen(f"{tmp_path}/env", "", code, {}).path == f"{tmp_path}/env/bin/{name}"


def test_what_is_not_an_interpreter_is_refused_in_words(code: Path, tmp_path: Path) -> None:
    script(tmp_path / "fails", "echo 'no version is set' >&2; echo advice >&2; exit 127")
    script(tmp_path / "raises", "echo 'Traceback (most' >&2; echo 'Error: last' >&2; exit 1")
    script(tmp_path / "silent", "exit 3")
    script(tmp_path / "echo", 'echo "$@"')
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").write_bytes(b"\x7fELF")
    (tmp_path / "binary").chmod(0o755)
    said = {
        name: refusal(f"{tmp_path}/{name}", code=code).removeprefix(f"--python {tmp_path}/")
        for name in ("fails", "raises", "silent", "echo", "text", "empty", "binary", "nothing")
    }

    assert said == {
        "fails": "fails is not a Python interpreter: no version is set",
        "raises": "raises is not a Python interpreter: Error: last",
        "silent": "silent is not a Python interpreter: it ended with status 3",
        "echo": "echo is not a Python interpreter",
        "text": "text: it may not be executed",
        "empty": "empty: there is no bin/python in this directory",
        "binary": "binary cannot be run: Exec format error",
        "nothing": "nothing: there is no such interpreter",
    }


def test_a_runtime_is_the_first_of_its_version(code: Path, tmp_path: Path) -> None:
    script(tmp_path / f"shims/{OTHER}", "echo 'command not found' >&2; exit 127")
    that_is(tmp_path / f"bin/{OTHER}")
    that_is(tmp_path / "env/bin/python", "python3.10")
    variables = {"PATH": f"{tmp_path}/shims:{tmp_path}/bin", "VIRTUAL_ENV": f"{tmp_path}/env"}

    found = chosen("", OTHER, code, variables)

    assert (found.path, found.runtime) == (f"{tmp_path}/bin/{OTHER}", OTHER)
    assert found.note == f"VIRTUAL_ENV {tmp_path}/env has Python 3.10 and is not used"
    assert chosen("", "python3.10", code, variables).path == f"{tmp_path}/env/bin/python"
    assert chosen("", own_runtime(), code, {}).path == sys.executable


def test_a_shim_is_resolved_because_a_function_has_not_its_variables(
    code: Path, tmp_path: Path
) -> None:
    that_is(tmp_path / f"shims/{OTHER}")

    found = chosen("", OTHER, code, {"PATH": f"{tmp_path}/shims"})

    assert found.path == f"/real/{OTHER}"


@pytest.mark.parametrize("runtime", ["python3.99", "nodejs22.x", "python3", "python3.9x"])
def test_a_runtime_that_is_not_here_is_refused(code: Path, runtime: str) -> None:
    line = f"--runtime {runtime}: no {runtime} on the PATH; name an interpreter with --python, or"

    assert refusal(runtime=runtime, code=code).startswith(line)


def test_options_that_contradict_each_other_are_refused(code: Path, tmp_path: Path) -> None:
    that_is(tmp_path / "mine")

    assert refusal(f"{tmp_path}/mine", "python3.12", code) == (
        f"--python {tmp_path}/mine is Python 3.9, not python3.12; leave out --runtime, or name "
        "another interpreter"
    )
    assert chosen(f"{tmp_path}/mine", OTHER, code, {}).runtime == OTHER


def test_an_environment_that_is_not_used_is_named(code: Path, tmp_path: Path) -> None:
    assert unused_environment(code, {}) is None
    assert unused_environment(code, {"VIRTUAL_ENV": f"{tmp_path}/x"}) == tmp_path / "x"
    that_is(code / ".venv/bin/python")
    assert unused_environment(code, {}) == code / ".venv"


def test_a_relative_path_is_made_absolute(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    that_is(code / "bin/python")
    monkeypatch.chdir(code)

    assert chosen("bin/python", "", code, {}).path == str(code / "bin/python")
    assert ask(sys.executable, "").path == os.fspath(sys.executable)
