"""TLS of the client: the peer is verified, and its sessions are resumed.

asyncio and uvloop have no argument for a session, but both ask the context to wrap their buffers,
and that call takes one. So the context that they get is ours and hands on to the real one.
"""

import ssl
from typing import Self


def verifying_context() -> ssl.SSLContext:
    """Return a context that trusts the machine's authorities and asks for HTTP/1.1 (RFC 7301)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class ResumingContext(ssl.SSLContext):
    """A context whose next handshake resumes the last session (RFC 8446 section 2.2).

    For one peer alone: a resumed session is not verified again.
    """

    _context: ssl.SSLContext
    session: ssl.SSLSession | None

    def __new__(cls, context: ssl.SSLContext) -> Self:
        """Return a context that wraps another one."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self._context = context
        self.session = None
        return self

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Return what the wrapped context returns, with the session kept here."""
        return self._context.wrap_bio(
            incoming,
            outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session or self.session,
        )

    def remember(self, connected: ssl.SSLObject | None) -> None:
        """Keep the session of a connection that has received something."""
        if connected is not None:
            self.session = connected.session
