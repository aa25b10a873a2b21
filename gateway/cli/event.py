"""`gateway event`: the event that a request would become."""

from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson

from gateway import compose
from gateway.cli.options import listener_options
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.http import Headers, HttpRequest
from gateway.core.listener import DEFAULT_PORTS


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'Name: value'")
@click.option("-d", "--data", default="", metavar="DATA|@FILE", help="The body.")
@listener_options
def event(
    method: str, url: str, headers: tuple[str, ...], data: str, attributes: Attributes, as_url: str
) -> None:
    """Print the event that METHOD URL would become behind the load balancer."""
    request = asked(method, url, headers, body(data))
    serving = Serving(Function("app.handler"), attributes=attributes, listener_url=as_url)
    payload = compose.event_of(serving, request)
    text = orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2)
    click.echo(text.decode())


def asked(method: str, url: str, headers: tuple[str, ...], content: bytes) -> HttpRequest:
    """Return the request that a client would send to a URL; raises InvalidSetting."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidSetting(f"{url!r} is no http or https URL")
    path = (parts.path or "/").encode()
    query = parts.query.encode()
    given = [header_line(text) for text in headers]
    names = {name.lower() for name, _ in given}
    defaults: Headers = [(b"Host", parts.netloc.rpartition("@")[2].encode())]
    if content:
        defaults.append((b"Content-Length", b"%d" % len(content)))
    return HttpRequest(
        method,
        path + b"?" + query if query else path,
        path,
        query,
        [line for line in defaults if line[0].lower() not in names] + given,
        content,
        server=(parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]),
        scheme=parts.scheme,
    )


def header_line(text: str) -> tuple[bytes, bytes]:
    """Return name and value of `Name: value`; raises InvalidSetting."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InvalidSetting(f"header {text!r} needs the form 'Name: value'")
    return name.strip().encode(), value.strip().encode()


def body(data: str) -> bytes:
    """Return the body that `-d` means; raises InvalidSetting when its file cannot be read."""
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise InvalidSetting(f"-d {data} cannot be read: {error}") from error
