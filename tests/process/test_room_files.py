"""What a function sees and changes of the machine's files, devices and sockets: attacks from inside
environments of the whole command."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Process, gateway_command
from tests.process.rooms import FORKED, SELF, Attacked, attacked
from tests.runtime.launching import need_room

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="rooms need Linux"),
]


@pytest.fixture
def room(each_user: Attacked) -> Attacked:
    return each_user


SHARED = "/var/tmp"
"""A directory of the machine that a room shows."""


@pytest.fixture
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHARED) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make this")


# /dev


def test_dev_has_what_lambda_has_and_nothing_else(room: Attacked) -> None:
    found = room.probe("print(sorted(os.listdir('/dev')))")

    assert eval(found) == [
        *("fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero")
    ]


DEVICES = """
print(os.write(os.open("/dev/null", os.O_WRONLY), b"gone"), open("/dev/null").read() == "")
print(open("/dev/zero", "rb").read(3), len(open("/dev/urandom", "rb").read(5)))
print(attempt(os.write, os.open("/dev/full", os.O_WRONLY), b"x"))
read, write = os.pipe()
print(os.write(os.open(f"/dev/fd/{write}", os.O_WRONLY), b"pipe"), os.read(read, 9))
print(os.readlink("/dev/stdin"), os.readlink("/dev/stdout"), os.readlink("/dev/stderr"))
"""


def test_devices_work(room: Attacked) -> None:
    assert room.probe(DEVICES).splitlines() == [
        "4 True",
        "b'\\x00\\x00\\x00' 5",
        "ENOSPC",
        "4 b'pipe'",
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2",
    ]


def test_dev_itself_cannot_be_changed(room: Attacked) -> None:
    code = """
print({attempt(os.chmod, "/dev/null", 0), attempt(os.unlink, "/dev/null"),
       attempt(os.mkdir, "/dev/shm"), attempt(os.utime, "/dev/zero"),
       attempt(os.mknod, "/dev/sda", 0o60666, os.makedev(8, 0))})
"""

    assert set(eval(room.probe(code))) <= {"EROFS", "EPERM"}


def test_there_is_no_terminal(room: Attacked) -> None:
    code = "print({attempt(os.open, path, 0) for path in ('/dev/tty', '/dev/ptmx', '/dev/pts/0')})"

    assert room.probe(code) == "{'ENOENT'}"
    assert room.probe("print(attempt(os.openpty))") == "ENOENT"
    assert room.probe("print(any(map(os.isatty, range(64))))") == "False"


def test_no_device_is_made_in_tmp(room: Attacked) -> None:
    code = "print(attempt(os.mknod, '/tmp/sda', 0o60666, os.makedev(8, 0)))"

    assert room.probe(code) == "EPERM"


def test_device_nodes_elsewhere_on_the_disk_are_dead(room: Attacked, shared: Path) -> None:
    need_root()
    nodes = {"zero": (0o20666, 1, 5), "loop": (0o60666, 7, 0), "kmsg": (0o20666, 1, 11)}
    for name, (mode, major, minor) in nodes.items():
        os.mknod(shared / name, mode, os.makedev(major, minor))
        (shared / name).chmod(0o666)
    code = f"print({{attempt(os.open, '{shared}/' + name, 0) for name in {list(nodes)}}})"

    assert room.probe(code) == "{'EACCES'}"


def test_locks_between_processes_fail_as_on_lambda(room: Attacked) -> None:
    """There is no /dev/shm, as on AWS; glibc says ENOSYS for that before 2.34, then ENOENT."""
    code = "import multiprocessing\nprint(attempt(multiprocessing.Lock))"
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if name != "glibc":
        pytest.skip("which error it is depends on the C library")
    is_old = tuple(map(int, version.split("."))) < (2, 34)

    assert room.probe(code) == ("ENOSYS" if is_old else "ENOENT")


# Files of the machine

WRITE = """
import stat
opened, tried = [], 0
for top in ("/proc/sys", "/sys", "/etc", "/dev", "/run", "/var/lib/dpkg", "/boot", "/var/task"):
    for directory, names, files in os.walk(top):
        for name in files:
            path = f"{directory}/{name}"
            try:
                mode = os.lstat(path).st_mode
                if not stat.S_ISFIFO(mode) and not stat.S_ISLNK(mode):
                    tried += 1
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    opened.append(path)
            except OSError:
                pass
for name in os.listdir("/proc"):
    if not name.isdigit() and os.path.isfile(f"/proc/{name}"):
        for path in (f"/proc/{name}", f"/proc/self/{name}"):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(path)
            except OSError:
                tried += 1
