"""`--reload` takes in every file that a function is made of, and none that the gateway writes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.leftovers import wait_until
from tests.e2e.serving import Process, Server, gateway_command, get, serving
from tests.process.whole import WAYS

pytestmark = pytest.mark.slow

APP = """
import os, words

def handler(event, context):
    return {"statusCode": 200, "body": f"{words.WORD} {os.environ.get('KIND')}"}
"""

BOOTSTRAP = """#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while true; do
    number=$(curl -s -D - -o /dev/null "$api/next" |
        sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: *//p' | tr -d '\\r')
    curl -s -d '{"statusCode": 200, "body": "first"}' "$api/$number/response" >/dev/null
done
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code"
    path.mkdir()
    (path / "app.py").write_text(APP)
    return path


@contextmanager
def reloading(code: Path, *options: str) -> Iterator[Server]:
    with serving("app.handler", "--reload", *options, code=code) as server:
        yield server


def after_save(server: Server, path: Path, text: str) -> bytes:
    """Save a file in one step, wait for the reload, and ask."""
    before = len(server.output())
    fresh = path.with_name(f".#{path.name}")
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.rename(path)
    server.output.wait_for("^reloaded app.handler$", after=before)
    return get(server, "/")[1]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_link_and_variables_of_a_function_are_reloaded(
    code: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    shared, variables = tmp_path / "shared", tmp_path / "variables"
    shared.mkdir()
    (shared / "words.py").write_text("WORD = 'one'\n")
    variables.write_text("KIND=plain\n")
    if way:
        (code / "words.py").symlink_to("../shared/words.py")
    else:
        (code / "words.py").write_text("WORD = 'one'\n")
    where = shared if way else code
    with reloading(code, *way, "--env-file", str(variables)) as server:
        seen = [get(server, "/")[1]]
        seen.append(after_save(server, where / "words.py", "WORD = 'two'\n"))
        seen.append(after_save(server, variables, "KIND=other\n"))

    assert seen == [b"one plain", b"two plain", b"two other"]


def test_layer_of_a_function_is_reloaded(code: Path, tmp_path: Path) -> None:
    words = tmp_path / "layer" / "python" / "words.py"
    words.parent.mkdir(parents=True)
    words.write_text("WORD = 'one'\n")
    with reloading(code, "--layer", str(tmp_path / "layer")) as server:
        seen = [get(server, "/")[1], after_save(server, words, "WORD = 'two'\n")]

    assert seen == [b"one None", b"two None"]


def test_bootstrap_of_an_os_only_runtime_is_reloaded(code: Path) -> None:
    bootstrap = code / "bootstrap"
    bootstrap.write_text(BOOTSTRAP)
    bootstrap.chmod(0o755)
    with reloading(code, "--runtime", "provided.al2023") as server:
        seen = [get(server, "/")[1]]
        seen.append(after_save(server, bootstrap, BOOTSTRAP.replace("first", "second")))

    assert seen == [b"first", b"second"]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_code_before_a_broken_save_goes_on_serving(code: Path, way: tuple[str, ...]) -> None:
    (code / "words.py").write_text("WORD = 'one'\n")
    with reloading(code, *way) as server:
        get(server, "/")
        (code / "app.py").write_text("def handler(\n")
        server.output.wait_for("^    the code before it goes on serving$")
        meanwhile = get(server, "/")
        (code / "words.py").write_text("WORD = 'two'\n")
        server.output.wait_for("^could not reload app.handler:$", after=len(server.output()) - 1)
        still = get(server, "/")
        fixed = after_save(server, code / "app.py", APP)

    assert (meanwhile, still) == ((200, b"one None"), (200, b"one None"))
    assert fixed == b"two None"


def test_file_of_variables_is_read_again_at_a_signal(code: Path, tmp_path: Path) -> None:
    (code / "words.py").write_text("WORD = 'one'\n")
    variables = tmp_path / "variables"
    variables.write_text("KIND=plain\n")
    with serving("app.handler", "--env-file", str(variables), code=code) as server:
        variables.write_text("KIND=other\n")
        server.signal(signal.SIGHUP)
        server.output.wait_for("^reloaded app.handler$")
        taken = get(server, "/")[1]
        variables.write_text("nothing\n")
        server.signal(signal.SIGHUP)
        server.output.wait_for("^could not reload app.handler:$")

        assert (taken, get(server, "/")[1]) == (b"one other", b"one other")


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_what_the_gateway_writes_beside_the_code_does_not_count_as_a_save(
    code: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    (code / "words.py").write_text("WORD = 'one'\n")
    output = code / "output.log"
    options = ("--access-log", str(code / "access.log"), "--code", str(code), "--port", "0", *way)
    logs = () if way else ("--function-logs", str(code / "logs"))
    command = gateway_command("serve", "app.handler", "--reload", *options, *logs)
    with Process(["sh", "-c", f'exec "$@" > {output}', "sh", *command]) as server:
        wait_until(lambda: output.exists() and "listening on" in output.read_text(), output.exists)
        url = output.read_text().split()[2]
        same = Server.__new__(Server)
        same.url = url
        for _ in range(3):
            assert get(same, "/") == (200, b"one None")
        (code / "words.py").write_text("WORD = 'two'\n")
        wait_until(lambda: "reloaded" in output.read_text(), output.read_text)
        assert get(same, "/") == (200, b"two None")
        assert server.stop() == 0

    assert output.read_text().count("reloaded app.handler") == 1
