"""One line per request in the format of ALB's access log, 33 fields (alb.md 4.12).

What a client sent is escaped the way nginx escapes log variables, as the real service does
(DataBiosphere/azul#4920 shows `?bar=\\x22`), so that no client can break a line or forge a field.
"""

import re
from functools import lru_cache

from gateway.core.http import Forwarding, Headers, HttpRequest, Tls
from gateway.core.listener import split_port
from gateway.core.notices import Notice, RequestServed
from gateway.core.tracing import header_bytes
from gateway.telemetry.timestamp import iso
from gateway.telemetry.writer import LineWriter

ELB = "app/gateway/0123456789abcdef"

USER_AGENT_LIMIT = 8 * 1024
"""Bytes of a user agent that the log keeps (alb.md 1.10)."""

CREATION_STEP_US = 1000
"""request_creation_time is in whole milliseconds, `.324000Z`, in every capture that was found."""

PROTOCOLS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0", "2": "HTTP/2.0", "": "-"}
"""A request that could not be read has no version: `"- http://example.com:80- -"` in captures."""

ABSOLUTE_FORM = re.compile(rb"[^/?#]+://(?:[^/?#@]*@)?([^/?#]*)(.*)", re.DOTALL)

# nginx, ngx_http_log_escape: printable ASCII stays, but for the quote and the backslash.
QUOTED = [chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}" for byte in range(256)]
QUOTED[34], QUOTED[92] = "\\x22", "\\x5C"


class AccessLog:
    """Writes the line of each request served; a Sink."""

    def __init__(self, writer: LineWriter, elb: str = ELB) -> None:
        self._write = writer.write
        self._elb = elb

    def emit(self, notice: Notice, /) -> None:
        """Write one line for a request; other notices have none."""
        if isinstance(notice, RequestServed):
            self._write(access_line(notice, self._elb))


def access_line(notice: RequestServed, elb: str) -> str:
    """Return the line without its end."""
    return f"{_exchange(notice, elb)} {_asked(notice)} {_decided(notice)}"


def _exchange(notice: RequestServed, elb: str) -> str:
    """Return fields 1 to 12, type to sent_bytes; a Lambda target has no address."""
    request = notice.request
    kind = "h2" if request.http_version == "2" else request.scheme
    host, port = request.client  # an IPv6 host has no brackets here (allinurl/goaccess#2557)
    return (
        f"{kind} {iso(notice.completed_at)} {elb} {_bare(host)}:{port} - {_times(notice)} "
        f"{notice.elb_status:03d} {_target_status(notice.response.forwarding)} "
        f"{request.received_bytes or _received_bytes(request)} {notice.sent_bytes}"
    )


def _asked(notice: RequestServed) -> str:
    """Return fields 13 to 20, request_line to chosen_cert_arn."""
    request = notice.request
    host, agent = _host_and_agent(request.headers)
    agent_text = _escaped(agent[:USER_AGENT_LIMIT]) or "-"
    arn = notice.response.forwarding.target_group_arn or "-"
    trace_id = _escaped(_encoded(request.trace_id)) or "-"
    cipher, version, name = _tls(request.tls)
    return (
        f'"{_request_line(request, host)}" "{agent_text}" {cipher} {version} {arn} "{trace_id}" '
        f'"{name}" "-"'
    )


def _tls(tls: Tls | None) -> tuple[str, str, str]:
    """Return ssl_cipher, ssl_protocol and domain_name; chosen_cert_arn is nothing that we have."""
    if tls is None:
        return "-", "-", "-"
    return tls.cipher_suite, tls.version, _escaped(_encoded(tls.server_name)) or "-"


def _decided(notice: RequestServed) -> str:
    """Return fields 21 to 33, matched_rule_priority to request_transform_status."""
    request = notice.request
    forwarding = notice.response.forwarding
    is_forwarded = _is_forwarded(forwarding)
    priority, action = (forwarding.rule_priority, "forward") if is_forwarded else ("-", "-")
    name, _, reason = request.classification.partition(" ")
    connection = f"TID_{request.connection_id}" if request.connection_id else "-"
    return (
        f'{priority} {iso(request.arrived_at, step_us=CREATION_STEP_US)} "{action}" "-" '
        f'"{forwarding.error_reason or "-"}" "-" "-" "{name or "-"}" "{reason or "-"}" '
        f'{connection} "-" "-" "-"'
    )


def _times(notice: RequestServed) -> str:
    """Return the three processing times; a client that left in between voids all of them.

    (elastic/beats' capture of a 460: `10.0.0.192:80 -1 -1 -1 460 - 125 0`.)
    """
    forwarding = notice.response.forwarding
    dispatched, target = forwarding.dispatched_at, forwarding.target_seconds
    is_answered = target >= 0
    if dispatched <= 0 or (notice.elb_status == 460 and not is_answered):
        return "-1 -1 -1"
    before = max(0.0, dispatched - notice.request.arrived_at)  # a clock may be set back
    if not is_answered:
        return f"{before:.3f} -1 -1"
    after = max(0.0, notice.completed_at - dispatched - target)
    return f"{before:.3f} {target:.3f} {after:.3f}"


def _target_status(forwarding: Forwarding) -> str:
    if forwarding.error_reason or not forwarding.target_status:
        return "-"
    return str(forwarding.target_status)


def _is_forwarded(forwarding: Forwarding) -> bool:
    """Say whether a rule ran: the target was called, or the Lambda target group refused."""
    return forwarding.dispatched_at > 0 or forwarding.error_reason.startswith("Lambda")


def _received_bytes(request: HttpRequest) -> int:
    """Return the size of a request whose head the server hid; 0 when it could not be read."""
    if not request.method:
        return 0
    request_line = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n")
    return request_line + header_bytes(request.headers) + len("\r\n") + len(request.body)


def _host_and_agent(headers: Headers) -> tuple[bytes, bytes]:
    """Return Host and User-Agent in one pass; the last of each counts, as in the event."""
    host = agent = b""
    for name, value in headers:
        size = len(name)
        if size == 4 and name.lower() == b"host":
            host = value
        elif size == 10 and name.lower() == b"user-agent":
            agent = value
    return host, agent


def _request_line(request: HttpRequest, host: bytes) -> str:
    """Return `METHOD scheme://host:port/uri HTTP/1.1`: the URI as sent, the listener's port."""
    uri = request.target
    if not uri.startswith(b"/"):
        host, uri = _from_absolute_form(uri, host)
    name = split_port(_escaped(host))[0] or _server_name(request)
    method = _escaped(_encoded(request.method)) or "-"
    version = request.http_version
    protocol = PROTOCOLS.get(version) or _escaped(_encoded(f"HTTP/{version}"))
    authority = f"{name}:{request.server[1]}"
    return f"{method} {request.scheme}://{authority}{_escaped(uri) or '-'} {protocol}"


def _from_absolute_form(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return authority and URI of an absolute-form target, which overrules Host (RFC 9112 section
    3.2.2)."""
    matched = ABSOLUTE_FORM.fullmatch(target)
    return (matched[1], matched[2] or b"/") if matched else (host, target)


def _server_name(request: HttpRequest) -> str:
    """Return our own address, for a request without Host."""
    host = request.server[0]
    return f"[{host}]" if ":" in host else host


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _escaped(value: bytes) -> str:
    """Return a value for a quoted field."""
    text = value.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(map(QUOTED.__getitem__, value))


@lru_cache(maxsize=1024)
def _bare(text: str) -> str:
    """Return a value for a field without quotes; the few peers of a moment are kept."""
    return _escaped(_encoded(text)).replace(" ", "\\x20")
