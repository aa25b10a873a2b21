"""HTTP/2 clients of the listener's own front without a socket, spoken by an independent codec."""

import struct
from collections.abc import Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack

from gateway.core.http import Tls
from gateway.web.h2_connection import Http2Connection
from gateway.web.shared_room import SharedRoom
from tests.web.peer import CLIENT, SERVER, World
from tests.web.transport import Peer

Pairs = list[tuple[str, str]]

GET: Pairs = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/a?b=c")]
POST: Pairs = [(":method", "POST"), *GET[1:]]


def head(*more: tuple[str, str], of: Pairs = GET, **changed: str) -> Pairs:
    """A request's headers: pseudo-headers changed by name, others behind them."""
    return [(name, changed.get(name[1:], value)) for name, value in of] + list(more)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = struct.pack(">I", len(payload))[1:]
    return size + bytes([kind, flags]) + struct.pack(">I", stream_id) + payload


class H2Client:
    """A client that speaks through h2, and what it was told."""

    def __init__(
        self,
        world: World,
        *,
        window: int = 65_535,
        tls: Tls | None = None,
        shared: SharedRoom | None = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.shared = shared or SharedRoom(1000, world.front)
        self.room = self.shared.room
        names = {"peername": CLIENT, "sockname": SERVER}
        self.connection = Http2Connection(world.front, self.shared, tls)
        self.peer = Peer(world.loop, self.connection, names=names, **options)
        world.peers.append(self.peer)
        # Wrong messages are to be sent too.
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.codec = h2.connection.H2Connection(config)
        values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.codec.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.codec.initiate_connection()
        self.events: list[h2.events.Event] = []
        self._read = 0
        self._begun = b""
        others = set(self.room.shares)
        self.connection.connection_made(self.peer)
        self.share = next(iter(self.room.shares - others), None)
        self.flush()

    def flush(self) -> None:
        """Send what the codec has to send, and read what comes."""
        data = self.codec.data_to_send()
        if data:
            self.raw(data)
        else:
            self.read()

    def raw(self, data: bytes) -> None:
        """Send bytes past the codec."""
        self.peer.send(data)
        self.read()

    def read(self) -> None:
        """Let the gateway work, and read what it says."""
        self.world.turn()
        received, self._read = (
            self._begun + self.peer.received[self._read :],
            len(self.peer.received),
        )
        while len(received) >= 9 + int.from_bytes(received[:3], "big"):
            size = 9 + int.from_bytes(received[:3], "big")
            self.events += self.codec.receive_data(received[:size])
            received = received[size:]
            machine = self.codec.state_machine
            if machine.state is h2.connection.ConnectionState.CLOSED:
                # GOAWAY ends no stream (RFC 9113 section 6.8), as this codec believes.
                machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        self._begun = received
        answer = self.codec.data_to_send()
        if answer and not self.peer.is_closed:
            self.peer.send(answer)
            self.world.turn()

    def ask(self, headers: Pairs = GET, body: bytes | None = None, *, ends: bool = True) -> int:
        """Send a request and return its stream."""
        stream_id = self.codec.get_next_available_stream_id()
        self.codec.send_headers(stream_id, headers, end_stream=ends and body is None)
        if body is not None:
            self.send(stream_id, body, ends=ends)
        self.flush()
        return stream_id

    def send(self, stream_id: int, body: bytes, *, ends: bool = True) -> None:
        """Send a body, or a part of it, as far as the gateway lets it come."""
        while body:
            size = min(16_384, self.codec.local_flow_control_window(stream_id))
            assert size, "the gateway gives no window back"
            piece, body = body[:size], body[size:]
            self.codec.send_data(stream_id, piece, end_stream=ends and not body)
            self.flush()

    def take(self, size: int, *streams: int) -> None:
        """Give the gateway room for this much on these streams and the connection."""
        for stream_id in (None, *streams):
            self.codec.increment_flow_control_window(size, stream_id)
        self.flush()

    # What came.

    def of(self, kind: type, stream_id: int | None = None) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind)
            and (stream_id is None or getattr(event, "stream_id", None) == stream_id)
        ]

    def headers(self, stream_id: int) -> dict[str, str]:
        (event,) = self.of(h2.events.ResponseReceived, stream_id)
        return dict(event.headers)

    def status(self, stream_id: int) -> int:
        return int(self.headers(stream_id)[":status"])

    def body(self, stream_id: int) -> bytes:
        return b"".join(event.data for event in self.of(h2.events.DataReceived, stream_id))

    def is_over(self, stream_id: int) -> bool:
        return bool(self.of(h2.events.StreamEnded, stream_id))

    def reset(self, stream_id: int) -> int | None:
        """The error code that the gateway has reset a stream with."""
        found = self.of(h2.events.StreamReset, stream_id)
        return int(found[0].error_code) if found else None

    @property
    def goaways(self) -> list[tuple[int, int]]:
        """Error code and last stream of every GOAWAY."""
        return [
            (int(event.error_code), event.last_stream_id)
            for event in self.of(h2.events.ConnectionTerminated)
        ]


def statuses(client: H2Client, streams: Sequence[int]) -> list[int]:
    return [client.status(stream_id) for stream_id in streams]


BLOCK = hpack.Encoder().encode(GET)
"""A request's head in full, past the codec's own table."""


def asked(*ids: int) -> bytes:
    """Requests on these streams, past the codec: what comes of them is not for it to read."""
    return b"".join(frame(1, 5, at, BLOCK) for at in ids)
