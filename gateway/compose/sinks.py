"""What listens to notices: the console, the access log, function logs."""

import sys
from contextlib import ExitStack
from pathlib import Path

from gateway.config.document import Document
from gateway.core.interfaces import Sink
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.console import Console
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.function_logs import FunctionLogs
from gateway.telemetry.recovery import LOST_LINE
from gateway.telemetry.writer import LineWriter

MISSING_LINES = {
    "text": ("(COUNT lines dropped: they came faster than they could be written)", LOST_LINE),
    "json": (
        '{"type":"LinesDropped","count":COUNT}',
        '{"type":"LinesLost","count":COUNT,"reason":"REASON"}',
    ),
}
"""What the console says of lines that were dropped, and of lines that could not be written."""


def sinks(document: Document, stack: ExitStack) -> Sink | None:
    """Open what listens to notices, if anything; raises InvalidSetting for a file that cannot be
    written."""
    process = document.process
    found: list[Sink] = []
    if not process.is_quiet:
        dropped, lost = MISSING_LINES[process.log_format]
        terminal = stack.enter_context(LineWriter(sys.stdout, dropped_line=dropped, lost_line=lost))
        is_colored = sys.stdout.isatty()
        found.append(Console(terminal, is_colored=is_colored, log_format=process.log_format))
    if process.access_log:
        target = sys.stdout if process.access_log == "-" else process.access_log
        found.append(AccessLog(stack.enter_context(LineWriter(target))))
    if process.function_logs:
        configs = {one.completed_name(): one.logging for one in document.functions}
        found.append(stack.enter_context(FunctionLogs(Path(process.function_logs), configs)))
    return Fanout(found) if found else None
