"""HTTP/1 requests as values: from a head that was judged, or from what is left of one that was
refused."""

from dataclasses import dataclass

from gateway.core.desync import CHUNKED, Judgement
from gateway.core.http import Headers, HttpRequest, Tls, has_token, header

UNREADABLE = frozenset({"", "0.9"})
"""Versions of a request line that cannot be trusted; the access log has dashes for it."""


def path_of(target: bytes) -> bytes:
    """Return path and query of a target: absolute-form loses scheme and authority, `#` ends it.

    A path in an event begins with `/` whatever was sent; `*` asks for no path (RFC 9112 section
    3.2.4).
    """
    if b"#" in target:
        target = target.partition(b"#")[0]
    if target.startswith(b"/"):
        return target
    if target == b"*":
        return b"/"
    _, is_absolute, rest = target.partition(b"://")
    if not is_absolute:
        return b"/" + target
    start = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[start:]
    return path if path.startswith(b"/") else b"/" + path


@dataclass(slots=True)
class ConnectionInfo:
    """What all requests of one connection have in common."""

    client: tuple[str, int]
    server: tuple[str, int]
    tls: Tls | None
    connection_id: str

    def request(
        self, method: str, target: bytes, version: str, headers: Headers, now: float
    ) -> HttpRequest:
        """Return a request without its body; `now` is when its head was complete."""
        raw_path, _, query = path_of(target).partition(b"?")
        return HttpRequest(
            method,
            target,
            raw_path,
            query,
            headers,
            b"",
            self.client,
            self.server,
            "https" if self.tls else "http",
            version,
            now,
            connection_id=self.connection_id,
            tls=self.tls,
        )

    def unread(self, judgement: Judgement | None, now: float) -> HttpRequest:
        """Return what can be said of a request whose head was refused."""
        if judgement is None or judgement.version in UNREADABLE:
            request = self.request("", b"", "", [], now)
            request.raw_path = b""
        else:
            request = self.request(
                judgement.method, judgement.target, judgement.version, judgement.headers, now
            )
        if judgement is not None:
            request.headers = judgement.headers
            request.classification = judgement.classification
        return request


def expects_continue(version: str, headers: Headers) -> bool:
    """Say whether the client waits for 100: HTTP/1.0 knows none (RFC 9110 section 10.1.1)."""
    return version != "1.0" and has_token(headers, b"expect", b"100-continue")


def declared_length(headers: Headers) -> int:
    """Return the size of the body as a judged head says it, or CHUNKED."""
    declared = header(headers, b"content-length")
    # int() takes no more than 4300 digits, and zeros may lead.
    return CHUNKED if declared is None else int(declared.lstrip(b"0") or b"0")
