"""Requests as the codec gets them."""

from typing import Any

from gateway.core.http import Headers, HttpRequest


def asked(headers: Headers | None = None, **fields: Any) -> HttpRequest:
    """Return a GET for /, with headers and whatever fields a test names."""
    return HttpRequest(
        fields.pop("method", "GET"),
        fields.pop("target", b"/"),
        fields.pop("raw_path", b"/"),
        fields.pop("query_string", b""),
        headers or [],
        **fields,
    )
