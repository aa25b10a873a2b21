"""P13: HTTP/2 conforms, and honest clients lose nothing, however much they ask for."""

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.serving import DEADLINE_SECONDS, Server
from tests.promises.conftest import Report
from tests.promises.h2_wire import (
    BLOCK,
    GOAWAY,
    RST_STREAM,
    WIDE,
    Raw,
    connected,
    streams,
    tool,
)
from tests.soaking import IS_SOAK, soak_only
from tests.web.h2_peer import frame

BEHIND_THE_RFC = {
    "Sends PRIORITY frame that depend on itself",
    "Sends a PRIORITY frame with 0x0 stream identifier",
    # The error of a stream may be one of the connection (section 5.4.2).
    "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1"
    " on a stream",
    # What comes on a closed stream may be ignored (section 5.1); one below the last is closed.
    "closed: Sends a DATA frame after sending RST_STREAM frame",
    "closed: Sends a HEADERS frame after sending RST_STREAM frame",
    "closed: Sends a DATA frame",
    "closed: Sends a HEADERS frame",
    "Sends stream identifier that is numerically smaller than previous",
}
"""h2spec tests RFC 7540: RFC 9113 has retired priorities (section 5.3.2) and asks for less."""
COUNT = 20_000 if IS_SOAK else 4_500


class Asking:
    """A client that has this many requests answered by as many connections as it takes."""

    def __init__(self, server: Server, count: int, at_once: int) -> None:
        self.answered = self.failed = self.connections = 0
        self._server = server
        self._count = count
        self._at_once = at_once
        self._open: set[int] = set()
        self._is_last = False

    def run(self) -> None:
        while self.answered + self.failed < self._count and self.connections < self._count:
            self.connections += 1
            with connected(self._server, WIDE) as raw:
                self._is_last = False
                self._use(raw)

    def _use(self, raw: Raw) -> None:
        ids = streams()
        raw.send(self._more(ids))
        while self._open and not raw.is_closed:
            for kind, flags, stream_id, payload in raw.frames(DEADLINE_SECONDS):
                self._take(kind, flags, stream_id, payload)
            raw.send(self._more(ids))
        self.failed += len(self._open)
        self._open.clear()

    def _more(self, ids: Iterator[int]) -> bytes:
        """Return requests that there is room for."""
        left = self._count - self.answered - self.failed - len(self._open)
        room = 0 if self._is_last else min(left, self._at_once - len(self._open))
        new = [next(ids) for _ in range(room)]
        self._open.update(new)
        return b"".join(frame(1, 5, stream_id, BLOCK) for stream_id in new)

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.failed += code != 0
            self._is_last = True
            # What comes after the last stream is asked again (RFC 9113 section 6.8).
            self._open = {at for at in self._open if at <= last}
        elif stream_id in self._open and (kind == RST_STREAM or (kind < 2 and flags & 1)):
            self._open.discard(stream_id)
            self.failed += kind == RST_STREAM
            self.answered += kind != RST_STREAM


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 16])
def test_many_requests_are_answered_across_goaways(
    h2_server: Server, report: Report, at_once: int
) -> None:
    asking = Asking(h2_server, COUNT, at_once)
    asking.run()

    connections, failed = asking.connections, asking.failed
    report(f"P13: {COUNT} requests, {at_once} at once: {connections} connections, {failed} failed")
    assert (asking.answered, failed) == (COUNT, 0)
    assert connections == 1


WIDE_OPEN = ["-c", "1", "-w", "30", "-W", "30"]
"""One connection with large windows."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/", ["-c", "1", "-m", "16", "-n", "20000" if IS_SOAK else "4500"]),
        ("/size/1000000", ["-c", "2", "-m", "16", "-n", "200" if IS_SOAK else "50"]),
        pytest.param("/size/100000", ["-c", "2", "-m", "100", "-n", "2000"], marks=soak_only),
        pytest.param("/size/1000000", [*WIDE_OPEN, "-m", "64", "-n", "300"], marks=soak_only),
        ("/size/1000000", [*WIDE_OPEN, "-m", "100", "-n", "300" if IS_SOAK else "150"]),
    ],
)
def test_h2load_has_no_failure(h2_tls_server: Server, path: str, arguments: list[str]) -> None:
    """h2load never opens a connection again, so none may end by itself."""
    count = arguments[arguments.index("-n") + 1]
    run = subprocess.run(
        [tool("h2load"), *arguments, h2_tls_server.url + path],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in run.stdout
    assert f"{count} 2xx" in run.stdout


@pytest.mark.slow
def test_large_replies_after_small_ones_are_all_taken(h2_tls_server: Server) -> None:
    """What replies have needed lately is then far from what they need."""
    for path, count in (("/", "1000"), ("/size/1000000", "200")):
        run = subprocess.run(
            [tool("h2load"), "-c", "1", "-m", "100", "-n", count, h2_tls_server.url + path],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert f"{count} succeeded, 0 failed" in run.stdout


@pytest.mark.slow
def test_h2spec_fails_only_where_the_rfc_asks_for_less(
    h2_tls_server: Server, report: Report, tmp_path: Path
) -> None:
    result = tmp_path / "h2spec.xml"
    command = [tool("h2spec"), "-h", "127.0.0.1", "-p", str(h2_tls_server.port), "-t", "-k"]
    subprocess.run(
        [*command, "-j", str(result)], capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )

    cases = list(ET.parse(result).iter("testcase"))
    failed = {
        case.get("classname", "")
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    report(f"P13: h2spec: {len(cases)} cases, {len(failed)} failed")
    assert len(cases) > 140
    assert failed <= BEHIND_THE_RFC
