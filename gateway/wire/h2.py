"""HTTP/2 from bytes and to bytes, framed by nghttp2 through ngh2; no policy.

nghttp2 answers PING and SETTINGS, keeps HPACK and the states of streams, and refuses malformed
messages (RFC 9113 section 8.1.1) with a reset of its own, which is told like a client's. It runs
ahead of the events: a stream whose event is read may be over already, so what is sent on such a
stream is dropped. What it hides, frames without an event, `Frames` shows: the nine bytes before
each frame, read beside it.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

import ngh2
from ngh2 import DataReceived as Data
from ngh2 import GoAwayReceived as GoAway
from ngh2 import RequestReceived as Request
from ngh2 import SettingsReceived as Settings
from ngh2 import StreamReset as Reset
from ngh2 import TrailersReceived as Trailers
from ngh2 import WindowUpdated as WindowUpdate

from gateway.core.floods import CONCURRENT_STREAMS, CONTINUATION, END_HEADERS, HEADERS, Frame
from gateway.core.http import Headers

__all__ = ["Broken", "Data", "Event", "Frames", "GoAway", "Request", "Reset", "Session", "Settings"]
__all__ += ["Trailers", "WindowUpdate"]

NO_ERROR, PROTOCOL_ERROR = 0x0, 0x1
REFUSED_STREAM, ENHANCE_YOUR_CALM = 0x7, 0xB
"""Error codes (RFC 9113 section 7)."""

PREFACE_BYTES = 24
FRAME_HEAD_BYTES = 9
HEAD_FRAMES = frozenset({HEADERS, CONTINUATION})

MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 0x3, 0x6
"""Settings (RFC 9113 section 6.5.2)."""

HEADER_LIST_BYTES = 64 * 1024
"""All fields of a head, 32 bytes added for each."""

LEAST_FIELD_BYTES = 33
"""A field's name has a byte at least."""

CONTINUATIONS = 16
"""Of one head."""

RESPONSE_HEAD_BYTES = 4 * 1024 * 1024
"""No function's reply has a larger head; nghttp2's own limit, 64 KB, would reset the stream."""

UNLIMITED = 2**63
"""For rates that `gateway.core.floods` limits: what it counts comes first."""

CONNECTION_WINDOW_BYTES = 2**31 - 1
"""Of all streams together, as nginx has it: the window of each stream is what holds it back."""

CONFIGURATION = ngh2.Configuration(
    auto_window_update=False,
    max_send_header_block_length=RESPONSE_HEAD_BYTES,
    max_outbound_ack=2**20,
    stream_reset_rate_limit=(UNLIMITED, UNLIMITED),
    glitch_rate_limit=(UNLIMITED, UNLIMITED),
    max_continuations=CONTINUATIONS,
    max_inbound_header_list_size=HEADER_LIST_BYTES,
    max_inbound_header_count=HEADER_LIST_BYTES // LEAST_FIELD_BYTES,
)

GOAWAY_HEAD = b"\0\0\x08\x07\0\0\0\0\0"
"""Of the one frame written here: nghttp2 ends without a word when a limit of `CONFIGURATION` or the
connection preface is broken."""

Event = Request | Data | Trailers | Reset | GoAway | Settings | WindowUpdate
"""What is told of a connection; a stream ends with `end_stream`, `Trailers` or `Reset`."""

TOLD, ENDED = (Trailers, GoAway, Settings, WindowUpdate), (Reset, ngh2.StreamClosed)


