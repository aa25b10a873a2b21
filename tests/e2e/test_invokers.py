"""The same handler behind every invoker: each command of the README's table answers the same.

The emulator is AWS's own with AWS's runtime client. The Lambda endpoint is a server of the test: it
has botocore judge every signature, and an emulator behind it runs the function.
"""

import base64
import json
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.curl import curl, page
from tests.e2e.serving import ROOT, Process, Server, gateway_command, get
from tests.invokers.signature import ACCESS_KEY, SECRET_KEY, TOKEN, check_signed
from tests.runtime.rie import Emulator, emulating

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it"),
]

REGION = "eu-west-1"
TARGET = "/2015-03-31/functions/my-fn/invocations?Qualifier=prod"
LOG = "START RequestId: 1 Version: 7\nhello from the log\nEND RequestId: 1\n"
REMOTE_MODULES = ("botocore", "gateway.compose.remote", "gateway.wire.client", "urllib.request")

FUNCTION = """
import base64, json, sys

def handler(event, context):
    path = event["path"]
    if path == "/raise":
        raise ValueError("no such customer")
    if path == "/null":
        return None
    if path == "/unfit":
        return {"statusCode": "200"}
    if path == "/binary":
        body = base64.b64encode(bytes(range(256))).decode()
        headers = {"Content-Type": "image/png"}
        return {"statusCode": 200, "headers": headers, "body": body, "isBase64Encoded": True}
    if path == "/cookie":
        return {"statusCode": 201, "headers": {"Set-Cookie": "a=1", "X-Any": "1"}, "body": ""}
    if path == "/modules":
        return {"statusCode": 200, "body": json.dumps(sorted(sys.modules))}
    names = ("httpMethod", "path", "queryStringParameters", "body", "isBase64Encoded")
    seen = {name: event[name] for name in names}
    seen["kind"] = event["headers"].get("content-type")
    return {"statusCode": 404 if path == "/missing" else 200, "body": json.dumps(seen)}
"""
VARIABLES = {"PATH": str(Path(sys.executable).parent), "PYTHONDONTWRITEBYTECODE": "1"}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_EC2_METADATA_DISABLED": "true",
}
JSON = ("-H", "Content-Type: application/json; charset=utf-8", "--data-raw", '{"name": "Zoë"}')
REQUESTS: list[tuple[str, ...]] = [
    ("/any/path?x=1&x=2",),
    ("/caf%C3%A9/a%2Fb?q=%20+",),
    ("/json", *JSON),
    ("/form", "-d", "a=1&b=%20"),
    ("/put", "-X", "PUT", "-H", "Content-Type: image/png", "--data-raw", "\x01\x02"),
    ("/head", "--head"),
    ("/large", "-H", "Content-Type: text/plain", "-d", "x" * 100_000),
    ("/binary",),
    ("/cookie",),
    ("/missing",),
    ("/raise",),
    ("/null",),
    ("/unfit",),
]
"""What curl is asked for: a path, and options."""

Answers = list[tuple[int, list[tuple[str, str]], bytes]]


def commands() -> list[str]:
    """Return the commands of the README's table."""
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## The same handler behind the invokers\n")[2].partition("\n## ")[0]
    return re.findall(r"^\|.*\| `gateway (serve [^`]+)` \|$", section, re.MULTILINE)


@dataclass
class Endpoint:
    """A Lambda endpoint for one function; it does what AWS's would do, one at a time."""

    emulator: Emulator
    problems: list[str] = field(default_factory=list)
    """What was wrong with requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, head: bytes, body: bytes, target: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the response to a request."""
        with self.lock:
            try:
                check_signed(head, body, REGION)
                assert target == TARGET
            except AssertionError as error:
                self.problems.append(str(error))
                return 403, {"x-amzn-errortype": "InvalidSignatureException"}, b"{}"
            _, payload = self.emulator.invoke(body)
        given = {"X-Amz-Executed-Version": "7"}
        if b'"errorType"' in payload:
            given["X-Amz-Function-Error"] = "Unhandled"
        if b"x-amz-log-type: tail" in head.lower():
            given["X-Amz-Log-Result"] = base64.b64encode(LOG.encode()).decode()
        return 200, given, payload


