"""Three functions on two listeners of one gateway, in one process and with two workers."""

import http.client
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.leftovers import children, wait_until
from tests.e2e.serving import DEADLINE_SECONDS, LISTENING, Server
from tests.process.apps.many import NAMES
from tests.process.whole import look
from tests.soaking import in_soak

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent / "apps" / "many.py"

HANDLER = """
import json, os

def handler(event, context):
    found = [
        "{word}",
        context.function_name,
        context.function_version,
        os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        sorted(key for key in event if key.lower().endswith("headers")),
        event["requestContext"]["elb"]["targetGroupArn"].split("/")[1],
    ]
    headers = {{"content-type": ["text/plain"]}}
    return {{"statusCode": 200, "multiValueHeaders": headers, "body": json.dumps(found)}}
"""

WORKERS = pytest.mark.parametrize("workers", [*in_soak(1), 2])


def save(directory: Path, name: str, word: str) -> None:
    """Write the code of a function, the whole file at once."""
    place = directory / name
    place.mkdir(exist_ok=True)
    fresh = directory / "fresh"
    fresh.write_text(HANDLER.format(word=word))
    fresh.replace(place / "app.py")


@contextmanager
def many(directory: Path, workers: int, *more: str) -> Iterator[tuple[Server, str, str]]:
    """The gateway, and the URLs of its two listeners."""
    for name in NAMES:
        save(directory, name, "first")
    with Server([sys.executable, str(PROGRAM), str(directory), str(workers), *more]) as server:
        server.wait_until_listening()
        second = server.output.wait_for(LISTENING.pattern, after=1)["url"]
        yield server, server.url, second


def answer(url: str, path: str) -> list[Any]:
    """Return what the function behind a listener found."""
    authority = url.partition("://")[2]
    with closing(http.client.HTTPConnection(authority, timeout=DEADLINE_SECONDS)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        found: list[Any] = json.loads(response.read())
        return found


def expected(name: str, word: str = "first", header: str = "headers") -> list[Any]:
    return [word, name, "$LATEST", name, [header], name]


@WORKERS
def test_each_listener_and_rule_leads_to_its_function(tmp_path: Path, workers: int) -> None:
    with many(tmp_path, workers) as (server, first, second):
        for _ in range(3):
            assert answer(first, "/") == expected("shop")
            assert answer(first, "/cart") == expected("shop")
            assert answer(first, "/cart/1") == expected("cart", header="multiValueHeaders")
            assert answer(second, "/cart/1") == expected("mail")
        held = look(server.pid)
        assert server.stop() == 0

    assert held.listening == (2 + len(NAMES) if workers == 1 else 2)  # a Runtime API each
    assert server.errors.wait_for_end() == []


@WORKERS
def test_access_log_has_the_priority_of_the_rule_that_matched(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "access.log"
    with many(tmp_path, workers, str(log)) as (server, first, second):
        assert answer(first, "/cart/1") == expected("cart", header="multiValueHeaders")
        assert answer(first, "/cart/mail") == expected("mail")
        assert answer(first, "/") == expected("shop")
        assert answer(second, "/cart/1") == expected("mail")
        assert server.stop() == 0

    lines = [shlex.split(line) for line in log.read_text().splitlines()]
    found = [(fields[16].split("/")[1], fields[20], fields[22]) for fields in lines]
    assert sorted(found) == [
        ("cart", "20", "forward"),
        ("mail", "0", "forward"),
        ("mail", "10", "forward"),
        ("shop", "0", "forward"),
    ]


@WORKERS
def test_hangup_takes_in_the_code_of_every_function(tmp_path: Path, workers: int) -> None:
    with many(tmp_path, workers) as (server, first, second):
        save(tmp_path, "cart", "second")
        save(tmp_path, "mail", "second")
        server.signal(signal.SIGHUP)
        server.output.wait_for("replaced 2 workers" if workers > 1 else "^reloaded app.handler$")

        wait_until(lambda: answer(second, "/")[0] == "second", "the new code serves")
        assert answer(first, "/cart/1") == expected("cart", "second", "multiValueHeaders")
        assert answer(first, "/") == expected("shop")


@WORKERS
def test_broken_function_leaves_the_others_and_its_own_old_code(
    tmp_path: Path, workers: int
) -> None:
    with many(tmp_path, workers) as (server, first, second):
        (tmp_path / "mail" / "app.py").write_text("broken(\n")
        server.signal(signal.SIGHUP)
        server.output.wait_for("could not reload|is not replaced")

        assert answer(second, "/") == expected("mail")
        assert answer(first, "/") == expected("shop")


def test_dead_worker_is_replaced_behind_both_listeners(tmp_path: Path) -> None:
    with many(tmp_path, 2) as (server, first, second):
        before = children(server.pid)
        os.kill(next(iter(before)), signal.SIGKILL)
        server.output.wait_for("another one starts now")
        wait_until(lambda: len(children(server.pid) - before) == 1, "there is a successor")

        for _ in range(4):
            assert answer(first, "/") == expected("shop")
            assert answer(second, "/") == expected("mail")
        assert server.stop() == 0


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with many(tmp_path, 2) as (server, _, _):
        workers = children(server.pid)
        assert server.stop() == 0

    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
