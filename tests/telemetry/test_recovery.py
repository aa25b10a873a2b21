"""Writing that fails for a while: every outcome, without a file."""

import errno

import pytest

from gateway.telemetry.output import Unwritten
from gateway.telemetry.recovery import Recovering

FULL = OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """Takes texts, or raises what is next."""

    def __init__(self) -> None:
        self.text = ""
        self.errors: list[Exception | None] = []
        self.failures: list[Exception] = []
        self.lines = Recovering(self.write, self.failures.append)

    def write(self, text: str) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.text += text


def test_what_can_be_written_is_written() -> None:
    disk = Disk()

    assert disk.lines.write("one\n")
    assert (disk.text, disk.lines.lost, disk.failures) == ("one\n", 0, [])


def test_lost_lines_are_counted_until_one_can_say_so() -> None:
    disk = Disk()
    disk.errors = [FULL, FULL]
    assert not disk.lines.write("one\ntwo\n")
    assert not disk.lines.write("three\n")
    assert (disk.lines.lost, disk.lines.is_failing) == (3, True)

    assert disk.lines.write("four\n")
    assert disk.text == "(3 lines lost: No space left on device)\nfour\n"
    assert (disk.lines.lost, disk.lines.is_failing, disk.failures) == (0, False, [FULL])


def test_a_disk_that_takes_the_line_about_it_and_no_more_counts_again() -> None:
    disk = Disk()
    disk.errors = [FULL, None, FULL]
    disk.lines.write("one\ntwo\n")
    disk.lines.write("three\n")
    disk.lines.write("four\n")

    lost = "(COUNT lines lost: No space left on device)\n"
    assert disk.text == lost.replace("COUNT", "2") + lost.replace("COUNT", "1") + "four\n"
    assert len(disk.failures) == 2


@pytest.mark.parametrize(("last", "start"), [(b"x", "\n("), (b"\n", "("), (b"", "(")])
def test_a_line_without_its_end_is_ended_first(last: bytes, start: str) -> None:
    disk = Disk()
    disk.errors = [Unwritten(FULL, 2, last), FULL]
    disk.lines.write("one\ntwo\nthree\n")
    disk.lines.write("four\n")  # nothing of the line about it is written: it is torn as before
    disk.lines.write("five\n")

    assert disk.text == f"{start}3 lines lost: No space left on device)\nfive\n"


def test_a_stream_that_is_closed_is_a_failure_too() -> None:
    disk = Disk()
    disk.errors = [ValueError("closed")]
    disk.lines.write("one\n")
    disk.lines.write("two\n")

    assert disk.text == "(1 lines lost: ValueError)\ntwo\n"
