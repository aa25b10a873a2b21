"""A gateway that root starts with `--user`: every process is the user's, and limits still hold."""

import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from tempfile import mkdtemp

import pytest
import trustme

from gateway.server.privileges import WARNING
from tests.e2e.leftovers import descendants
from tests.e2e.serving import DEADLINE_SECONDS, ROOT, SHARED, Process, Server
from tests.process.rooms import UNPRIVILEGED, become_unprivileged, unprivileged_python
from tests.soaking import in_soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]

PURELIB = sysconfig.get_path("purelib")

HANDLER = """
import json
HELD = []
def handler(event, context):
    while event["path"] == "/eat":
        HELD.append(bytearray(b"x" * 10_000_000))
    with open("/proc/self/status") as file:
        pairs = [line.split(":\\t") for line in file if ":\\t" in line]
    return {"statusCode": 200, "body": json.dumps({key: value.split() for key, value in pairs})}
"""

WAYS = [
    *[(), ("--workers", "2"), ("--in-process", "--server", "uvicorn")],
    *in_soak(("--in-process",)),
]

ACTIVATE = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a directory that UNPRIVILEGED may read, with a handler."""
    folder = Path(mkdtemp(prefix="user-", dir=SHARED))
    folder.chmod(0o755)
    (folder / "app.py").write_text(HANDLER)
    yield folder
    shutil.rmtree(folder)


def command(folder: Path, *options: str, user: str = UNPRIVILEGED) -> list[str]:
    arguments = ["serve", "app.handler", "--code", str(folder), "--user", user, *options]
    if not {"--uds", "--port"} & {*options}:
        arguments += ["--port", "0"]
    return [unprivileged_python(), "-m", "gateway", *arguments]


ENV = {"PYTHONPATH": f"{ROOT}:{PURELIB}"}


@contextmanager
def serving_unprivileged(
    folder: Path, *options: str, before: tuple[str, ...] = ()
) -> Iterator[Server]:
    with Server([*before, *command(folder, *options)], env=ENV, cwd=Path("/")) as server:
        yield server.wait_until_listening(r"listening on (?P<url>(https?://|unix:)\S+)")
        assert server.stop() == 0
        assert server.errors.wait_for_end() == []


def body_of(connection: HTTPConnection, path: str = "/") -> tuple[int, bytes]:
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def http(server: Server) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)


def rights(pid: int) -> dict[str, list[str]]:
    """Return the user and the rights of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":\t") for line in lines if ":\t" in line)
    wanted = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb")
    return {key: value.split() for key, value in pairs if key in wanted}


