"""How a serving process lives: signals, clients that leave, timeouts, reloads, what it prints."""

import asyncio
import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.server.privileges import root_warning
from tests.e2e.conftest import Serve
from tests.e2e.serving import (
    APPS,
    STATE,
    Gate,
    Process,
    Server,
    connect,
    gateway_command,
    get,
    wait_until_refused,
)

pytestmark = pytest.mark.slow

ECHO = "echo.handler"
LONG = ("--timeout", "60")
STOPPING = [signal.SIGTERM, signal.SIGINT]
FIELD = re.compile(r'"[^"]*"|\S+')


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared(ECHO, *LONG)


@contextmanager
def waiting_request(server: Server, gate: Gate) -> Iterator["Waiting"]:
    """Send a request whose handler is at the gate when the block begins."""
    with closing(connect(server)) as connection:
        connection.request("GET", "/wait", headers={"X-Gate": str(gate.path)})
        gate.wait_entered()
        yield Waiting(connection)


class Waiting:
    """A request that has no answer yet."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def answer(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()  # type: ignore[attr-defined]
        return response.status, response.read()


# --- stopping ---


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
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


def test_request_that_was_finished_last_is_on_the_console(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, *LONG)

    with waiting_request(server, gate) as request:
        server.signal(signal.SIGTERM)
        wait_until_refused(server)
        gate.open()
        request.answer()
    server.wait()

    assert "/wait" in server.output.wait_for_end()[-1]


def test_second_interrupt_ends_at_once(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, *LONG)

    with waiting_request(server, gate):
        server.signal(signal.SIGINT)
        wait_until_refused(server)
        server.signal(signal.SIGINT)
        server.wait()

    assert not gate.has_been_passed()
    assert server.errors.wait_for_end() == []


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_idle_server_stops_with_status_0(serve: Serve, number: int) -> None:
    server = serve(ECHO, "--limit", "drain_seconds=0.5")
    with closing(connect(server)) as idle:
        idle.request("GET", "/")
        idle.getresponse().read()

        server.signal(number)

        assert server.wait() == 0
        assert server.errors.wait_for_end() == []


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


def code_with_gate(directory: Path, source: str) -> Path:
    code = directory / "code"
    code.mkdir()
    (code / "app.py").write_text(source)
    (code / "gate.py").write_text((APPS / "gate.py").read_text())
    return code


# --- what handlers and clients do ---


def test_server_outlives_handlers_that_want_to_end_it(echo: Server) -> None:
    failed = [get(echo, "/exit")[0], get(echo, "/interrupt")[0]]

    assert failed == [502, 502]
    assert get(echo, "/still-there")[0] == 200


def test_invocation_goes_on_without_its_client(echo: Server, gate: Gate) -> None:
    with waiting_request(echo, gate), httpx.Client(base_url=echo.url, verify=False) as others:
        seconds = 0.0
        while seconds < 0.1:  # a client that left is looked for after 50 ms
            seconds += others.get("/meanwhile").elapsed.total_seconds()
    before = len(echo.output())

    gate.open()

    assert echo.output.wait_for(r"GET +/wait +460 .*\(client left\)$", after=before)
    gate.wait_passed()


def test_timeout_is_a_502_and_the_next_request_works(serve: Serve, gate: Gate) -> None:
    server = serve(ECHO, "--timeout", "0.2", "--concurrency", "1")

    with waiting_request(server, gate) as request:
        status, _ = request.answer()

    assert status == 502
    assert get(server, "/next")[0] == 200
    server.output.wait_for(r"^    502 LambdaUnhandled: .*Task timed out after 0.20 seconds$")


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

            return await asyncio.gather(*[ask(number) for number in range(200)])

    answers = asyncio.run(ask_all())

    assert len(answers) == 200
    assert [path for path, own in answers if path != own] == []


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


# --- ports ---


def test_port_in_use_is_one_line_with_advice(echo: Server, front: list[str]) -> None:
    command = gateway_command("serve", ECHO, "--code", str(APPS), "--port", str(echo.port), *front)

    with Process(command) as process:
        assert process.wait() == 2
        assert process.output.wait_for_end() == []
        assert process.errors.wait_for_end() == [
            f"gateway: cannot listen on 127.0.0.1:{echo.port}: Address already in use; "
            "choose another --port, 0 for any free one"
        ]


def test_port_is_free_again_after_a_stop(serve: Serve) -> None:
    first = serve(ECHO)
    get(first, "/")
    first.stop()

    second = serve(ECHO, port=first.port)

    assert second.port == first.port
    assert get(second, "/")[0] == 200


# --- what is printed ---


def test_first_lines_say_where_it_listens_and_how_to_try_it(serve: Serve, front: list[str]) -> None:
    server = serve(ECHO)
    isolation = server.output.wait_for("^(in-process|isolation): .+").string

    is_https = server.url.startswith("https:")
    authority = f"{STATE.name}/albgate/ca.pem"
    trust, hints = "", list[str]()
    if is_https:
        trust = f"--cacert {authority} "
        hints = [f"browsers trust this certificate once {authority} is imported as an authority"]
        server.output.wait_for(f"^{hints[0]}$")
    assert server.output() == [
        f"listening on {server.url}",
        f"try: curl -i {trust}'{server.url}/any/path?x=1&x=2'",
        isolation,
        *hints,
        *filter(None, [root_warning()]),
    ]
    assert isolation.startswith("in-process" if "--in-process" in front else "isolation")
    assert ("which AWS never does" in isolation) == ("--in-process" in front)


def test_request_is_a_tidy_line(echo: Server) -> None:
    get(echo, "/tidy?x=1&x=2")

    assert echo.output.wait_for(
        r"^\d\d:\d\d:\d\d GET    /tidy\?x=1&x=2 +200 +\d+\.\d ms \(handler \d+\.\d ms\)$"
    )


def test_output_is_indented_beneath_its_request(echo: Server) -> None:
    before = len(echo.output())
    get(echo, "/print")
    get(echo, "/after")

    echo.output.wait_for("/after", after=before)
    lines = echo.output()
    [place] = [at for at, line in enumerate(lines) if " /print " in line]
    assert lines[place + 1 : place + 3] == ["    first line", r"    second \x1b[31mline"]


def test_502_is_followed_by_the_rule_that_was_broken(echo: Server) -> None:
    get(echo, "/bad-header")

    found = echo.output.wait_for("502 LambdaInvalidResponse")
    assert found.string == (
        "    502 LambdaInvalidResponse: headers.content-length is number 17; must be a string"
    )


def test_handlers_error_is_shown_with_its_trace_and_not_to_the_client(echo: Server) -> None:
    _, body = get(echo, "/raise")

    echo.output.wait_for("^    502 LambdaUnhandled: ValueError: no such customer$")
    echo.output.wait_for(r'^\s+File ".*/echo.py", line \d+, in failing$')
    assert b"customer" not in body


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\x1b[31mred HTTP/1.1\r\nHost: x",
        b"GET /?\x1b]0;title\x07 HTTP/1.1\r\nHost: x",
        b"GET /\xc2\x9b31m HTTP/1.1\r\nHost: x",
        b"\x1b[2J / HTTP/1.1\r\nHost: x",
        b"GET /%1b[31mred HTTP/1.1\r\nHost: \x1b[31m\r\nUser-Agent: \x1b[31m",
    ],
    ids=["path", "query", "8-bit", "method", "headers"],
)
def test_strangers_cannot_drive_the_terminal(echo: Server, head: bytes) -> None:
    before = len(echo.output())
    with closing(connect(echo)) as connection:
        connection.connect()
        connection.sock.sendall(head + b"\r\nConnection: close\r\n\r\n")
        while connection.sock.recv(65536):
            pass
    get(echo, "/after")

    echo.output.wait_for("/after", after=before)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udc9f]", echo.output.text())
    assert echo.errors() == []


def test_quiet_prints_where_it_listens_and_no_more(serve: Serve) -> None:
    server = serve(ECHO, "--quiet")
    get(server, "/print")
    get(server, "/raise")
    server.stop()

    assert server.output.wait_for_end() == [f"listening on {server.url}"]
    assert server.errors.wait_for_end() == []


def test_json_lines_are_for_programs(serve: Serve) -> None:
    server = serve(ECHO, "--log-format", "json")
    get(server, "/print?x=1")
    get(server, "/bad-header")
    server.stop()

    lines = [json.loads(line) for line in server.output.wait_for_end() if line.startswith("{")]
    assert [line["path"] for line in lines] == ["/print", "/bad-header"]
    listener = server.url.replace("127.0.0.1:", "").replace("//", "")
    assert [line["listener"] for line in lines] == [listener, listener]
    assert [line["version"] for line in lines] == ["$LATEST", "$LATEST"]
    for line in lines:
        assert line["target_group_arn"].split("/")[1] == line["function"].replace("_", "-")
    assert lines[0]["query"] == "x=1"
    assert lines[0]["log"] == "first line\nsecond \x1b[31mline\n"
    assert lines[1]["status"] == 502
    assert lines[1]["error_reason"] == "LambdaInvalidResponse"
    assert lines[1]["detail"].startswith("headers.content-length is number 17")


def test_access_log_has_the_33_fields(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    server = serve(ECHO, "--access-log", str(file))
    get(server, '/a%22b?x="y"')
    server.stop()

    [line] = file.read_text().splitlines()
    fields = FIELD.findall(line)
    assert len(fields) == 33
    assert fields[0] == server.url.partition(":")[0]
    assert fields[3].startswith("127.0.0.1:")
    assert fields[8:10] == ["200", "200"]
    assert fields[12].startswith(f'"GET {server.url}/a%22b?x=\\x22y\\x22 HTTP/1.1"')


def test_access_log_can_go_to_stdout(serve: Serve) -> None:
    server = serve(ECHO, "--access-log", "-", "--quiet")
    get(server, "/to-stdout")
    server.stop()

    announced, line = server.output.wait_for_end()
    assert announced.startswith("listening on ")
    assert len(FIELD.findall(line)) == 33


# --- reload ---

CODE = """
import gate