@contextmanager
def lambda_endpoint(emulator: Emulator) -> Iterator[tuple[str, Endpoint]]:
    """Serve the Invoke API for an emulator's function; yields the URL."""
    endpoint = Endpoint(emulator)

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
            head = f"{self.requestline}\r\n{''.join(lines)}\r\n".encode("latin-1")
            status, headers, payload = endpoint.answer(head, body, self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", endpoint
        finally:
            server.shutdown()
            thread.join()


@dataclass
class World:
    """The function, two emulators that run it, and a Lambda endpoint in front of a third."""

    code: Path
    emulators: list[str]
    endpoint_url: str
    endpoint: Endpoint

    @contextmanager
    def serving(self, command: str, *options: str, **variables: str) -> Iterator[Server]:
        """Run a command of the README in the directory of the code, on a free port."""
        line = command.replace("http://127.0.0.1:5000", self.endpoint_url)
        for number, url in enumerate(self.emulators):
            line = line.replace(f"http://127.0.0.1:{9000 + number}", url)
        whole = gateway_command(*shlex.split(line), "--port", "0", *options)
        known = {**CREDENTIALS, "AWS_ENDPOINT_URL_LAMBDA": self.endpoint_url, **variables}
        with Server(whole, cwd=self.code, env=known) as server:
            yield server.wait_until_listening()
            assert server.stop() == 0
            assert server.errors.wait_for_end() == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    code = tmp_path_factory.mktemp("code")
    (code / "app.py").write_text(FUNCTION)
    with ExitStack() as stack:
        *pool, behind = [stack.enter_context(emulating(code, VARIABLES)) for _ in range(3)]
        url, endpoint = stack.enter_context(lambda_endpoint(behind))
        urls = [f"http://127.0.0.1:{each._port}" for each in pool]
        yield World(code, urls, url, endpoint)


def answers(server: Server) -> Answers:
    """Return what curl sees of each request but the time."""
    found: Answers = []
    for path, *options in REQUESTS:
        reply = curl(server.url + path, *options)
        headers = [pair for pair in reply.headers if pair[0] != "date"]
        found.append((reply.status, headers, reply.body))
    return found


@pytest.fixture(scope="module")
def expected(world: World) -> Answers:
    """What the handler answers in-process."""
    with world.serving("serve app.handler --in-process") as server:
        return answers(server)


def test_readme_has_a_command_for_every_invoker() -> None:
    found = commands()

    assert len(found) == 5
    assert sum("--in-process" in each for each in found) == 1
    assert sum("--rie" in each for each in found) == 1
    assert sum("--function" in each for each in found) == 2


def test_answers_are_what_the_function_says(expected: Answers) -> None:
    by_path = {path: each for (path, *_), each in zip(REQUESTS, expected, strict=True)}

    assert json.loads(by_path["/any/path?x=1&x=2"][2])["queryStringParameters"] == {"x": "2"}
    assert json.loads(by_path["/json"][2])["body"] == '{"name": "Zoë"}'
    assert by_path["/binary"][2] == bytes(range(256))
    assert ("set-cookie", "a=1") in by_path["/cookie"][1]
    for path in ("/raise", "/null", "/unfit"):
        assert by_path[path][::2] == (502, page("502 Bad Gateway"))


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_answers_the_same(
    world: World, expected: Answers, command: str
) -> None:
    with world.serving(command) as server:
        found = answers(server)

    assert found == expected
    assert world.endpoint.problems == []


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("serve --rie http://127.0.0.1:9000 --rie http://127.0.0.1:9001", "remote: 2 emulators"),
        ("serve --rie http://127.0.0.1:9000", "remote: 1 emulator"),
        (
            "serve --function my-fn:prod --region eu-west-1",
            "remote: Lambda my-fn:prod in eu-west-1 at {endpoint}",
        ),
    ],
)
def test_start_says_where_invocations_go(world: World, command: str, line: str) -> None:
    with world.serving(command) as server:
        said = server.output.wait_for("^remote: ").string

    assert said == line.format(endpoint=world.endpoint_url)


def test_crowd_is_more_than_the_emulators_and_none_of_them_breaks(world: World) -> None:
    command = "serve --rie http://127.0.0.1:9000 --rie http://127.0.0.1:9001 --queue-timeout 20"
    statuses: list[int] = []
    with world.serving(command) as server:

        def ask() -> None:
            statuses.append(get(server, "/any/path")[0])

        crowd = [threading.Thread(target=ask) for _ in range(12)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()

    assert statuses == [200] * 12


def test_tail_of_the_log_is_under_its_request(world: World) -> None:
    command = "serve --function my-fn:prod --region eu-west-1 --log-type Tail"
    with world.serving(command) as server:
        get(server, "/any/path")
        server.output.wait_for(r"^    END RequestId: 1$")
        lines = server.output()

    begin = next(number for number, line in enumerate(lines) if " /any/path " in line)
    assert lines[begin + 1 : begin + 4] == [f"    {line}" for line in LOG.splitlines()]


def test_wrong_secret_is_refused_and_never_shown(world: World) -> None:
    command = "serve --function my-fn:prod --region eu-west-1"
    with world.serving(command, AWS_SECRET_ACCESS_KEY="wrong") as server:
        status, body = get(server, "/any/path")
        said = server.output.wait_for("LambdaAccessDenied").string
        everything = server.output.text()
    world.endpoint.problems.clear()

    assert (status, body) == (502, page("502 Bad Gateway"))
    assert said.strip().startswith("502 LambdaAccessDenied: Lambda answered 403")
    assert "wrong" not in everything
    assert TOKEN not in everything


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--region", REGION], "no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY"),
        ([], "no AWS region was found; give --region, or set AWS_REGION"),
        (["--profile", "nosuch"], "the AWS region cannot be found: The config profile (nosuch)"),
    ],
)
def test_what_is_missing_is_one_line_before_the_port_is_open(
    tmp_path: Path, options: list[str], line: str
) -> None:
    none = str(tmp_path / "none")
    variables = {"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none}
    variables["AWS_EC2_METADATA_DISABLED"] = "true"
    command = gateway_command("serve", "--function", "my-fn", "--port", "0", *options)
    with Process(command, env=variables) as process:
        status = process.wait()
        output, errors = process.output.wait_for_end(), process.errors.wait_for_end()

    assert (status, output) == (2, [])
    assert [said[: len(line) + 9] for said in errors] == [f"gateway: {line}"]


def test_service_that_is_gone_opens_the_circuit(world: World) -> None:
    command = f"serve --function my-fn --region {REGION} --endpoint-url http://127.0.0.1:1"
    with world.serving(command, "--circuit-failures", "2") as server:
        statuses = [get(server, "/any/path")[0] for _ in range(3)]
        server.output.wait_for("fails and is left alone for 10 s")
        server.output.wait_for("LambdaConnectionError: .* fails, it is tried again in")

    assert statuses == [502] * 3


def test_local_handler_does_without_the_remote_parts(world: World) -> None:
    with world.serving("serve app.handler --in-process") as server:
        modules = json.loads(get(server, "/modules")[1])

    assert "gateway.compose.functions" in modules
    assert set(REMOTE_MODULES) & set(modules) == set()
