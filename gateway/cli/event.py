"""`gateway event`: the event that a request would become."""

import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import click
import orjson

from gateway.cli.options import described_function_options, listener_options
from gateway.compose import listener
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.alb import maybe_refusal
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.http import Headers, HttpRequest
from gateway.core.listener import DEFAULT_PORTS


@click.command(short_help="Print the event that a request would become.")
@click.argument("method")
@click.argument("url")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header; repeatable.",
)
@click.option(
    "-d", "--data", default="", metavar="DATA|@FILE", help="The body, or the file that holds it."
)
@described_function_options
@listener_options
def event(
    method: str,
    url: str,
    headers: tuple[str, ...],
    data: str,
    function: Function,
    target_group_arn: str,
    attributes: Attributes,
    as_url: str,
) -> None:
    """Print the event that METHOD URL would become behind the load balancer.

    URL is the listener's, such as http://shop.example.org/cart?x=1; what the listener would refuse
    is an error here. The options that describe a function are those of `gateway serve`, and with
    the same ones the event names the same target group.
    """
    request = asked(method, url, headers, body(data))
    if refused := maybe_refusal(request):
        raise refused
    behind = document(
        function, target_group_arn=target_group_arn, attributes=attributes, seen_as=as_url
    )
    payload = listener.event_of(behind, request)
    text = orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2)
    click.echo(text.decode())


def asked(method: str, url: str, headers: tuple[str, ...], content: bytes) -> HttpRequest:
    """Return the request that a client would send to a URL; raises InvalidSetting."""
    parts = url_parts(url)
    path, query = os.fsencode(parts.path or "/"), os.fsencode(parts.query)
    given = [header_line(text) for text in headers]
    names = {name.lower() for name, _ in given}
    defaults: Headers = [(b"Host", os.fsencode(parts.netloc.rpartition("@")[2]))]
    if content:
        defaults.append((b"Content-Length", b"%d" % len(content)))
    return HttpRequest(
        method,
        path + b"?" + query if query else path,
        path,
        query,
        [line for line in defaults if line[0].lower() not in names] + given,
        content,
        server=(parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]),
        scheme=parts.scheme,
    )


def url_parts(url: str) -> SplitResult:
    """Return the parts of an http or https URL with a host; raises InvalidSetting."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_whole = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError as error:  # a port that is not a number, brackets that do not match
        raise InvalidSetting(f"{url!r} is not a URL: {error}") from error
    if not is_whole:
        raise InvalidSetting(f"{url!r} is not a URL such as http://shop.example.org/cart?x=1")
    return parts


def header_line(text: str) -> tuple[bytes, bytes]:
    """Return name and value of `Name: value`; raises InvalidSetting."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InvalidSetting(f"header {text!r} needs the form 'Name: value'")
    return os.fsencode(name.strip()), os.fsencode(value.strip())


def body(data: str) -> bytes:
    """Return the body that `-d` means; raises InvalidSetting when its file cannot be read."""
    if not data.startswith("@"):
        return os.fsencode(data)
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise InvalidSetting(f"-d {data} cannot be read: {error.strerror}") from error
