"""HTTP/2 from bytes and to bytes, framed by zttp; no policy.

zttp answers PING and SETTINGS, gives receive windows back, keeps HPACK and the states of streams,
and refuses malformed messages (RFC 9113 section 8.1.1) with a reset of its own; it shows an event
for what a request is made of. What it hides, frames without an event, `Frames` shows: the nine
bytes before each frame, read beside it.
"""

from collections.abc import Iterator

import zttp
from zttp import Data, EndOfMessage, GoAway, Request, RstStream, Settings, WindowUpdate

from gateway.core.floods import CONTINUATION, END_HEADERS, HEADERS, WINDOW_UPDATE, Frame
from gateway.core.http import Headers

__all__ = ["Broken", "Data", "EndOfMessage", "Event", "Frames", "GoAway", "Request", "RstStream"]
__all__ += ["Session", "Settings", "WindowUpdate"]

NO_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x2, 0x3
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x7, 0x8, 0xB
"""Error codes (RFC 9113 section 7)."""

PREFACE_BYTES = 24
FRAME_HEAD_BYTES = 9
SETTING_BYTES = 6
ENABLE_CONNECT_PROTOCOL = 0x8

Event = Request | Data | EndOfMessage | RstStream | GoAway | Settings | WindowUpdate
"""What zttp tells of a connection, PING and acknowledgements aside."""

HEAD_FRAMES = frozenset({HEADERS, CONTINUATION})


CODE_BYTES = 4


class Broken(Exception):
    """The client broke the protocol; a GOAWAY that says so is ready to be sent."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
        """The error code of that GOAWAY."""


class Unsendable(Exception):
    """zttp refuses to send this."""


class Session:
    """One connection's state; bytes to send pile up until they are taken."""

    __slots__ = ("_unsent", "_withheld", "_zttp")

    def __init__(self) -> None:
        self._unsent = b""
        self._withheld: dict[int, bytes] = {}
        self._zttp = zttp.Connection(zttp.SERVER, protocol=zttp.HTTP2)

    def preface(self) -> bytes:
        """Return the server's first bytes: SETTINGS, without the extended CONNECT that zttp
        announces (RFC 8441 section 3) and we refuse."""
        self._zttp.initiate_connection()
        frame = self._zttp.data_to_send()
        payload = frame[FRAME_HEAD_BYTES:]
        settings = [payload[at : at + SETTING_BYTES] for at in range(0, len(payload), 6)]
        kept = b"".join(
            item for item in settings if int.from_bytes(item[:2], "big") != ENABLE_CONNECT_PROTOCOL
        )
        return len(kept).to_bytes(3, "big") + frame[3:FRAME_HEAD_BYTES] + kept

    def receive(self, data: bytes) -> Iterator[Event]:
        """Read bytes and yield what they say; raises Broken."""
        self._zttp.receive_data(data)
        following = self._zttp.next_event
        try:
            while (event := following()) is not zttp.NEED_DATA:
                if event is zttp.CONNECTION_CLOSED:
                    return
                yield event  # type: ignore[misc]  # a server gets no Response
        except zttp.RemoteProtocolError as error:
            self._unsent += self._zttp.data_to_send()
            code = int.from_bytes(self._unsent[-CODE_BYTES:], "big")
            raise Broken(str(error), code) from error

    def take(self) -> bytes:
        """Return what is to be sent, once."""
        data = self._zttp.data_to_send()
        if self._withheld:
            data = self._without_windows(data)
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        return data

    def withhold(self, stream_id: int) -> None:
        """Give no receive window back to a stream from now on: zttp gives it for every byte."""
        self._withheld[stream_id] = b""

    def give_back(self, stream_id: int) -> None:
        """Give back what was withheld, and from now on what comes."""
        self._unsent += self._withheld.pop(stream_id, b"")

    def forget(self, stream_id: int) -> None:
        """Drop what is withheld from a stream that is over."""
        self._withheld.pop(stream_id, None)

    def _without_windows(self, data: bytes) -> bytes:
        """Return frames without the receive windows that are withheld, and keep those."""
        kept, at = [], 0
        while at < len(data):
            end = at + FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            stream_id = int.from_bytes(data[at + 5 : at + FRAME_HEAD_BYTES], "big")
            if data[at + 3] == WINDOW_UPDATE and stream_id in self._withheld:
                self._withheld[stream_id] += data[at:end]
            else:
                kept.append(data[at:end])
            at = end
        return b"".join(kept)

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a body the client lets us send."""
        window = self._zttp.stream(stream_id).send_window
        return max(0, min(window or 0, self._zttp.send_window))

    def send_head(self, stream_id: int, status: int, headers: Headers, *, is_last: bool) -> None:
        """Send a response's head; raises Unsendable."""
        try:
            self._zttp.stream(stream_id).send_response(status, headers, is_last)
        except zttp.LocalProtocolError as error:
            raise Unsendable(str(error)) from error

    def send_data(self, stream_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send a piece of a body, no larger than there is room; raises Unsendable."""
        stream = self._zttp.stream(stream_id)
        try:
            stream.send_data(data)
            if is_last:
                stream.end_message()
        except zttp.LocalProtocolError as error:
            raise Unsendable(str(error)) from error

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream."""
        self._zttp.stream(stream_id).reset(code)

    def go_away(self, last_stream: int, code: int) -> None:
        """Say that no stream behind this one is answered."""
        self._zttp.close(code, last_stream)


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