def unprivileged_rights() -> dict[str, list[str]]:
    found = pwd.getpwnam(UNPRIVILEGED)
    ids = {"Uid": [str(found.pw_uid)] * 4, "Gid": [str(found.pw_gid)] * 4}
    groups = map(str, os.getgrouplist(UNPRIVILEGED, found.pw_gid))
    none = {name: ["0" * 16] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    return ids | none | {"Groups": list(groups)}


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_every_process_is_the_users(folder: Path, way: tuple[str, ...]) -> None:
    with serving_unprivileged(folder, *way) as server:
        status, body = body_of(http(server))
        found = [rights(pid) for pid in (server.pid, *descendants(server.pid))]
        text = server.output.text()

    assert status == 200
    handlers = json.loads(body)
    assert {key: handlers[key] for key in unprivileged_rights()} == unprivileged_rights()
    assert len(found) >= (1 if "--in-process" in way else 3)
    assert all(one == unprivileged_rights() for one in found)
    assert WARNING not in text


@pytest.mark.parametrize("way", [(), *in_soak(("--workers", "2"))], ids=" ".join)
def test_limit_of_memory_holds(folder: Path, way: tuple[str, ...]) -> None:
    with serving_unprivileged(folder, *way) as server:
        server.output.wait_for("^isolation: ")
        if "memory limited by control group" not in server.output.text():
            pytest.skip("root can make no control group that limits memory here")
        groups = {
            line for pid in descendants(server.pid) for line in groups_of(pid) if "memory" in line
        }
        status, _ = body_of(http(server), "/eat")
        after, _ = body_of(http(server))
        server.output.wait_for("killed")

    assert (status, after) == (502, 200)
    assert all("/of-gateway-" in group for group in groups)


def groups_of(pid: int) -> list[str]:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return []


def test_former_groups_are_removed_by_the_next_start(folder: Path) -> None:
    with serving_unprivileged(folder) as server:
        first = server.pid
    between = former_groups(first)
    with serving_unprivileged(folder):
        after = former_groups(first)

    assert between
    assert after == []


def former_groups(pid: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob(f"of-gateway-{pid}-*"))


def test_port_of_root_is_served(folder: Path) -> None:
    with socket.socket() as probe:
        for port in range(1023, 512, -1):
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                break
    with serving_unprivileged(folder, "--port", str(port)) as server:
        assert server.port == port
        assert body_of(http(server))[0] == 200


def test_unix_socket_is_the_users(folder: Path) -> None:
    path = folder / "gateway.sock"
    with serving_unprivileged(folder, "--uds", str(path)):
        assert path.owner() == UNPRIVILEGED
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("way", [(), *in_soak(("--workers", "2"))], ids=" ".join)
def test_socket_of_a_service_manager_is_served(folder: Path, way: tuple[str, ...]) -> None:
    activate = (unprivileged_python(), "-c", ACTIVATE)
    with serving_unprivileged(folder, *way, before=activate) as server:
        assert body_of(http(server))[0] == 200


@pytest.mark.parametrize(
    "way", [("--reload",), *in_soak(("--in-process", "--reload"))], ids=" ".join
)
def test_changed_code_is_taken_in(folder: Path, way: tuple[str, ...]) -> None:
    with serving_unprivileged(folder, *way) as server:
        (folder / "app.py").write_text(HANDLER.replace('"statusCode": 200', '"statusCode": 201'))
        server.output.wait_for("^.*reloaded app.handler")
        assert body_of(http(server))[0] == 201


@pytest.mark.parametrize("way", [("--workers", "2"), *in_soak((), ("--in-process",))], ids=" ".join)
def test_hangup_reloads(folder: Path, way: tuple[str, ...]) -> None:
    with serving_unprivileged(folder, *way) as server:
        (folder / "app.py").write_text(HANDLER.replace('"statusCode": 200', '"statusCode": 201'))
        server.signal(signal.SIGHUP)
        server.output.wait_for("reloaded app.handler|^replaced 2 workers")
        assert body_of(http(server))[0] == 201
        assert rights(server.pid) == unprivileged_rights()


@pytest.mark.parametrize("way", [(), *in_soak(("--workers", "2"))], ids=" ".join)
def test_logs_are_made_for_the_user(folder: Path, way: tuple[str, ...]) -> None:
    access, functions = folder / "access.log", folder / "logs" / "functions"
    options = ("--access-log", str(access), "--function-logs", str(functions))
    with serving_unprivileged(folder, *way, *options) as server:
        assert body_of(http(server))[0] == 200

    assert access.owner() == functions.owner() == UNPRIVILEGED
    assert len(access.read_text().splitlines()) == 1
    assert any(path.is_file() for path in functions.rglob("*"))


def refused(*given: str, **settings: object) -> str:
    """Return the one line of a start that is refused."""
    with Process(list(given), env=ENV, cwd=Path("/"), **settings) as process:  # type: ignore[arg-type]
        assert process.wait() == 2, process.output.text()
        (line,) = process.errors.wait_for_end()
    return line


def test_log_that_the_user_may_not_write_to_is_refused(folder: Path) -> None:
    log = folder / "access.log"
    log.touch(0o600)
    line = refused(*command(folder, "--access-log", str(log)))

    assert line == f"gateway: --user {UNPRIVILEGED} may not write to {log}"


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("nosuchuser", "--user nosuchuser: getpwnam(): name not found: 'nosuchuser'"),
        (f"{UNPRIVILEGED}:nosuchgroup", "getgrnam(): name not found: 'nosuchgroup'"),
        ("root", "--user root: that is root; name a user without rights"),
    ],
)
def test_user_that_cannot_be_is_refused(folder: Path, user: str, said: str) -> None:
    assert said in refused(*command(folder, user=user))


def test_user_is_for_root(folder: Path) -> None:
    line = refused(*command(folder), before_exec=become_unprivileged)
    user, number = UNPRIVILEGED, unprivileged().pw_uid
    assert line == f"gateway: --user {user} is for root; this process is user {number}"


def unprivileged() -> pwd.struct_passwd:
    return pwd.getpwnam(UNPRIVILEGED)


def certificate(folder: Path) -> Path:
    """Return the file of a certificate and a key that only root may read."""
    path = folder / "site.pem"
    pem = trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    path.touch(0o600)
    path.write_bytes(pem.bytes())
    return path


def test_key_of_root_is_read_before_and_stays_when_it_changes(folder: Path) -> None:
    path = certificate(folder)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with serving_unprivileged(folder, "--certificate", str(path)) as server, ExitStack() as stack:
        for _ in range(2):
            client = HTTPSConnection("127.0.0.1", server.port, context=context)
            assert body_of(client)[0] == 200
            certificate(folder)
            server.output.wait_for("the certificate before it stays in use")
        stack.callback(client.close)


def test_workers_have_to_read_the_key(folder: Path) -> None:
    path = certificate(folder)
    line = refused(*command(folder, "--certificate", str(path), "--workers", "2"))
    assert f"{path}" in line
    assert "Permission denied" in line


def test_root_without_a_user_is_told(folder: Path) -> None:
    given = [unprivileged_python(), "-m", "gateway", "serve", "app.handler", "--port", "0"]
    given += ["--code", str(folder)]
    for before_exec, count in ((None, 1), (become_unprivileged, 0)):
        with Server(given, env=ENV, before_exec=before_exec, cwd=Path("/")) as one:
            one.wait_until_listening()
            one.output.wait_for("^isolation")
            assert one.stop() == 0
            assert one.output.wait_for_end().count(WARNING) == count
