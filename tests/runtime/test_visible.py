"""What a room shows of hidden directories, and what the operator is told of the rest."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.notices import (
    FunctionReloaded,
    InitReported,
    LogEntry,
    LogStream,
    Notice,
    OperatorWarning,
)
from gateway.runtime import visible
from gateway.runtime.visible import (
    MOST_HINTS,
    MOST_LOOKED_UP,
    HiddenPathHints,
    bound,
    is_hidden,
    resolved,
)

STREAM = LogStream("/aws/lambda/shop", "s", "shop", "$LATEST", "e", "python:3.12", 128)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a directory that each room hides."""
    if not is_hidden(str(tmp_path)):
        pytest.skip("temporary directories are not below /tmp here")
    return tmp_path


@pytest.fixture
def outside(run: Path) -> Iterator[Path]:
    """Return a directory that rooms show, from which a link leads to the hidden one, as /var/run
    does."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        (Path(name) / "var").mkdir()
        (Path(name) / "var" / "run").symlink_to(run)
        yield Path(name)


def needed(variables: dict[str, str], place: Path = Path("/nowhere")) -> tuple[str, ...]:
    """Return what is needed where the resolver's file is in that place."""
    return visible.needed(variables, f"{place}/resolv.conf")


def test_resolver_is_shown_where_its_link_leads(run: Path, outside: Path) -> None:
    (run / "resolve").mkdir()
    (run / "resolve" / "stub").write_text("nameserver 127.0.0.53")
    (outside / "resolv.conf").symlink_to("var/run/resolve/stub")

    assert needed({}, outside) == (f"{run}/resolve/stub",)


def test_resolver_behind_several_links_is_shown_where_the_first_hidden_one_is(
    run: Path, outside: Path
) -> None:
    (run / "real").write_text("")
    (run / "link").symlink_to("real")
    (outside / "between").symlink_to(run / "link")
    (outside / "resolv.conf").symlink_to("between")

    assert needed({}, outside) == (f"{run}/link",)


def test_resolver_outside_needs_nothing(run: Path, outside: Path) -> None:
    (outside / "resolv.conf").write_text("")
    assert needed({}, outside) == ()
    (outside / "resolv.conf").unlink()
    assert needed({}, outside) == ()


def test_links_in_a_circle_lead_nowhere(run: Path, outside: Path) -> None:
    (outside / "resolv.conf").symlink_to("other")
    (outside / "other").symlink_to("resolv.conf")

    assert needed({}, outside) == ()


@pytest.mark.parametrize("name", visible.CREDENTIAL_VARIABLES)
def test_file_of_credentials_is_shown(run: Path, outside: Path, name: str) -> None:
    (run / "token").write_text("")

    found = needed({name: f"{outside}/var/run/token", "OTHER": f"{run}/other"})
    assert found == (f"{run}/token",)
    assert needed({name: ""}) == needed({name: f"{outside}/elsewhere"}) == ()


def test_token_that_kubernetes_renews_is_shown_with_its_directory(run: Path) -> None:
    (run / "token" / "..2026").mkdir(parents=True)
    (run / "token" / "..2026" / "token").write_text("")
    (run / "token" / "..data").symlink_to("..2026")
    (run / "token" / "token").symlink_to("..data/token")

    found = needed({"AWS_WEB_IDENTITY_TOKEN_FILE": f"{run}/token/token"})
    assert found == (f"{run}/token",)


def test_link_to_credentials_elsewhere_shows_no_directory(run: Path, outside: Path) -> None:
    (outside / "real").write_text("")
    (run / "user").mkdir()
    (run / "user" / "link").symlink_to(outside / "real")

    found = needed({"AWS_CONFIG_FILE": f"{run}/user/link"})
    assert found == (f"{run}/user/link",)


def test_link_in_a_directory_that_is_hidden_as_a_whole_shows_no_directory(run: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as name:
        link = Path(f"{name}-link")  # in /tmp itself
        link.symlink_to(name)
        try:
            assert needed({"AWS_CONFIG_FILE": str(link)}) == (str(link),)
        finally:
            link.unlink()


def test_what_is_bound_is_shown_where_it_is(
    run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)

    found = bound([Path("a.sock"), outside / "var/run/b.sock", outside / "elsewhere"])
    assert found == (f"{run}/a.sock", f"{run}/b.sock", f"{outside}/elsewhere")


@pytest.mark.parametrize("path", ["/", "/tmp", "/var", "/opt", "/dev", "/run", "/var/task"])
def test_nothing_is_bound_over_the_rooms_own_directories(path: str) -> None:
    with pytest.raises(InvalidSetting, match=r"--bind /\S* would hide"):
        bound([Path(path)])


class Told:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def emit(self, notice: Notice, /) -> None:
        self.notices.append(notice)

    def warnings(self) -> list[str]:
        return [each.text for each in self.notices if isinstance(each, OperatorWarning)]


def wrote(*texts: str) -> InitReported:
    entries = [LogEntry(0.0, text) for text in texts]
    return InitReported(STREAM, 0.0, "init", "error", "", 1.0, entries)


@pytest.fixture
def told() -> Told:
    return Told()


def is_there(path: str) -> bool:
    return "gone" not in path


NOT_FOUND = "[Errno 2] No such file or directory"


@pytest.mark.parametrize(
    "text",
    [
        f"FileNotFoundError: {NOT_FOUND}: '/run/app/a.sock'",
        f'  sock.connect("/run/app/a.sock")\nFileNotFoundError: {NOT_FOUND}',
        "Error: connect ENOENT /run/app/a.sock\n    at PipeConnectWrap",
        "dial unix /run/app/a.sock: connect: no such file: ENOENT",
        "[Errno 13] Permission denied: '/run/app/a.sock'",
    ],
)
def test_hidden_path_that_is_missed_names_the_option(told: Told, text: str) -> None:
    hints = HiddenPathHints(told, (), is_there)
    hints.emit(wrote("INIT", text))
    hints.emit(wrote(text))

    expected = "/run/app/a.sock is hidden in execution environments; "
    assert told.warnings() == [expected + "--bind /run/app/a.sock shows it, read-only"]


@pytest.mark.parametrize(
    "text",
    [
        f"{NOT_FOUND}: '/run/gone.sock'",
        f"{NOT_FOUND}: '/srv/run/a.sock'",
        f"{NOT_FOUND}: '/run/shown/a.sock'",
        "opened /run/app/a.sock",
    ],
)
def test_nothing_is_said_of_other_paths(told: Told, text: str) -> None:
    hints = HiddenPathHints(told, (resolved("/run/shown"),), is_there)
    hints.emit(wrote(text))

    assert told.warnings() == []


def test_number_of_hints_is_bounded(told: Told) -> None:
    hints = HiddenPathHints(told, (), is_there)
    hints.emit(wrote(*(f"{NOT_FOUND}: '/run/{index}'" for index in range(100))))

    assert len(told.warnings()) == MOST_HINTS


def test_everything_is_passed_on(told: Told) -> None:
    notices = [FunctionReloaded("app.handler"), wrote("x")]
    for notice in notices:
        HiddenPathHints(told, (), is_there).emit(notice)

    assert told.notices == notices


def test_number_of_paths_that_are_looked_up_is_bounded() -> None:
    looked_up: list[str] = []
    paths = " ".join(f"/run/{index}" for index in range(1000))
    hints = HiddenPathHints(Told(), (), lambda path: bool(looked_up.append(path)))
    hints.emit(wrote(f"{NOT_FOUND}: {paths}", f"{NOT_FOUND}: {paths}"))

    assert len(looked_up) == MOST_LOOKED_UP
