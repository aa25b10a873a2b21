"""nginx and HAProxy from the system, each in front of an upstream that says what body it was sent,
and a server of Go's net/http that says so itself.

All inherit a socket that already listens, so that no port is guessed and no test waits for them.
"""

import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.compiled import go_program
from tests.e2e.serving import DEADLINE_SECONDS

PATHS = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin"
"""Debian keeps servers where not every user looks, and Go's own archive has a place of its own."""

INHERITED = 3

Framing = bytes | None
"""The body that a peer sees behind a head, or None for a refusal."""


class Upstream(socketserver.ThreadingTCPServer):
    """Answers with the body it was sent, in a header: HEAD has no other place for it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(socketserver.StreamRequestHandler):
    """Reads one request as a proxy writes it."""

    timeout = DEADLINE_SECONDS

    def handle(self) -> None:
        headers: dict[bytes, bytes] = {}
        self.rfile.readline()
        while line := self.rfile.readline().rstrip(b"\r\n"):
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        body = self._body(headers).hex().encode()
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nX-Body: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            % body
        )

    def _body(self, headers: dict[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            return self.rfile.read(int(headers.get(b"content-length", b"0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body


@contextmanager
def upstream() -> Iterator[int]:
    """Run the upstream; returns its port."""
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(DEADLINE_SECONDS)


NGINX = """
daemon off;
worker_processes 1;
error_log stderr emerg;
pid {directory}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 64
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind fd@{inherited}
    default_backend back
backend back
    server upstream 127.0.0.1:{upstream}
"""


GO = """
package main

import (
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {{
	listener, err := net.FileListener(os.NewFile({inherited}, "listener"))
	if err != nil {{
		panic(err)
	}}
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {{
		body, err := io.ReadAll(r.Body)
		if err != nil {{
			w.WriteHeader(400)
			return
		}}
		w.Header().Set("X-Body", hex.EncodeToString(body))
		w.Header().Set("Content-Length", "0")
		w.Header().Set("Connection", "close")
	}}))
}}
"""


def nginx_command(command: str, file: Path) -> list[str]:
    return [command, "-p", str(file.parent), "-e", "stderr", "-c", str(file)]


def haproxy_command(command: str, file: Path) -> list[str]:
    return [command, "-db", "-q", "-f", str(file)]


def go_command(_command: str, file: Path) -> list[str]:
    """Return what runs the server."""
    return [str(go_program(file.read_text(), "peer"))]


Command = Callable[[str, Path], list[str]]

PEERS: dict[str, tuple[str, Command]] = {
    "nginx": (NGINX, nginx_command),
    "haproxy": (HAPROXY, haproxy_command),
    "go": (GO, go_command),
}


def installed(name: str) -> str | None:
    """Return where a peer is installed."""
    return shutil.which(name, path=PATHS)


@contextmanager
def peer(name: str, directory: Path, upstream_port: int) -> Iterator[int]:
    """Run a peer in front of the upstream; returns its port."""
    text, command_of = PEERS[name]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        file = directory / f"{name}.conf"
        settings = {"port": port, "upstream": upstream_port, "inherited": INHERITED}
        file.write_text(text.format(directory=directory, **settings))
        command = command_of(installed(name) or name, file)
        with inheriting(command, listening) as process:
            yield port
            assert process.poll() is None, f"{name} ended with {process.returncode}"


@contextmanager
def inheriting(
    command: Sequence[str], listening: socket.socket
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that finds a listening socket under a descriptor that it knows of."""

    def hand_over() -> None:
        os.dup2(listening.fileno(), INHERITED)

    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NGINX": f"{INHERITED};"},
        preexec_fn=hand_over,  # noqa: PLW1509 - one system call, in the child alone
        pass_fds=[INHERITED],
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def framed_by(port: int, head: bytes, body: bytes) -> Framing:
    """Return the part of a body that a peer passes on behind a head, None when it refuses."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as connection:
        connection.sendall(head + body)
        response = b""
        while b"\r\n\r\n" not in response:
            received = connection.recv(65536)
            if not received:
                return None
            response += received
    assert not response.startswith((b"HTTP/1.1 502", b"HTTP/1.1 503", b"HTTP/1.1 504")), response
    if not response.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return None
    return bytes.fromhex(response.lower().partition(b"x-body: ")[2].split(b"\r\n")[0].decode())
