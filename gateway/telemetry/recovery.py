"""Lines to a destination that fails for a while: a full disk, a directory that is gone.

What cannot be written is lost and counted, the next lines are tried again, and before the first of
them that can be written comes a line that says how many are missing.
"""

from collections.abc import Callable

from gateway.telemetry.output import Unwritten

LOST_LINE = "(COUNT lines lost: REASON)"


class Recovering:
    """Writes texts of whole lines; never raises."""

    def __init__(
        self,
        write: Callable[[str], object],
        failed: Callable[[Exception], None],
        lost_line: str = LOST_LINE,
    ) -> None:
        """`failed` is called for each time that writing ceases to work, once."""
        self._write = write
        self._failed = failed
        self._lost_line = lost_line
        self._reason = ""
        self._is_torn = False
        """Whether the last line that was written has no end."""
        self.is_failing = False
        """Whether the last write failed."""
        self.lost = 0
        """Lines that could not be written and of which nothing is said yet."""

    def write(self, text: str, /) -> bool:
        """Write lines, or count them as lost; say whether all were written."""
        if self.lost and self._put(self._report()):
            self.lost += text.count("\n")
            return False
        self.lost = self._put(text)
        return not self.lost

    def _report(self) -> str:
        line = self._lost_line.replace("COUNT", str(self.lost)).replace("REASON", self._reason)
        return f"\n{line}\n" if self._is_torn else f"{line}\n"

    def _put(self, text: str) -> int:
        """Write a text and return how many of its lines could not be written."""
        try:
            self._write(text)
        except Unwritten as error:
            if error.last:
                self._is_torn = error.last != b"\n"
            self._fail(error)
            return error.lines
        except (OSError, ValueError) as error:  # ValueError: the stream was closed by its owner
            self._fail(error)
            return text.count("\n")
        self._is_torn = self.is_failing = False
        return 0

    def _fail(self, error: Exception) -> None:
        strerror = error.strerror if isinstance(error, OSError) else None
        self._reason = strerror or type(error).__name__
        if not self.is_failing:
            self.is_failing = True
            self._failed(error)