def handler(event, context):
    directory = event["headers"].get("x-gate")
    if directory:
        gate.wait_at(directory)
    return {"statusCode": 200, "body": "version 1"}
"""


# Python writes bytecode for people, and may take it for current after a quick second save.
AS_FOR_PEOPLE = {"PYTHONDONTWRITEBYTECODE": ""}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return code_with_gate(tmp_path, CODE)


def test_saved_code_serves_the_next_request(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code, env=AS_FOR_PEOPLE)
    first = get(server, "/")

    (code / "app.py").write_text(CODE.replace("version 1", "version 2"))
    server.output.wait_for("^reloaded app.handler$")

    assert first == (200, b"version 1")
    assert get(server, "/") == (200, b"version 2")


def test_request_that_runs_keeps_the_old_code(serve: Serve, code: Path, gate: Gate) -> None:
    server = serve("app.handler", "--reload", *LONG, code=code, env=AS_FOR_PEOPLE)

    with waiting_request(server, gate) as request:
        (code / "app.py").write_text(CODE.replace("version 1", "version 2"))
        server.output.wait_for("^reloaded app.handler$")
        gate.open()

        assert request.answer() == (200, b"version 1")


def test_imported_module_is_reloaded_too(serve: Serve, code: Path) -> None:
    (code / "words.py").write_text("WORD = 'old'\n")
    (code / "app.py").write_text(
        "import words\ndef handler(event, context):\n"
        "    return {'statusCode': 200, 'body': words.WORD}\n"
    )
    server = serve("app.handler", "--reload", code=code, env=AS_FOR_PEOPLE)
    first = get(server, "/")

    (code / "words.py").write_text("WORD = 'new'\n")
    server.output.wait_for("^reloaded app.handler$")

    assert (first, get(server, "/")) == ((200, b"old"), (200, b"new"))


def test_no_request_is_lost_while_files_are_saved(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code, env=AS_FOR_PEOPLE)
    over = threading.Event()
    answers: list[tuple[int, bytes]] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, verify=False, timeout=60) as client:
            while not over.is_set():
                response = client.get("/")
                answers.append((response.status_code, response.content))

    get(server, "/")
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 6):
        before = len(server.output())
        (code / "app.py").write_text(CODE.replace("version 1", f"version {version}"))
        server.output.wait_for("^reloaded app.handler$", after=before)
    over.set()
    for thread in threads:
        thread.join()

    assert {status for status, _ in answers} == {200}
    assert {body for _, body in answers} <= {b"version %d" % number for number in range(1, 6)}
    assert get(server, "/") == (200, b"version 5")


def test_syntax_error_is_printed_and_the_code_before_it_serves(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code, env=AS_FOR_PEOPLE)
    get(server, "/")

    (code / "app.py").write_text("def handler(event, context)\n    return {}\n")
    server.output.wait_for("^could not reload app.handler:$")
    server.output.wait_for(r"^    Runtime.UserCodeSyntaxError: .*expected ':' \(app.py, line 1\)$")
    meanwhile = get(server, "/")
    before = len(server.output())
    (code / "app.py").write_text(CODE.replace("version 1", "fixed"))
    server.output.wait_for("^reloaded app.handler$", after=before)

    assert meanwhile == (200, b"version 1")
    assert get(server, "/") == (200, b"fixed")


def test_reload_starts_with_code_that_is_broken(serve: Serve, code: Path) -> None:
    (code / "app.py").write_text("import no_such_module_anywhere\n")
    server = serve("app.handler", "--reload", code=code, env=AS_FOR_PEOPLE)
    broken = get(server, "/")

    (code / "app.py").write_text(CODE)
    server.output.wait_for("^reloaded app.handler$")

    assert broken[0] == 502
    server.output.wait_for("No module named 'no_such_module_anywhere'")
    assert get(server, "/") == (200, b"version 1")
