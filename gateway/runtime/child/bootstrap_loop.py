"""The Runtime API loop of our own bootstrap: loads the handler and serves one invocation after the
other.

It answers an invocation and asks for the next one in one write, which the Runtime API server
answers in one: two system calls per invocation on each side. The socket is spoken to directly
because http.client takes 100 microseconds per request (lambda.md 1.2; the server at the other end
is always the gateway's own).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, NoReturn

from . import bootstrap, marshaller, packages, search
from .lambda_context import FunctionSettings, LambdaContext
from .logs import configure_logging

API = "/2018-06-01/runtime"
READ_BYTES = 65_536
ALL_ANSWERED = 202

RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
"""The one error type that is named beside the payload: AWS's client names none, and this is the
platform's word."""

FRAME_TYPE = 0xA55A0003
"""Text; OR-ed with the bits of a level (lambda.md 1.9)."""

JSON_FRAME_TYPE = 0xA55A0002
LEVEL_BITS = {"TRACE": 4, "DEBUG": 8, "INFO": 12, "WARNING": 16, "ERROR": 20, "CRITICAL": 24}
OWN_MODULES = ("bootstrap_loop", "logs", "marshaller", "packages", "search")
"""Those that AWS's package does not have."""

TRACE_ID_KEY = os.environ.encodekey("_X_AMZN_TRACE_ID")


def preload() -> None:
    """Load what a process of this runtime loads later; the fork server does so once for all."""
    load_orjson(importlib.import_module)
    search.forget("orjson")


def load_orjson(load: Callable[[str], Any]) -> None:
    """Read and write JSON fast from now on, if the function or the interpreter has orjson.

    It takes 10 ms. A function's own may be anything.
    """
    with contextlib.suppress(Exception):
        found = load("orjson")
        if callable(found.loads) and callable(found.dumps):
            marshaller.orjson = found


class Message(NamedTuple):
    """A response of the Runtime API; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RuntimeApi:
    """A connection to the Runtime API of this execution environment."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._host = f" HTTP/1.1\r\nHost: {address}\r\n"
        self._next = f"GET {API}/invocation/next{self._host}\r\n".encode()
        self._received = b""

    def first(self) -> Message:
        """Return the first event."""
        self._socket.sendall(self._next)
        return self._read()

    def answer(
        self, path: str, payload: bytes, headers: str, meanwhile: Callable[[], None] | None = None
    ) -> Message:
        """Post what an invocation came to and return the next event; `meanwhile` runs while the
        caller has its answer already."""
        self._socket.sendall(self._post(path, payload, headers) + self._next)
        if meanwhile is not None:
            meanwhile()
        answered = self._read()
        if answered.status != ALL_ANSWERED:
            sys.stderr.write(f"{path}: {answered.status} {answered.body!r}\n")
        return self._read()

    def tell_packages(self, names: list[str]) -> None:
        """Say which packages the function has taken from this machine; any answer will do."""
        listed = ",".join(name for name in names if name.isascii())
        self._socket.sendall(self._post(f"packages?{listed}", b"", ""))
        self._read()

    def give_up(self, path: str, payload: bytes, headers: str) -> None:
        """Post an error that is the last word of this process."""
        self._socket.sendall(self._post(path, payload, headers))
        self._read()

    def _post(self, path: str, payload: bytes, headers: str) -> bytes:
        head = f"POST {API}/{path}{self._host}Content-Type: application/json\r\n{headers}"
        return (
            f"{head}Content-Length: {len(payload)}\r\n\r\n".encode("latin-1", "replace") + payload
        )

    def _read(self) -> Message:
        """Return the next response; ends the process when the Runtime API is gone."""
        data = self._received
        end = data.find(b"\r\n\r\n")
        while end < 0:
            data += self._receive()
            end = data.find(b"\r\n\r\n")
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines[1:])}
        start = end + 4
        stop = start + int(headers.get("content-length", 0))
        if len(data) < stop:
            data = self._completed(data, stop)
        self._received = data[stop:]
        return Message(int(lines[0][9:12]), headers, data[start:stop])

    def _completed(self, data: bytes, size: int) -> bytes:
        pieces = [data]
        missing = size - len(data)
        while missing > 0:
            pieces.append(self._receive())
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _receive(self) -> bytes:
        # A process that is killed in poll(2) has read nothing of what came at that moment, and its
        # connection tells; recv(2) would take it along, and whether it ran could not be told.
        self._readable.poll()
        data = self._socket.recv(READ_BYTES)
        if not data:
            os._exit(0)  # the gateway has gone
        return data


