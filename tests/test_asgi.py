"""The gateway inside other people's ASGI servers."""

import asyncio
import json
import os
import runpy
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import gateway.asgi
from gateway.asgi import Application, application
from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.config.listener import Listener, Rule
from gateway.config.target_group import TargetGroup
from gateway.core.errors import InvalidSetting
from gateway.core.notices import RequestServed
from gateway.core.rules import PathPattern
from gateway.telemetry.system import turns_of_the_loop
from gateway.testing import FakeSink
from gateway.web.asgi import Message, Scope
from tests.e2e.leftovers import children

PATIENCE_SECONDS = 5.0

NAME = "gw_embedded"
HANDLER = f"{NAME}.handler"
ECHO = """
import json

def handler(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}

number = 7
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A code directory whose handler answers with its event; forgotten afterwards."""
    path = sys.path[:]
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    (tmp_path / f"{NAME}.py").write_text(ECHO)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop(NAME, None)


@pytest.fixture
def app(directory: Path) -> Application:
    return application(HANDLER, code=directory, concurrency=1)


async def get(app: Application, url: str = "http://shop.example.org/cart") -> httpx.Response:
    """Ask as a server without lifespan would."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.get(url)


async def headers_seen(app: Application, **changes: Any) -> dict[str, str]:
    """Return the headers of the event that a scope becomes."""
    asked: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"shop.example.org")],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({**asked, **changes}, receive, send)
    headers: dict[str, str] = json.loads(sent[1]["body"])["headers"]
    return headers


class Life:
    """The messages of one lifespan."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    async def run(self, app: Application) -> None:
        await app({"type": "lifespan"}, self._messages.get, self._answers.put)

    async def ask(self, kind: str) -> Message:
        self._messages.put_nowait({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._answers.get()


@asynccontextmanager
async def living(app: Application) -> AsyncIterator[None]:
    """Run an application's lifespan as a server does."""
    life = Life()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.run(app))
        assert await life.ask("startup") == {"type": "lifespan.startup.complete"}
        yield
        assert await life.ask("shutdown") == {"type": "lifespan.shutdown.complete"}


def new_workers() -> Callable[[], set[threading.Thread]]:
    """Return what returns the worker threads that started since."""
    others = set(threading.enumerate())
    return lambda: {thread for thread in threading.enumerate() if thread.name == "handler"} - others


# Life


async def test_lifespan_frames_the_workers(directory: Path) -> None:
    workers = new_workers()

    async with living(application(HANDLER, code=directory, concurrency=3)):
        started = workers()
    for worker in started:
        worker.join(PATIENCE_SECONDS)

    assert len(started) == 3
    assert workers() == set()


async def test_handler_is_served_within_a_lifespan(app: Application) -> None:
    async with living(app):
        response = await get(app)

    assert (response.status_code, response.json()["path"]) == (200, "/cart")
    assert response.headers["server"] == "awselb/2.0"


async def test_handler_is_served_without_a_lifespan(app: Application) -> None:
    response = await get(app)

    assert (response.status_code, response.json()["path"]) == (200, "/cart")


async def test_requests_share_the_workers(app: Application) -> None:
    workers = new_workers()

    await asyncio.gather(*[get(app) for _ in range(3)])

    assert len(workers()) == 1


async def test_application_lives_again(app: Application) -> None:
    statuses = []

    for _ in range(2):
        async with living(app):
            statuses.append((await get(app)).status_code)

    assert statuses == [200, 200]


def test_application_moves_to_a_new_event_loop(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a test suite that gives every test its own."""
    workers = new_workers()

    before = asyncio.run(get(app))
    old = workers()
    after = asyncio.run(get(app))
    for worker in old:
        worker.join(PATIENCE_SECONDS)

    assert (before.status_code, after.status_code) == (200, 200)
    assert not workers() & old
    assert caplog.messages == []


@pytest.mark.slow
def test_application_of_environments_leaves_nothing_to_a_new_event_loop(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Application(document(Function(HANDLER, directory), concurrency=1))
    others = children(os.getpid())

    async def asked() -> tuple[int, int]:
        response = await get(app)
        return response.status_code, len(children(os.getpid()) - others)

    first = asyncio.run(asked())
    left = children(os.getpid()) - others
    second = asyncio.run(asked())

    assert first[0] == second[0] == 200
    assert first[1] > 0
    assert left == children(os.getpid()) - others == set()
    assert caplog.messages == []


async def test_request_that_is_cancelled_does_not_end_the_start_for_others(
    app: Application,
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(get(app))
        second = tasks.create_task(get(app))
        await turns_of_the_loop(2)
        first.cancel()

    assert second.result().status_code == 200


async def test_start_that_failed_is_tried_again_at_the_next_request(directory: Path) -> None:
    code = directory / "later"
    app = application("later.handler", code=code)
    with pytest.raises(InvalidSetting, match="--code "):
        await get(app)
    code.mkdir()
    (code / "later.py").write_text(ECHO)

    response = await get(app)

    assert response.status_code == 200


async def test_lifespan_that_is_cancelled_stops_the_workers(app: Application) -> None:
    workers = new_workers()
    life = Life()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(life.run(app))
        await life.ask("startup")
        started = workers()
        task.cancel()
    for worker in started:
        worker.join(PATIENCE_SECONDS)

    assert len(started) == 1
    assert workers() == set()


@pytest.mark.parametrize(
    ("handler", "code", "message"),
    [
        ("gw_none.handler", ".", "Runtime.ImportModuleError: Unable to import module 'gw_none'"),
        (f"{NAME}.none", ".", "Runtime.HandlerNotFound: Handler 'none' missing on module"),
        (f"{NAME}.number", ".", "the handler is a int, not a function; name one: module.function"),
        (HANDLER, "none", "--code "),
        ("gateway.handler", ".", "the module 'gateway' has the name of this program's own package"),
    ],
)
async def test_startup_that_fails_says_why(
    handler: str, code: str, message: str, directory: Path
) -> None:
    life = Life()

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(life.run(application(handler, code=directory / code)))
        answer = await life.ask("startup")

    assert answer["type"] == "lifespan.startup.failed"
    assert answer["message"].startswith(message)


# Listeners


@pytest.mark.parametrize(
    ("changes", "scheme", "port", "host"),
    [
        ({"server": ("192.0.2.1", 80)}, "http", "80", "shop.example.org"),
        ({"server": ("192.0.2.1", 8080)}, "http", "8080", "shop.example.org:8080"),
        ({"server": ("192.0.2.1", 443), "scheme": "https"}, "https", "443", "shop.example.org"),
        ({"server": ("192.0.2.1", 80), "scheme": "https"}, "https", "80", "shop.example.org"),
        ({"server": ("/run/a.sock", None)}, "http", "80", "shop.example.org"),
        ({"server": ("/run/a.sock", None), "scheme": "https"}, "https", "443", "shop.example.org"),
        ({"server": None}, "http", "80", "shop.example.org"),
        ({"scheme": "https"}, "https", "443", "shop.example.org"),
    ],
)
async def test_every_port_is_a_listener_of_its_own(
    changes: Scope, scheme: str, port: str, host: str, app: Application
) -> None:
    await headers_seen(app, server=("192.0.2.1", 9999))

    headers = await headers_seen(app, **changes)

    assert headers["x-forwarded-proto"] == scheme
    assert (headers["x-forwarded-port"], headers["host"]) == (port, host)


async def test_url_of_a_listener_stands_for_every_port(directory: Path) -> None:
    app = application(HANDLER, code=directory, as_url="https://shop.example.org", concurrency=1)

    headers = await headers_seen(app, server=("127.0.0.1", 8080), headers=[(b"host", b"localhost")])

    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("https", "443")
    assert headers["host"] == "shop.example.org"


async def test_websocket_is_refused(app: Application) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)

    assert sent == [{"type": "websocket.close"}]


# Settings


async def test_settings_reach_the_load_balancer(directory: Path) -> None:
    sink = FakeSink()
    app = application(
        HANDLER,
        code=str(directory),
        attributes=["lambda.multi_value_headers.enabled=true"],
        concurrency=1,
        sink=sink,
    )

    response = await get(app)

    assert response.headers["content-length"] == str(len(response.content))
    assert response.json()["multiValueHeaders"]["host"] == ["shop.example.org"]
    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert notice.elb_status == 200


async def test_timeout_is_the_one_asked_for(directory: Path) -> None:
    (directory / f"{NAME}.py").write_text(
        "import threading\n"
        "release = threading.Event()\n"
        "def handler(event, context):\n"
        "    release.wait(5)\n"
    )
    sink = FakeSink()

    response = await get(application(HANDLER, code=directory, timeout_seconds=0.2, sink=sink))
    sys.modules[NAME].release.set()

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert response.status_code == 502
    assert notice.response.forwarding.detail.endswith("Task timed out after 0.20 seconds")


@pytest.mark.parametrize("options", [{"attributes": ["none=1"]}, {"as_url": "shop.example.org"}])
def test_setting_that_cannot_be_used_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        application(HANDLER, **options)


async def test_process_is_left_as_it_is(app: Application) -> None:
    before = dict(os.environ), sys.stdout, sys.stderr

    async with living(app):
        after = dict(os.environ), sys.stdout, sys.stderr

    assert after == before


async def test_application_from_the_environment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_HANDLER", HANDLER)
    monkeypatch.setenv("GATEWAY_CODE", str(directory))
    monkeypatch.setenv("GATEWAY_AS", "https://shop.example.org:8443")
    monkeypatch.setenv(
        "GATEWAY_ATTRIBUTES",
        "routing.http.preserve_host_header.enabled=true "
        "routing.http.xff_header_processing.mode=remove",
    )

    module = await asyncio.to_thread(runpy.run_path, gateway.asgi.__file__)
    headers = await headers_seen(module["app"])

    assert headers["host"] == "shop.example.org"
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("https", "8443")
    assert "x-forwarded-for" not in headers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a=1 b=2", ["a=1", "b=2"]),
        ("a='one two'\n  b=2", ["a=one two", "b=2"]),
        ("\"a=default-src 'self'\" b=2", ["a=default-src 'self'", "b=2"]),
    ],
)
def test_attributes_of_the_environment_are_split_as_a_shell_does(
    text: str, expected: list[str]
) -> None:
    assert gateway.asgi.words(text) == expected


def test_attributes_with_a_quote_too_few_are_an_invalid_setting() -> None:
    with pytest.raises(InvalidSetting, match="GATEWAY_ATTRIBUTES: no closing quotation"):
        gateway.asgi.words("a=it's")


def test_environment_without_a_handler_is_an_invalid_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GATEWAY_HANDLER", raising=False)

    with pytest.raises(InvalidSetting, match="set GATEWAY_HANDLER to module"):
        _ = gateway.asgi.app


def test_module_has_no_other_names() -> None:
    assert not hasattr(gateway.asgi, "applications")


@pytest.mark.slow
async def test_document_with_environments_runs_under_an_asgi_server(directory: Path) -> None:
    one, two = (Function(HANDLER, directory, name) for name in ("shop", "cart"))
    described = Document(
        (
            Listener("shop", port=80, rules=(Rule(1, PathPattern(("/cart",)), "cart"),)),
            Listener("cart", port=8081),
        ),
        (TargetGroup("shop", "shop"), TargetGroup("cart", "cart")),
        (one, two),
    )
    found = []
    app = Application(described)
    async with living(app):
        for url in ("http://a/", "http://a/cart", "http://a:8081/", "http://a:9999/"):
            event = (await get(app, url)).json()
            found.append(event["requestContext"]["elb"]["targetGroupArn"].split("/")[1])

    assert found == ["shop", "cart", "cart", "shop"]
