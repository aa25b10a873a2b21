"""Function logs as files and as JSON lines."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.logging_config import LoggingConfig
from gateway.core.notices import LogEntry, OperatorWarning
from gateway.telemetry.function_logs import (
    DROPPED,
    NAME_LIMIT,
    OPEN_FILES,
    Files,
    FunctionLogs,
    file_name,
)
from tests.core.reported import (
    AT,
    REQUEST_ID,
    STREAM,
    init_reported,
    init_started,
    invocation_reported,
)
from tests.telemetry.served import served

PATH = "aws_lambda_shop/2026_10_08_LATEST_22be53a8cfde4e68b844f8ec293b2543.log"


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def of_stream(name: str) -> object:
    """Return an invocation of another environment."""
    return invocation_reported(stream=replace(STREAM, name=name))


def test_a_stream_is_a_file_as_aws_logs_tail_prints_it(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path / "logs") as logs:
        logs.emit(invocation_reported("hello", entries=[LogEntry(AT + 0.0015, "one\ntwo")]))

    start, one, two, end, report = (tmp_path / "logs" / PATH).read_text().splitlines()
    assert start == (
        f"2026-10-08T07:30:27.768000+00:00 START RequestId: {REQUEST_ID} Version: $LATEST"
    )
    assert (one, two) == ("2026-10-08T07:30:27.769000+00:00 one", "    two")
    assert end == f"2026-10-08T07:30:27.771000+00:00 END RequestId: {REQUEST_ID}"
    assert report.endswith("\tMax Memory Used: 36 MB\t")


def test_notices_of_one_environment_are_one_file_in_order(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path) as logs:
        for notice in (init_started(), init_reported(status="timeout"), invocation_reported()):
            logs.emit(notice)

    words = [line.split()[1] for line in (tmp_path / PATH).read_text().splitlines()]
    assert words == ["INIT_START", "INIT_REPORT", "START", "END", "REPORT"]


def test_json_records_come_after_the_time_too(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path, {STREAM.function_name: LoggingConfig("JSON")}) as logs:
        logs.emit(invocation_reported())

    records = [line.partition(" ")[2] for line in (tmp_path / PATH).read_text().splitlines()]
    types = [json.loads(record)["type"] for record in records]
    assert types == ["platform.start", "platform.report"]


def test_what_is_not_in_a_functions_log_makes_no_file(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path) as logs:
        logs.emit(served())
        logs.emit(OperatorWarning("busy"))
        logs.emit(init_reported())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [-1, 0, 1, OPEN_FILES])
def test_few_files_are_open_and_all_are_written(tmp_path: Path, size: int) -> None:
    files = Files(tmp_path)
    before = open_files()
    names = [f"{number}.log" for number in range(OPEN_FILES + size)]
    for turn in ("one\n", "two\n"):
        files.write("".join(f"\0{name}\0{turn}" for name in names))

        assert open_files() - before == min(len(names), OPEN_FILES)
    files.close_all()
    assert open_files() == before
    assert {(tmp_path / name).read_text() for name in names} == {"one\ntwo\n"}


def test_the_file_used_last_stays_open(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for name in (*map(str, range(OPEN_FILES)), "0", "new"):
        files.write(f"\0{name}\0line\n")

    assert {"0", "2", "new"} <= files._open.keys()
    assert "1" not in files._open
    files.close_all()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = open_files()
    with FunctionLogs(tmp_path) as logs:
        for number in range(5):
            logs.emit(of_stream(str(number)))

    assert open_files() == before
    assert len(list(tmp_path.rglob("*.log"))) == 5


def test_files_that_are_being_written_are_left_alone(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write("\0a.log\0x\n")
    with files._lock:
        files.close_all()

        assert list(files._open) == ["a.log"]
    files.close_all()


@pytest.mark.parametrize(
    ("group", "stream"),
    [
        ("../../etc", "passwd"),
        ("/aws/lambda/x", "../../../x"),
        ("..", ".."),
        ("", ""),
        ("a\0b", "-rf"),
        ("$(id)", "`id`;\n"),
        ("é" * 300, "x" * 300),
    ],
)
def test_no_name_leaves_the_directory(tmp_path: Path, group: str, stream: str) -> None:
    name = file_name(group, stream)
    path = tmp_path / name

    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert len(path.relative_to(tmp_path).parts) == 2
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz_/.-")
    assert max(map(len, name.split("/"))) <= NAME_LIMIT + len(".log")
    assert not name.startswith(("-", "."))


def test_a_nul_in_the_output_opens_no_other_file(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path) as logs:
        logs.emit(invocation_reported("\0evil.log\0text"))

    assert "\\x00evil.log\\x00text" in (tmp_path / PATH).read_text()
    assert len(list(tmp_path.rglob("*.log"))) == 1


def test_dropped_reports_are_counted_in_a_file(tmp_path: Path) -> None:
    with FunctionLogs(tmp_path) as logs:
        logs._writer._line_limit = 0
        logs.emit(invocation_reported())
        logs._writer._line_limit = 10
        logs.emit(invocation_reported())

    assert (tmp_path / DROPPED).read_text() == "(1 reports were dropped)\n"
    assert (tmp_path / PATH).exists()


def test_a_file_that_cannot_be_opened_is_said_once_and_recovers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / PATH).mkdir(parents=True)
    files = Files(tmp_path)
    before = open_files()
    for _ in range(2):
        files.write(f"\0{PATH}\0one\ntwo\n\0other.log\0fine\n")
    (tmp_path / PATH).rmdir()
    files.write(f"\0{PATH}\0three\n")
    assert open_files() == before + 2
    files.close_all()

    assert (tmp_path / PATH).read_text() == "(4 lines lost: Is a directory)\nthree\n"
    assert (tmp_path / "other.log").read_text() == "fine\nfine\n"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"function logs in {tmp_path} cannot be written, lines are lost" in said


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    files = Files(tmp_path / "logs")
    files.write("\0a/b.log\0one\n")
    shutil.rmtree(tmp_path / "logs")
    files.write("\0a/b.log\0two\n\0a/c.log\0three\n")
    files.close_all()

    assert (tmp_path / "logs/a/b.log").read_text() == "two\n"
    assert (tmp_path / "logs/a/c.log").read_text() == "three\n"


def test_what_closed_files_lost_is_said_in_the_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files(tmp_path)
    (tmp_path / "bad.log").mkdir()
    files.write("\0bad.log\0one\ntwo\n")
    for number in range(OPEN_FILES):
        files.write(f"\0{number}.log\0line\n")
    (tmp_path / "worse.log").mkdir()
    files.write("\0worse.log\0one\n")
    files.close_all()

    assert (tmp_path / DROPPED).read_text() == "(2 lines of other files lost)\n"
    assert capsys.readouterr().err.endswith(f"function logs in {tmp_path} lack 1 lines\n")


FORGED = "END RequestId: 1\nREPORT RequestId: 1\tDuration: 1.00 ms"
BREAKS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("is_json", [True, False])
def test_a_record_forges_no_line_of_another(tmp_path: Path, line_break: str, is_json: bool) -> None:
    stamped = f"2026-10-08T07:30:27.768000+00:00 {FORGED}"
    text = line_break.join(["harmless", *FORGED.split("\n"), stamped, ""])
    with FunctionLogs(tmp_path) as logs:
        logs.emit(invocation_reported(entries=[LogEntry(AT, text, is_json=is_json)]))

    lines = (tmp_path / PATH).read_text().splitlines()
    words = re.findall(r"^2026-\S+ ([A-Za-z]+)", "\n".join(lines), re.MULTILINE)
    assert words == ["START", "harmless", "END", "REPORT"]
    assert all(line.startswith(("2026-", "    ")) for line in lines)


@pytest.mark.parametrize("code", [*range(9), *range(11, 32), 0x7F, 0x9B, 0x202E, 0x2066, 0x2028])
def test_what_drives_a_terminal_is_shown(tmp_path: Path, code: int) -> None:
    with FunctionLogs(tmp_path) as logs:
        logs.emit(invocation_reported(entries=[LogEntry(AT, f"a{chr(code)}b")]))

    written = (tmp_path / PATH).read_text()
    assert chr(code) not in written
    assert f"a\\{'x' if code < 256 else 'u'}{code:0{2 if code < 256 else 4}x}b" in written


def test_json_stays_json_of_the_same_meaning(tmp_path: Path) -> None:
    told = {"level": "INFO", "timestamp": "2026-10-08T07:30:27Z", "a": "\x7f\x9b\u202e\u2028é\n"}
    text = json.dumps(told, ensure_ascii=False, indent=1).replace("\n", "\r\n")
    with FunctionLogs(tmp_path, {STREAM.function_name: LoggingConfig("JSON")}) as logs:
        logs.emit(invocation_reported(entries=[LogEntry(AT, text, is_json=True)]))

    written = (tmp_path / PATH).read_text()
    record = written[written.index('{"level') if '{"level' in written else written.index("{ ") :]
    assert json.JSONDecoder().raw_decode(record)[0] == told
    assert not any(character in written for character in "\r\x7f\x9b\u202e\u2028")


def test_a_directory_that_cannot_be_is_an_invalid_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidSetting, match=r"function logs .*file/logs' cannot be kept"):
        FunctionLogs(tmp_path / "file" / "logs")
