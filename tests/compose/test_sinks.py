"""What listens to notices, as a document asks for it."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.compose.sinks import sinks
from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.core.errors import InvalidSetting
from gateway.core.logging_config import LoggingConfig
from gateway.core.notices import InitStarted, LogStream, OperatorWarning

SHOP = Function("app.handler", name="shop")
CART = Function("app.handler", name="cart", logging=LoggingConfig("JSON"))


def test_quiet_process_without_logs_has_no_sink() -> None:
    with ExitStack() as stack:
        assert sinks(document(SHOP, is_quiet=True), stack) is None


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_console_is_in_the_format_that_was_asked_for(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        sink = sinks(document(SHOP, log_format=log_format), stack)
        assert sink
        sink.emit(OperatorWarning("hello"))

    assert capsys.readouterr().out.startswith("{" if log_format == "json" else "hello")


def test_access_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(InvalidSetting, match="nowhere"):
        sinks(document(SHOP, access_log=str(tmp_path / "nowhere" / "log")), stack)


def described(directory: Path) -> Document:
    one = document(SHOP, is_quiet=True, function_logs=str(directory))
    return replace(one, functions=(*one.functions, CART))


def test_logs_of_each_function_have_its_own_format(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sink = sinks(described(tmp_path), stack)
        assert sink
        for name in ("shop", "cart"):
            stream = LogStream(f"/aws/lambda/{name}", "stream", name, "$LATEST", "id", "v", 128)
            sink.emit(InitStarted(stream, 0.0))

    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert ["cart" in str(path) for path in files] == [True, False]
    texts = [path.read_text() for path in reversed(files)]
    assert "INIT_START Runtime Version: v" in texts[0]
    assert '"type":"platform.initStart"' in texts[1]