class Unbuffered:
    """A text stream that writes at once, as AWS's runtime has it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write a text."""
        self._stream.write(text)
        self._stream.flush()

    def writelines(self, texts: list[str]) -> None:
        """Write texts."""
        self._stream.writelines(texts)
        self._stream.flush()


class Log:
    """Where log entries go: the framed log pipe, which keeps entries of several lines whole, or
    standard output."""

    def __init__(self) -> None:
        text = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", "")
        self._pipe = int(text) if text.isdigit() else -1

    def write(self, text: str, level: str = "INFO", *, is_json: bool = False) -> None:
        """Write one entry."""
        if self._pipe < 0:
            sys.stdout.write(text.replace("\n", "\r") + "\n")
            return
        message = text.encode()  # AWS's client, too, raises for a lone surrogate
        kind = (JSON_FRAME_TYPE if is_json else FRAME_TYPE) | LEVEL_BITS.get(level, 0)
        head = kind.to_bytes(4, "big") + len(message).to_bytes(4, "big")
        data = memoryview(head + (time.time_ns() // 1000).to_bytes(8, "big") + message)
        while data:
            data = data[os.write(self._pipe, data) :]


class State:
    """What others ask of the invocation that runs."""

    request_id = ""


def main() -> None:
    """Serve until the gateway is gone; raises SystemExit when the handler cannot be loaded."""
    with contextlib.suppress(ConnectionError):
        serve()


def serve() -> NoReturn:
    """Load the handler and serve one invocation after the other."""
    imports = packages.watched(search.arrange())
    hide_own_modules()
    sys.stdout, sys.stderr = Unbuffered(sys.stdout), Unbuffered(sys.stderr)
    log = Log()
    settings = FunctionSettings.from_environ(os.environ)
    is_json = settings.json_log
    names_level = is_json or bool(os.environ.get("AWS_LAMBDA_LOG_LEVEL"))
    set_up_logging(log, is_json=is_json, names_level=names_level)
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    handler = load(api, log, settings)
    tell_news(api, imports)
    answer = answered(api, handle(handler, api.first(), settings, log))
    tell_news(api, imports)
    meanwhile = None if marshaller.orjson else partial(load_orjson, imports.load_unseen)
    message = api.answer(*answer, meanwhile)
    while True:
        answer = answered(api, handle(handler, message, settings, log))
        if imports.pending:
            tell_news(api, imports)
        message = api.answer(*answer)


def hide_own_modules() -> None:
    """Leave of this runtime what can be imported on Lambda, too."""
    package = sys.modules["awslambdaric"]
    package.__path__ = []
    for name in OWN_MODULES:
        del sys.modules[f"awslambdaric.{name}"]
        delattr(package, name)


def tell_news(api: RuntimeApi, imports: packages.Packages) -> None:
    """Tell the gateway which packages were imported since the last time, if there are any."""
    if names := imports.news():
        api.tell_packages(names)


def set_up_logging(log: Log, *, is_json: bool, names_level: bool) -> None:
    """Give the root logger AWS's format; its entries go through the log pipe."""
    output = configure_logging(lambda: State.request_id)

    def emit(record: logging.LogRecord) -> None:
        level = record.levelname if names_level else ""  # text names its level itself
        log.write(output.format(record).rstrip("\n"), level, is_json=is_json)

    output.emit = emit  # type: ignore[method-assign]


def load(api: RuntimeApi, log: Log, settings: Any) -> Any:
    """Return the handler, or report why it cannot be loaded and end."""
    try:
        return bootstrap.load_handler(os.environ.get("_HANDLER", ""))
    except bootstrap.InitError as error:
        if isinstance(error.__cause__, (SystemExit, KeyboardInterrupt, GeneratorExit)):
            leave(error.__cause__)
        outcome = bootstrap.failed(error, "", settings)
        log.write(outcome.log, "ERROR", is_json=settings.json_log)
        api.give_up("init/error", outcome.payload, error_type_header(error.error_type))
        sys.exit(1)


def leave(error: BaseException) -> NoReturn:
    """End as Python does on this, whose last words have been written already."""
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    code = error.code if isinstance(error, SystemExit) else 1
    raise SystemExit(code if code is None or isinstance(code, int) else 1)


def handle(handler: Any, message: Message, settings: Any, log: Log) -> tuple[str, bytes, str]:
    """Run the handler and return where its answer goes, the answer and headers for it."""
    headers = message.headers
    request_id = State.request_id = headers.get("lambda-runtime-aws-request-id", "")
    set_trace_id(headers.get("lambda-runtime-trace-id"))
    echo = headers.get("lambda-runtime-invocation-id", "")
    echoed = f"Lambda-Runtime-Invocation-Id: {echo}\r\n" if echo else ""
    try:
        context = context_of(headers, settings)
    except marshaller.Fault as fault:
        outcome = bootstrap.failed(fault, request_id, settings)
    else:
        outcome = bootstrap.answer(handler, message.body, context, settings)
    if not outcome.function_error:
        return f"invocation/{request_id}/response", outcome.payload, echoed
    if outcome.log:
        log.write(outcome.log, "ERROR", is_json=settings.json_log)
    is_ours = outcome.error_type == RESPONSE_TOO_LARGE
    kind = error_type_header(outcome.error_type) if is_ours else ""
    return f"invocation/{request_id}/error", outcome.payload, echoed + kind


def answered(api: RuntimeApi, answer: tuple[str, bytes, str]) -> tuple[str, bytes, str]:
    """Return the answer; ends the process with a response that is too large, as AWS's client does,
    which the platform refuses it."""
    if RESPONSE_TOO_LARGE in answer[2]:
        api.give_up(*answer)
        sys.stderr.write("RuntimeError: Failed to post invocation response\n")
        sys.exit(1)
    return answer


def error_type_header(error_type: str) -> str:
    """Return the header line that names an error."""
    word = error_type.encode("ascii", "replace").decode().replace("\r", " ").replace("\n", " ")
    return f"Lambda-Runtime-Function-Error-Type: {word}\r\n"


def context_of(headers: dict[str, str], settings: Any) -> Any:
    """Return the handler's context; raises Fault for what is not JSON."""
    return LambdaContext(
        settings,
        headers.get("lambda-runtime-aws-request-id", ""),
        int(headers.get("lambda-runtime-deadline-ms", 0)),
        headers.get("lambda-runtime-invoked-function-arn"),
        parsed(headers, "lambda-runtime-client-context", "Client Context"),
        parsed(headers, "lambda-runtime-cognito-identity", "Cognito Identity"),
        headers.get("lambda-runtime-aws-tenant-id"),
    )


def parsed(headers: dict[str, str], name: str, said: str) -> Any:
    """Return the JSON of a header, None without it; raises Fault."""
    if name not in headers:
        return None
    try:
        return json.loads(headers[name].encode("latin-1"))
    except ValueError as error:
        kind = "Runtime.LambdaContextUnmarshalError"
        raise marshaller.Fault(kind, f"Unable to parse {said} JSON: {error}") from error


def set_trace_id(trace_id: str | None) -> None:
    """Set the variable that X-Ray reads; without putenv, which never frees a value."""
    variables = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    if trace_id:
        variables[TRACE_ID_KEY] = os.environ.encodevalue(trace_id)
    else:
        variables.pop(TRACE_ID_KEY, None)
