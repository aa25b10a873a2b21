"""What the codec alone costs: microseconds for an encode (request to event) and a decode (reply to
response).

Three questions, one at a time: how the cost grows with the headers, with the body, and what the
multi-value mode adds. Every figure is the median of several repeats in a tight loop, where caches
and branch predictors know the code; between a server's other work the same code is slower.
"""

import base64
import json
import statistics
import timeit
from collections.abc import Callable, Iterator

from heads import HEADS, TARGET, Pairs

from gateway.core.alb import AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.http import HttpRequest

try:
    from gateway.core.listener import ListenerAddress
except ImportError:  # `make instructions` measures revisions in which it has its former name
    from gateway.core.listener import Listener as ListenerAddress

Result = dict[str, float]
Case = tuple[str, Callable[[], object]]

ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/hello/1234567890123456"
TRACE_ID = "Root=1-67891233-abcdef012345678912345678"
LISTENER = ListenerAddress("http", 8080, "hello-1234567890.us-east-1.elb.amazonaws.com")

USUAL_HEADERS = 12
KB = 1024
SIZES = {"0": 0, "1 KB": KB, "100 KB": 100 * KB, "900 KB": 900 * KB}

REPEATS = 9
REPEAT_SECONDS = 0.05
QUICK_REPEATS = 5
QUICK_SECONDS = 0.01


def measured(*, is_quick: bool = False) -> dict[str, dict[str, Result]]:
    """Return microseconds by direction and case."""
    repeats, seconds = (QUICK_REPEATS, QUICK_SECONDS) if is_quick else (REPEATS, REPEAT_SECONDS)
    return {
        "encode": {name: timed(call, repeats, seconds) for name, call in encode_cases()},
        "decode": {name: timed(call, repeats, seconds) for name, call in decode_cases()},
    }


def timed(call: Callable[[], object], repeats: int, seconds: float) -> Result:
    """Return the median, least and greatest microseconds of one call."""
    timer = timeit.Timer(call)
    number = max(1, int(seconds / max(timer.timeit(1), timer.timeit(1))))
    each = [total / number * 1e6 for total in timer.repeat(repeats, number)]
    figures = {"median_us": statistics.median(each), "min_us": min(each), "max_us": max(each)}
    return {name: round(figure, 3) for name, figure in figures.items()}


def encode_cases() -> Iterator[Case]:
    """Yield a name and a call for every request."""
    for count in HEADS:
        yield f"{count} headers", encoding(request(count))
    multi = encoding(request(USUAL_HEADERS), is_multi_value=True)
    yield f"{USUAL_HEADERS} headers, multi-value", multi
    for size, length in SIZES.items():
        text = request(USUAL_HEADERS, b"text/plain; charset=utf-8", text_of(length).encode())
        yield f"{size} of text", encoding(text)
        yield f"{size} of binary", encoding(request(USUAL_HEADERS, b"image/png", bytes_of(length)))


def decode_cases() -> Iterator[Case]:
    """Yield a name and a call for every reply; 900 KB as base64 is over what ALB takes from
    Lambda."""
    for count in HEADS:
        yield f"{count} headers", decoding(reply(count))
    multi = decoding(reply(USUAL_HEADERS, is_multi_value=True), is_multi_value=True)
    yield f"{USUAL_HEADERS} headers, multi-value", multi
    for size, length in SIZES.items():
        yield f"{size} of text", decoding(reply(USUAL_HEADERS, text_of(length)))
        binary = base64.b64encode(bytes_of(min(length, 700 * KB))).decode("ascii")
        name = size.replace("900", "700")
        yield f"{name} of binary", decoding(reply(USUAL_HEADERS, binary, is_base64=True))


def encoding(request: HttpRequest, *, is_multi_value: bool = False) -> Callable[[], bytes]:
    """Return a call that encodes the request."""
    codec = AlbCodec(ARN, LISTENER, Attributes(multi_value_headers=is_multi_value))
    return lambda: codec.encode(request)


def decoding(payload: bytes, *, is_multi_value: bool = False) -> Callable[[], object]:
    """Return a call that decodes the reply."""
    codec = AlbCodec(ARN, LISTENER, Attributes(multi_value_headers=is_multi_value))
    asked = request(2)
    return lambda: codec.decode(payload, asked)


def request(count: int, content_type: bytes = b"", body: bytes = b"") -> HttpRequest:
    """Return a request with this many headers, a type and a body beside them if given."""
    headers: Pairs = HEADS[count] + ([(b"Content-Type", content_type)] if content_type else [])
    path, _, query = TARGET.partition(b"?")
    return HttpRequest("POST", TARGET, path, query, headers, body, trace_id=TRACE_ID)


def reply(
    count: int, body: str = "", *, is_base64: bool = False, is_multi_value: bool = False
) -> bytes:
    """Return a reply with this many headers as a function sends it."""
    names = ["content-type", *(f"x-header-{number:02d}" for number in range(count - 1))]
    values = ["text/plain; charset=utf-8", *(f"value number {n}" for n in range(count - 1))]
    headers = dict(zip(names, values, strict=True))
    members = {"statusCode": 200, "body": body, "isBase64Encoded": is_base64}
    if is_multi_value:
        lists = {name: [value] for name, value in headers.items()}
        return json.dumps({**members, "multiValueHeaders": lists}).encode()
    return json.dumps({**members, "headers": headers}).encode()


def text_of(length: int) -> str:
    """Return text of this length, with a line end every 64 characters as documents have them."""
    line = "The quick brown fox jumps over the lazy dog and comes back home\n"
    return (line * (length // len(line) + 1))[:length]


def bytes_of(length: int) -> bytes:
    """Return bytes of this length, every value among them."""
    return (bytes(range(256)) * (length // 256 + 1))[:length]


if __name__ == "__main__":
    print(json.dumps(measured(), indent=2))
