"""What an environment still reaches, as the threat model says, and where that ends: each line is
tried from inside environments of the whole command."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.rooms import FORKED, SELF, UNPRIVILEGED, Attacked, attacked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="rooms need Linux"),
]


@pytest.fixture
def room(each_user: Attacked) -> Attacked:
    return each_user


def user_of(room: Attacked) -> int:
    return int(room.probe("print(os.getuid())"))


@pytest.fixture
def neighbour(room: Attacked) -> Iterator["subprocess.Popen[bytes]"]:
    """Give a process of the gateway's user that is not an environment."""
    uid, gid = eval(room.probe("print((os.getuid(), os.getgid()))"))
    ids = {} if uid == os.getuid() else {"user": uid, "group": gid, "extra_groups": []}
    process = subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": "kept"}, **ids)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        pass  # Popen comes back in the middle of the execution
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


# The network


def test_it_reaches_loopback_and_the_listener_itself(room: Attacked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        for port in (service.getsockname()[1], room.port):
            code = f"import socket\nprint(attempt(socket.create_connection, ('127.0.0.1', {port})))"
            assert room.probe(code).startswith("<socket.socket")


def test_it_has_the_gateways_routes_to_metadata_addresses_too(room: Attacked) -> None:
    """A datagram socket is only told where it would send to: nothing leaves the machine."""
    address = ("169.254.169.254", 80)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(address)
            expected = "done"
        except OSError as error:
            expected = os.strerror(error.errno or 0)
    code = "import socket\nsock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    code += f"try:\n    sock.connect({address})\n    print('done')\n"
    code += "except OSError as error:\n    print(error.strerror)"

    assert room.probe(code) == expected


NETWORK = """
import fcntl, socket, struct
print(attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
print(attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    print(attempt(fcntl.ioctl, sock, 0x8914, struct.pack("16sh14x", b"lo", 0)))
print(attempt(socket.socket, 40, socket.SOCK_STREAM))
"""


def test_it_changes_nothing_of_the_network(room: Attacked) -> None:
    """No raw sockets, no interface taken down, no way to the host of a virtual machine."""
    assert room.probe(NETWORK).split() == ["EPERM", "EPERM", "EPERM", "EAFNOSUPPORT"]


# Sockets on the disk and without a path


CONNECT = "import socket\nprint(attempt(socket.socket(socket.AF_UNIX).connect, {path!r}))"


def test_it_connects_to_sockets_elsewhere_on_the_disk(room: Attacked, shared: Path) -> None:
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(f"{shared}/a.sock")
        service.listen()
        (shared / "a.sock").chmod(0o666)

        assert room.probe(CONNECT.format(path=f"{shared}/a.sock")) == "done"


def test_it_does_not_find_sockets_below_tmp(room: Attacked, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as service:
        short = tempfile.mkdtemp(dir="/tmp")
        service.bind(f"{short}/a.sock")
        service.listen()
        try:
            assert room.probe(CONNECT.format(path=f"{short}/a.sock")) == "ENOENT"
        finally:
            Path(short, "a.sock").unlink()
            Path(short).rmdir()


def test_it_connects_to_abstract_sockets(room: Attacked) -> None:
    with socket.socket(socket.AF_UNIX) as service:
        name = f"\0gateway-test-{os.getpid()}"
        service.bind(name)
        service.listen()

        assert room.probe(CONNECT.format(path=name)) == "done"


# Other processes

LOOK = """
import glob
seen = set()
own = {os.getpid()}
for directory in glob.glob("/proc/[0-9]*"):
    if int(directory[6:]) in own:
        continue
    for name in ("environ", "maps", "mem", "root/etc", "cwd/.", "auxv"):
        try:
            os.close(os.open(f"{directory}/{name}", os.O_RDONLY))
            with open(f"{directory}/{name}", "rb") as file:
                if file.read(1):
                    seen.add((name, directory))
        except IsADirectoryError:
            seen.add((name, directory))
        except OSError:
            pass
    for name in ("fd", "ns", "map_files"):
        for path in glob.glob(f"{directory}/{name}/*"):
            try:
                os.readlink(path)
                seen.add((path, directory))
            except OSError:
                pass
print(sorted(seen))
"""


def test_it_sees_nothing_inside_other_processes(
    room: Attacked, neighbour: "subprocess.Popen[bytes]"
) -> None:
    """Not of any process of the machine, the gateway and its fork server among them."""
    if user_of(room) != os.getuid() and os.getuid() == 0:
        assert Path(f"/proc/{neighbour.pid}/environ").read_bytes() == b"SECRET=kept\0"

    assert room.probe(LOOK) == "[]"


def test_it_sees_nothing_inside_an_environment_of_another_gateway(room: Attacked) -> None:
    user = SELF if user_of(room) == os.getuid() else UNPRIVILEGED
    with attacked(user, *FORKED) as other:
        pid = other.probe("print(os.getpid())")
        code = f"print({{attempt(os.open, '/proc/{pid}/' + name, 0) for name in "
        code += "('mem', 'environ', 'root', 'fd/0', 'ns/user')})"

        assert room.probe(code) == "{'EACCES'}"


def test_it_lists_processes_and_ends_those_of_its_user(
    room: Attacked, neighbour: "subprocess.Popen[bytes]"
) -> None:
    pid = neighbour.pid
    code = f"import resource\nprint(open('/proc/{pid}/cmdline', 'rb').read())\n"
    code += f"print(resource.prlimit({pid}, resource.RLIMIT_NOFILE, (5, 5)) is not None)\n"
    code += f"print(attempt(os.kill, {pid}, 9))"

    assert room.probe(code) == "b'/bin/sleep\\x0060\\x00'\nTrue\ndone"
    assert neighbour.wait(10) == -9


def test_a_slip_ends_neither_all_processes_nor_the_first(
    room: Attacked, neighbour: "subprocess.Popen[bytes]"
) -> None:
    code = "print({attempt(os.kill, pid, number) for pid in (-1, 1) for number in (0, 10, 9)})"

    assert room.probe(code) == "{'EPERM'}"
    assert neighbour.poll() is None


def test_it_ends_no_process_of_another_user(room: Attacked) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    other = subprocess.Popen(["/bin/sleep", "60"], user=65533)
    try:
        code = (
            f"print(attempt(os.kill, {other.pid}, 9), attempt(os.setpriority, 0, {other.pid}, 9))"
        )
        assert room.probe(code) in {"EPERM EPERM", "EPERM EACCES"}
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


# Files


def test_it_reads_what_the_gateways_user_may_read_and_no_more(room: Attacked, shared: Path) -> None:
    uid = user_of(room)
    own, foreign = shared / "own", shared / "foreign"
    for path, owner in ((own, uid), (foreign, 65533)):
        path.write_text("secret")
        path.chmod(0o600)
        if os.getuid() == 0:
            os.chown(path, owner, owner)
    assert room.probe(f"print(open('{own}').read())") == "secret"
    if os.getuid() == 0:
        assert room.probe(f"print(attempt(open, '{foreign}'))") == "EACCES"


def test_it_writes_nothing_that_the_gateways_user_may_write(room: Attacked, shared: Path) -> None:
    uid = user_of(room)
    if os.getuid() == 0:
        os.chown(shared, uid, uid)
    code = f"print({{attempt(act, '{shared}/x') for act in (os.mkdir, os.mkfifo)}})\n"
    code += f"print(attempt(open, '{shared}/x', 'w'), attempt(os.rmdir, '{shared}'))"

    assert room.probe(code) == "{'EROFS'}\nEROFS EROFS"
    assert list(shared.iterdir()) == []


def test_it_locks_files_that_it_may_read(room: Attacked, shared: Path) -> None:
    path = shared / "lock"
    path.touch()
    path.chmod(0o644)
    code = f"import builtins, fcntl\nbuiltins.held = open('{path}')\n"
    code += "print(attempt(fcntl.flock, builtins.held, fcntl.LOCK_EX))"
    assert room.probe(code) == "done"
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    room.probe("import builtins\nbuiltins.held.close()")


def test_named_pipes_on_the_disk_take_its_bytes(room: Attacked, shared: Path) -> None:
    os.mkfifo(shared / "pipe")
    (shared / "pipe").chmod(0o666)
    reader = os.open(shared / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        code = f"print(os.write(os.open('{shared}/pipe', os.O_WRONLY), b'written'))"
        assert room.probe(code) == "7"
        assert os.read(reader, 9) == b"written"
    finally:
        os.close(reader)


RIGHTS = """
import fcntl, glob, resource, socket, subprocess
def runs(*words):
    if subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL).returncode:
        raise PermissionError(1, words[0])
def ioctl(path, number, argument):
    fcntl.ioctl(os.open(path, os.O_RDONLY), number, argument)
attempts = {
    "another user": lambda: os.setuid(os.getuid() + 1),
    "another group": lambda: os.setgroups([0, 4]),
    "another owner": lambda: os.chown("/tmp", os.getuid() + 1, 0),
    "a device": lambda: os.mknod("/tmp/device", 0o20666, os.makedev(1, 1)),
    "a host name": lambda: socket.sethostname("taken"),
    "a low port": lambda: socket.create_server(("127.0.0.1", 81)),
    "priority": lambda: os.nice(-5),
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
    "higher limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19)),
    "a mount by its command": lambda: runs("mount", "-t", "tmpfs", "none", "/tmp"),
    "namespaces by unshare": lambda: runs("unshare", "-Urm", "true"),
    "namespaces by nsenter": lambda: runs("nsenter", "-t", "1", "-m", "true"),
    "a root directory": lambda: os.chroot("/tmp"),
    "a link out": lambda: (os.symlink("/proc/1/root", "/tmp/out"), os.listdir("/tmp/out")),
    "the parent's root": lambda: os.listdir(f"/proc/{os.getppid()}/root"),
    "a link to a file outside": lambda: os.link("/etc/passwd", "/tmp/passwd"),
    "a mode": lambda: os.fchmod(os.open("/etc/hostname", os.O_RDONLY), 0o777),
    "times": lambda: os.utime("/etc/passwd"),
    "attributes": lambda: os.setxattr("/etc/hostname", "user.taken", b"1"),
    "flags of a file": lambda: ioctl("/etc/hostname", 0x40086602, bytes(8)),
    "a frozen file system": lambda: ioctl("/var/task", 0xC0045877, bytes(4)),
    "a trimmed file system": lambda: ioctl("/var/task", 0xC0185879, bytes(24)),
    "a group": lambda: [os.mkdir(f"{each}/taken") for each in glob.glob("/sys/fs/cgroup/*")],
    "a core pattern": lambda: open("/proc/sys/kernel/core_pattern", "w"),
    "caches": lambda: open("/proc/sys/vm/drop_caches", "w"),
}
def worked(act):
    try:
        act()
    except (OSError, ValueError):
        return False
    return True
print([name for name, act in attempts.items() if worked(act)])
"""


def test_what_needs_rights_is_refused(room: Attacked) -> None:
    assert room.probe(RIGHTS) == "[]"