class Broken(Exception):
    """The client broke the protocol; a GOAWAY that says so is ready to be sent."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
        """The error code of that GOAWAY."""


class Session:
    """One connection's state; bytes to send pile up until they are taken."""

    __slots__ = ("_last_stream", "_ngh2", "_reset", "_reset_by_client", "_unsent", "_withheld")

    def __init__(self) -> None:
        self._ngh2 = ngh2.Connection(ngh2.Role.SERVER, CONFIGURATION)
        self._unsent = b""
        self._last_stream = self._reset_by_client = 0
        self._reset: set[int] = set()
        """Streams reset here whose end nghttp2 has not told."""
        self._withheld: dict[int, int] = {}
        """Bytes that came on streams whose window is not given back."""

    def preface(self) -> bytes:
        """Return the server's first bytes."""
        settings = {
            MAX_CONCURRENT_STREAMS: CONCURRENT_STREAMS,
            MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
        }
        self._ngh2.initiate_connection(settings)
        self._ngh2.set_local_window_size(CONNECTION_WINDOW_BYTES)
        return self._ngh2.data_to_send()

    # What comes.

    def receive(self, data: bytes) -> Iterator[Event]:
        """Read bytes and yield what they say; raises Broken."""
        for event in self._read(data):
            if isinstance(event, Request):
                self._last_stream = event.stream_id
                yield event
            elif isinstance(event, Data):
                yield event
                self._count(event.stream_id, len(event.data))
            elif isinstance(event, ENDED):
                if self._is_reset(event):
                    yield Reset(event.stream_id, event.error_code)
            elif isinstance(event, TOLD):
                yield event

    def _read(self, data: bytes) -> list[ngh2.Event]:
        try:
            self._ngh2.receive_data(data)
            if self._ngh2.want_write:  # an answer of nghttp2's own; a reset is told by writing it
                self._unsent += self._ngh2.data_to_send()
        except ngh2.ConnectionStateError:
            return []  # either side has said GOAWAY and no stream is open: what comes is dropped
        except ngh2.NGH2Error as error:
            raise self._broken(error) from error
        events = self._ngh2.events()
        if events and isinstance(end := events[-1], ngh2.ConnectionClosed) and end.error_code:
            raise Broken(end.debug_data.decode("latin-1"), end.error_code)
        return events

    def _is_reset(self, event: Reset | ngh2.StreamClosed) -> bool:
        """Say whether a stream was reset by the client or by nghttp2, once for each."""
        stream_id = event.stream_id
        is_own = stream_id in self._reset
        if isinstance(event, Reset):
            self._reset_by_client = stream_id  # told as over next, if it was open
            return not is_own
        self._reset.discard(stream_id)
        return event.error_code != NO_ERROR and not is_own and stream_id != self._reset_by_client

    def _broken(self, error: ngh2.NGH2Error) -> Broken:
        """Say GOAWAY in the place of a session that is gone."""
        is_flood = isinstance(error, ngh2.DenialOfServiceError)
        code = ENHANCE_YOUR_CALM if is_flood else PROTOCOL_ERROR
        self._unsent += GOAWAY_HEAD + struct.pack(">II", self._last_stream, code)
        return Broken(str(error), code)

    # Receive windows.

    def _count(self, stream_id: int, size: int) -> None:
        """Give the window of bytes that came back, or withhold it."""
        if stream_id in self._withheld:
            self._withheld[stream_id] += size
        elif size:
            self._give_back(stream_id, size)

    def _give_back(self, stream_id: int, size: int) -> None:
        with suppress(ngh2.NGH2Error):  # the connection is over
            self._ngh2.acknowledge_received_data(size, stream_id)

    def withhold(self, stream_id: int) -> None:
        """Give no receive window back to a stream from now on."""
        self._withheld[stream_id] = 0

    def give_back(self, stream_id: int) -> None:
        """Give back what was withheld, and from now on what comes."""
        if size := self._withheld.pop(stream_id, 0):
            self._give_back(stream_id, size)

    # What goes out.

    def take(self) -> bytes:
        """Return what is to be sent, once."""
        data, self._unsent = self._unsent, b""
        try:
            return data + self._ngh2.data_to_send()
        except ngh2.ConnectionStateError:
            return data  # broken: the GOAWAY is all

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a body the client lets us send; 0 for a stream that is over."""
        session = self._ngh2
        try:
            window = session.stream_remote_window_size(stream_id)
            connection = session.remote_window_size
        except ngh2.NGH2Error:
            return 0
        queued, all_queued = session.queued_body_size(stream_id), session.queued_body_size()
        return max(0, min(window - queued, connection - all_queued))

    def send_head(self, stream_id: int, status: int, headers: Headers, *, is_last: bool) -> None:
        """Send a response's head."""
        head = [(b":status", b"%d" % status), *headers]
        try:  # noqa: SIM105 - each request would pay for `suppress`
            self._ngh2.send_response(stream_id, head, end_stream=is_last)
        except ngh2.NGH2Error:
            pass

    def send_data(self, stream_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send a piece of a body, no larger than there is room."""
        try:  # noqa: SIM105
            self._ngh2.send_data(stream_id, data, end_stream=is_last)
        except ngh2.NGH2Error:
            pass

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream."""
        self._reset.add(stream_id)
        with suppress(ngh2.NGH2Error):
            self._ngh2.reset_stream(stream_id, code)

    def announce_end(self) -> None:
        """Say GOAWAY, naming the highest stream there can be: requests are still taken."""
        with suppress(ngh2.NGH2Error):
            self._ngh2.send_shutdown_notice()

    def go_away(self, last_stream: int, code: int) -> None:
        """Say GOAWAY: no stream behind this one is answered, and none is told of any more."""
        with suppress(ngh2.NGH2Error):
            self._ngh2.send_goaway(code, last_stream_id=last_stream)


class Frames:
    """Reads the heads of a client's frames and nothing else."""

    __slots__ = ("_begun", "_last", "_skip")

    def __init__(self) -> None:
        self._begun = b""
        self._skip = PREFACE_BYTES
        self._last: Frame = (-1, 0, 0)

    def scan(self, data: bytes) -> list[Frame]:
        """Return the frames whose heads ended in these bytes."""
        if self._begun:
            data = self._begun + data
        at, end = self._skip, len(data)
        found = []
        while at + FRAME_HEAD_BYTES <= end:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            found.append((data[at + 3], data[at + 4], size))
            at += FRAME_HEAD_BYTES + size
        self._begun = data[at:]
        self._skip = max(0, at - end)
        if found:
            self._last = found[-1]
        return found

    @property
    def is_in_head(self) -> bool:
        """Say whether a request's head has begun and not ended."""
        kind, flags, _ = self._last
        return kind in HEAD_FRAMES and (not flags & END_HEADERS or self._skip > 0)
