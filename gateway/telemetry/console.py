"""What an operator watches: notices as text for people, or as JSON lines for programs."""

from typing import Literal

from gateway.core.notices import Notice
from gateway.telemetry.console_text import ConsoleText
from gateway.telemetry.json_line import json_line
from gateway.telemetry.writer import LineWriter


class Console:
    """Writes what notices say in one of the two formats; a Sink."""

    def __init__(
        self, writer: LineWriter, *, is_colored: bool, log_format: Literal["text", "json"]
    ) -> None:
        self._write = writer.write
        self._text = json_line if log_format == "json" else ConsoleText(is_colored=is_colored).lines

    def emit(self, notice: Notice, /) -> None:
        """Write the lines of a notice, if there are any."""
        if text := self._text(notice):
            self._write(text)