print(tried > 1000, sorted(opened))
"""


def test_nothing_of_the_machine_can_be_opened_for_writing(room: Attacked) -> None:
    devices = [f"/dev/{name}" for name in ("full", "null", "random", "urandom", "zero")]

    assert room.probe(WRITE) == f"True {devices}"


def test_state_of_its_own_process_is_out_of_reach(room: Attacked) -> None:
    names = ["oom_score_adj", "uid_map", "setgroups", "loginuid", "mem"]
    code = f"print({{attempt(os.open, '/proc/self/' + name, 1) for name in {names}}})"

    assert set(eval(room.probe(code))) <= {"EROFS", "EACCES", "EPERM"}


@pytest.mark.parametrize("path", ["/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf"])
def test_debugging_of_the_machine_is_hidden(room: Attacked, path: str) -> None:
    assert room.probe(f"print(attempt(os.listdir, {path!r}))") in {"[]", "ENOENT"}


# /run


@pytest.fixture
def listening() -> Iterator[tuple[Path, Path]]:
    """Give a socket in a directory below /run, and that directory."""
    need_root()
    with tempfile.TemporaryDirectory(dir="/run") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{directory}/a.sock")
            sock.listen()
            (directory / "a.sock").chmod(0o666)
            (directory / "token").write_text("secret")
            yield directory, directory / "a.sock"


CONNECT = "import socket\nprint(attempt(socket.socket(socket.AF_UNIX).connect, {path!r}))"


def test_run_is_empty_and_its_sockets_are_out_of_reach(
    room: Attacked, listening: tuple[Path, Path]
) -> None:
    _, path = listening

    assert room.probe("print(os.listdir('/run'), os.listdir('/var/run'))") == "[] []"
    assert room.probe(CONNECT.format(path=str(path))) == "ENOENT"
    assert room.probe(CONNECT.format(path=f"/var{path}")) == "ENOENT"


def test_bind_shows_one_more(listening: tuple[Path, Path]) -> None:
    need_room()
    directory, path = listening
    with attacked(SELF, *FORKED, "--bind", str(path)) as server:
        assert server.probe(CONNECT.format(path=str(path))) == "done"
        assert server.probe(CONNECT.format(path=f"/var{path}")) == "done"
        assert server.probe(f"print(os.listdir('{directory}'))") == "['a.sock']"
        server.reset()
        assert server.probe(CONNECT.format(path=str(path))) == "done"
    with attacked(SELF, "--bind", str(directory)) as server:
        assert server.probe(f"print(open('{directory}/token').read())") == "secret"
        assert server.probe(f"print(attempt(open, '{directory}/new', 'w'))") == "EROFS"


def test_bind_shows_a_device_that_works() -> None:
    need_root()
    need_room()
    found = [path for path in ("/dev/fuse", "/dev/loop-control", "/dev/kvm") if Path(path).exists()]
    if not found:
        pytest.skip("this machine has none of the devices to try")
    with attacked(SELF, "--bind", found[0]) as server:
        code = f"print(attempt(os.open, '{found[0]}', os.O_RDWR) > 2, len(os.listdir('/dev')))"
        assert server.probe(code) == "True 10"


def test_files_of_credential_variables_are_shown_and_nothing_beside_them(
    listening: tuple[Path, Path],
) -> None:
    need_room()
    directory, _ = listening
    variable = f"AWS_WEB_IDENTITY_TOKEN_FILE={directory}/token"
    with attacked(SELF, "--env", variable) as server:
        code = "print(open(os.environ['AWS_WEB_IDENTITY_TOKEN_FILE']).read())"
        assert server.probe(code) == "secret"
        assert server.probe(f"print(os.listdir('{directory}'))") == "['token']"
        assert server.probe(f"print(attempt(open, '{directory}/token', 'a'))") == "EROFS"


def test_path_that_is_missed_names_the_option(listening: tuple[Path, Path]) -> None:
    need_room()
    directory, _ = listening
    code = f"import sys\nprint(attempt(open, '{directory}/token'))\n"
    code += f"print('No such file or directory: {directory}/token', file=sys.stderr)"
    with attacked(SELF) as server:
        assert server.probe(code) == "ENOENT"
        server.output.wait_for(f"{directory}/token is hidden .*--bind {directory}/token shows")


def test_bind_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    command = gateway_command("serve", "app.handler", "--bind", "/run/no/such")
    with Process(command, cwd=tmp_path) as gateway:
        gateway.errors.wait_for("'/run/no/such' does not exist")
        assert gateway.wait() == 2
