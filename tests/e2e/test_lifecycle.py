"""How a serving process stops, and what it does for clients that leave and for slow handlers."""

import asyncio
import re
import signal
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ON_THREE, ON_TWO, WITHOUT_TLS, Serve
from tests.e2e.serving import (
    Gate,
    Process,
    Server,
    connect,
    gateway_command,
    get,
    wait_until_refused,
)
from tests.e2e.waiting import code_with_gate, waiting_request
from tests.soaking import IS_SOAK, in_soak

pytestmark = pytest.mark.slow

ECHO = "echo.handler"
LONG = ("--timeout", "60")
STOPPING = [signal.SIGTERM, signal.SIGINT]
EITHER = pytest.mark.parametrize(
    "number", [STOPPING[0], *in_soak(STOPPING[1])], ids=lambda number: number.name
)
REQUESTS = 200 if IS_SOAK else 60
FIELD = re.compile(r'"[^"]*"|\S+')


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared(ECHO, *LONG)


# --- stopping ---


@EITHER
def test_signal_lets_the_running_request_finish(serve: Serve, gate: Gate, number: int) -> None:
    server = serve(ECHO, *LONG)

    with waiting_request(server, gate) as request:
        server.signal(number)
        wait_until_refused(server)
        gate.open()
        answer = request.answer()

    assert answer[0] == 200
    assert answer[1].startswith(b"passed in ")
    assert server.wait() == 0
    assert server.errors.wait_for_end() == []


@ON_TWO
def test_request_that_was_finished_last_is_on_the_console(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, *LONG)

    with waiting_request(server, gate) as request:
        server.signal(signal.SIGTERM)
        wait_until_refused(server)
        gate.open()
        request.answer()
    server.wait()

    assert "/wait" in server.output.wait_for_end()[-1]


@WITHOUT_TLS
def test_second_interrupt_ends_at_once(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, *LONG)

    with waiting_request(server, gate):
        server.signal(signal.SIGINT)
        wait_until_refused(server)
        server.signal(signal.SIGINT)
        server.wait()

    assert not gate.has_been_passed()
    assert server.errors.wait_for_end() == []


@EITHER
def test_idle_server_stops_with_status_0(serve: Serve, number: int) -> None:
    server = serve(ECHO, "--limit", "drain_seconds=0.5")
    with closing(connect(server)) as idle:
        idle.request("GET", "/")
        idle.getresponse().read()

        server.signal(number)

        assert server.wait() == 0
        assert server.errors.wait_for_end() == []


@ON_TWO
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_signal_ends_a_slow_import_at_once(
    tmp_path: Path, gate: Gate, front: list[str], number: int
) -> None:
    code = code_with_gate(tmp_path, f"import gate\ngate.wait_at({str(gate.path)!r})\n")
    command = gateway_command("serve", "app.handler", "--code", str(code), "--port", "0", *front)

    with Process(command) as process:
        gate.wait_entered()
        process.signal(number)

        assert process.wait() == -number
        assert process.output.wait_for_end() == []
        assert process.errors.wait_for_end() == []


def test_thread_of_the_users_does_not_hold_up_a_second_interrupt(
    serve_in_process: Serve, tmp_path: Path, gate: Gate
) -> None:
    linger = f"[threading.main_thread().join(), gate.wait_at({str(gate.path)!r})]"
    code = code_with_gate(
        tmp_path,
        "import threading, gate\n"
        f"threading.Thread(target=lambda: {linger}).start()\n"
        "def handler(event, context): return {'statusCode': 200}\n",
    )
    server = serve_in_process("app.handler", code=code)

    server.signal(signal.SIGINT)
    gate.wait_entered()  # the main thread is done, Python waits for the other one
    server.signal(signal.SIGINT)

    assert server.wait() == -signal.SIGINT
    assert server.errors.wait_for_end() == []


# --- what handlers and clients do ---


def test_server_outlives_handlers_that_want_to_end_it(echo: Server) -> None:
    failed = [get(echo, "/exit")[0], get(echo, "/interrupt")[0]]

    assert failed == [502, 502]
    assert get(echo, "/still-there")[0] == 200


def test_invocation_goes_on_without_its_client(echo: Server, gate: Gate) -> None:
    with httpx.Client(base_url=echo.url, verify=False) as others:
        with waiting_request(echo, gate):
            seconds = 0.0
            while seconds < 0.1:  # a client that left is looked for after 50 ms
                seconds += others.get("/meanwhile").elapsed.total_seconds()
        others.get("/meanwhile")  # by its answer the server has read that the client left
    before = len(echo.output())

    gate.open()

    assert echo.output.wait_for(r"GET +/wait +460 .*\(client left\)$", after=before)
    gate.wait_passed()


@ON_TWO
def test_timeout_is_a_502_and_the_next_request_works(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, "--timeout", "0.2", "--concurrency", "1")

    with waiting_request(server, gate) as request:
        status, _ = request.answer()

    assert status == 502
    assert get(server, "/next")[0] == 200
    server.output.wait_for(r"^    502 LambdaUnhandled: .*Task timed out after 0.20 seconds$")


@ON_THREE
def test_many_requests_at_once_get_their_own_bodies(echo: Server) -> None:
    async def ask_all() -> list[tuple[str, str]]:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(
            base_url=echo.url, limits=limits, timeout=60, verify=False
        ) as client:

            async def ask(number: int) -> tuple[str, str]:
                sent = f"{number}-" * 500
                kind = {"content-type": "text/plain", "x-number": str(number)}
                response = await client.post(f"/{number}", content=sent, headers=kind)
                event = response.json()
                same = event["body"] == sent and event["headers"]["x-number"] == str(number)
                return event["path"], f"/{number}" if same else "another's"

            return await asyncio.gather(*[ask(number) for number in range(REQUESTS)])

    answers = asyncio.run(ask_all())

    assert len(answers) == REQUESTS
    assert [path for path, own in answers if path != own] == []


@ON_TWO
def test_output_of_requests_at_once_is_under_its_own(serve: Serve, gate: Gate) -> None:
    server = serve("printing.handler", *LONG)
    threads = [
        threading.Thread(target=get, args=(server, f"/{number}"), kwargs={"X-Gate": str(gate.path)})
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    gate.wait_entered(8)  # each has printed its first line
    gate.open(8)
    for thread in threads:
        thread.join()
    assert server.stop() == 0

    lines = server.output.wait_for_end()
    for number in range(8):
        [place] = [at for at, line in enumerate(lines) if f" /{number} " in line]
        assert lines[place + 1 : place + 3] == [f"    before {number}", f"    after {number}"]
