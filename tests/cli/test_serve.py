"""`gateway serve`: what it refuses to start with; what it does is in tests/e2e."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli.serve import announce
from gateway.config.https import Https
from tests.cli.commands import HANDLERS, process_refusal, refusal, run, run_process
from tests.soaking import in_soak

CAPABILITIES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root reads every directory
PR_CAPBSET_DROP = 24


@pytest.fixture
def code(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "app.py").write_text(HANDLERS.replace('print("printed at import")', ""))
    (directory / "broken.py").write_text("def handler(event, context)\n    return {}\n")
    (directory / "raising.py").write_text("raise RuntimeError('no database')\n")
    (directory / "leaving.py").write_text("raise SystemExit\n")
    (directory / "importing.py").write_text("import no_such_package\n")
    (directory / "gateway.py").write_text(HANDLERS)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "line"),
    [
        ("app.number", "the handler is a"),
        ("gateway.handler", "rename your file, for example to app.py, and serve app.handler"),
    ],
)
def test_handler_that_cannot_be_had_in_process_is_one_line(
    code: Path, handler: str, line: str
) -> None:
    arguments = ("serve", handler, "--code", str(code), "--port", "0", "--in-process")

    assert line in process_refusal(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("way", [(), *in_soak(("--in-process",))], ids=["isolated", "in-process"])
@pytest.mark.parametrize(
    ("handler", "line"),
    [
        ("app.other", "Handler 'other' missing on module 'app'"),
        ("other.handler", "Unable to import module 'other': No module named 'other'"),
        ("importing.handler", "Unable to import module 'importing': No module named 'no_such_"),
        ("broken.handler", "Syntax error in module 'broken': expected ':' (broken.py, line 1)"),
        ("raising.handler", "RuntimeError: no database"),
        ("leaving.handler", "Runtime"),
        ("sys.exit", "Cannot use built-in module sys as a handler module"),
    ],
)
def test_handler_that_cannot_be_had_is_one_line(
    code: Path, handler: str, line: str, way: tuple[str, ...]
) -> None:
    options = ("--port", "0", "--quiet", "--require-init", *way)
    arguments = ("serve", handler, "--code", str(code), *options)

    assert line in process_refusal(*arguments)


@pytest.mark.slow
def test_trace_of_an_init_that_failed_is_on_the_console(code: Path) -> None:
    options = ("--port", "0", "--require-init")
    arguments = ("serve", "raising.handler", "--code", str(code), *options)
    status, output, errors = run_process(*arguments)

    assert (status, errors) == (2, ["gateway: RuntimeError: no database"])
    assert "INIT" in output[0]
    assert output[-1].endswith("raise RuntimeError('no database')")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--python", "/nowhere"], "--python /nowhere: there is no such interpreter"),
        (["--runtime", "python3.99"], "--runtime python3.99: no python3.99 on the PATH; name an"),
        (["--runtime", "provided.al2023"], "Runtime.InvalidEntrypoint"),
        (["--threads", "4"], "--threads is for --in-process; environments take --concurrency"),
        (["--function-logs", "/proc/none"], "/proc/none"),
        (
            ["--workers", "3", "--concurrency", "2"],
            "3 workers cannot share 2 invocations at once; raise --concurrency, or take fewer",
        ),
        (["--workers", "2", "--region", "mars"], "region 'mars' is not valid"),
    ],
)
def test_bad_setting_of_environments_is_one_line(code: Path, options: list[str], line: str) -> None:
    arguments = ("serve", "app.handler", "--code", str(code), "--port", "0", "--quiet", *options)

    assert line in process_refusal(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nowhere", "code/app.py"])
def test_code_that_is_not_a_directory_is_one_line(code: Path, name: str) -> None:
    directory = code.parent / name

    said = process_refusal("serve", "app.handler", "--code", str(directory), "--port", "0")

    assert said.startswith(f"--code {directory} cannot be read: ")


@pytest.mark.slow
def test_directory_that_cannot_be_read_is_one_line(code: Path) -> None:
    code.chmod(0)
    try:
        options = ("--code", str(code), "--port", "0")
        said = process_refusal("serve", "app.handler", *options, before_exec=without_privilege())
    finally:
        code.chmod(0o700)

    assert said.startswith(f"--code {code} cannot be read: ")
    assert "Permission denied" in said


def without_privilege() -> Callable[[], None] | None:
    """Return what takes from a child of root the right to read what its mode forbids."""
    if os.geteuid() or sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        for capability in CAPABILITIES:
            library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    return drop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--as", "shop"], "'shop' is not a listener; write it like https://shop.example.org:443"),
        (["--as", "https://shop:0"], "port 0 of 'https://shop:0' is not between 1 and 65535"),
        (["--target-group-arn", "arn:x"], "target group ARN 'arn:x' is not valid; it needs the"),
        (["--function-name", "a b"], "function name 'a b' is not valid; it needs letters"),
        (["--region", "mars"], "region 'mars' is not valid; it needs a name like eu-west-1"),
        (["--account-id", "12"], "account id '12' is not valid; it needs twelve digits"),
        (["--access-log", "/no/dir/log"], "log file '/no/dir/log' cannot be opened: No such"),
        (["--host", ".."], "choose another --host"),
        (["--host", "192.0.2.1"], "Cannot assign requested address; choose another --host"),
        (["--uds", "/no/dir/s"], "cannot listen on /no/dir/s: No such file or directory; choose"),
        (["--uds", "/dev/null"], "cannot listen on /dev/null: the file is not a socket; remove it"),
    ],
)
def test_bad_setting_is_one_line(code: Path, options: list[str], line: str) -> None:
    said = refusal(run("serve", "app.handler", "--code", str(code), "--port", "0", *options))

    assert line in said


@pytest.mark.slow
def test_bad_setting_is_one_line_with_reload_too(code: Path) -> None:
    options = ("--code", str(code), "--port", "0", "--reload", "--region", "mars")

    assert "region 'mars' is not valid" in process_refusal("serve", "app.handler", *options)


@pytest.mark.parametrize(
    ("url", "reachable"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
    ],
)
def test_line_to_try_can_be_tried(
    capsys: pytest.CaptureFixture[str], url: str, reachable: str
) -> None:
    announce([url], "isolation: complete")

    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, third) == (f"listening on {url}", "isolation: complete")
    assert second == f"try: curl -i '{reachable}/any/path?x=1&x=2'"


def test_line_to_try_a_unix_socket_is_fit_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    announce(["unix:/run/my gateway.sock"], "isolation: complete")

    assert capsys.readouterr().out.splitlines()[:2] == [
        "listening on unix:/run/my gateway.sock",
        "try: curl -i --unix-socket '/run/my gateway.sock' 'http://localhost/any/path?x=1&x=2'",
    ]


def test_line_to_try_a_unix_socket_with_tls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    announce(["unix:/run/a.sock"], "isolation: complete", https=Https())

    trusted = "--cacert /state/albgate/ca.pem --unix-socket /run/a.sock"
    line = capsys.readouterr().out.splitlines()[1]
    assert line == f"try: curl -i {trusted} 'https://localhost/any/path?x=1&x=2'"
