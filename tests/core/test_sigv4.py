"""Signatures: AWS's published vectors, and whatever botocore signs."""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import header
from gateway.core.sigv4 import (
    KEYS_LIMIT,
    Credentials,
    CredentialScope,
    RequestToSign,
    canonical_path,
    canonical_query,
    digest,
    signed,
    signing_key,
)

VECTORS = sorted((Path(__file__).parents[1] / "data" / "sigv4").glob("*.txt"))
VECTORS_COUNT = 26
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT = float(calendar.timegm((2015, 8, 30, 12, 36, 0)))
EXAMPLE = Credentials("AKIDEXAMPLE", SECRET)
LAMBDA = CredentialScope("eu-west-1")
HOST = (b"Host", b"lambda.eu-west-1.amazonaws.com")


@dataclass
class Vector:
    """A request of AWS's suite, and what it must be signed with."""

    request: RequestToSign
    token: str
    authorization: bytes


def read(path: Path) -> Vector:
    """Return the vector in a file."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, rest = first.partition(b" ")
    pairs = [(name, value) for name, _, value in (line.partition(b":") for line in lines)]
    authorization = header(pairs, b"authorization") or b""
    token = (header(pairs, b"x-amz-security-token") or b"").decode()
    target = rest.removesuffix(b" HTTP/1.1")
    return Vector(RequestToSign(method, target, pairs, digest(body)), token, authorization)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_signature_is_awss(path: Path) -> None:
    vector = read(path)

    credentials = Credentials("AKIDEXAMPLE", SECRET, vector.token)
    headers = signed(vector.request, credentials, CredentialScope("us-east-1", "service"), at=AT)

    assert header(headers, b"authorization") == vector.authorization


def test_every_vector_is_read() -> None:
    assert len(VECTORS) == VECTORS_COUNT


SEGMENT = st.text("abcXYZ019-_.~ %:$\u20ac", min_size=0, max_size=6).map(
    lambda text: quote(text, safe="")
)
PATH = st.lists(SEGMENT | st.sampled_from([".", "..", ""]), max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)
QUERY = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name, safe='-_.~')}={quote(it, safe='')}" for name, it in pairs)
)
NAMES = ["X-Amz-Log-Type", "x-amz-client-context", "Content-Type", "User-Agent", "X-Amzn-Trace-Id"]
HEADERS = st.dictionaries(
    st.sampled_from(NAMES), st.text("ab\t ,;=\"'{}:/+9", min_size=0, max_size=12), max_size=5
)
CREDENTIALS = st.builds(
    Credentials,
    st.text("AKIZ29", min_size=1, max_size=20),
    st.text("aZ09+/=", min_size=1, max_size=40),
    st.just("") | st.text("aZ09+/=", min_size=1, max_size=40),
)


def by_botocore(
    request: RequestToSign, credentials: Credentials, scope: CredentialScope, at: float
) -> dict[str, str]:
    """Return the headers that botocore's signer gives a request, names in lower case."""
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - where botocore is installed
    from botocore.credentials import Credentials as Keys  # noqa: PLC0415

    headers = {name.decode(): value.decode() for name, value in request.headers}
    url = f"https://{headers.pop('Host')}{request.target.decode()}"
    theirs = AWSRequest(request.method.decode(), url, headers=headers, data=b"")
    keys = Keys(credentials.access_key, credentials.secret_key, credentials.token or None)
    signer = auth.SigV4Auth(keys, scope.service, scope.region)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: datetime.fromtimestamp(at, UTC))
        signer.add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items()}


def a_request(path: str, query: str, headers: dict[str, str], body: bytes) -> RequestToSign:
    """Return a request to Lambda with these parts; both signers take the body's digest from it."""
    target = f"{path}?{query}" if query else path
    given = [HOST, *((name.encode(), value.encode()) for name, value in headers.items())]
    given.append((b"X-Amz-Content-SHA256", digest(body).encode()))
    return RequestToSign(b"POST", target.encode(), given, digest(body))


@pytest.mark.slow
@given(
    request=st.builds(a_request, PATH, QUERY, HEADERS, st.binary(max_size=20)),
    credentials=CREDENTIALS,
    region=st.sampled_from(["eu-west-1", "us-gov-west-1"]),
    at=st.integers(0, 4_000_000_000),
)
def test_signature_is_botocores(
    request: RequestToSign, credentials: Credentials, region: str, at: int
) -> None:
    ours = signed(request, credentials, CredentialScope(region), at=at)

    theirs = by_botocore(request, credentials, CredentialScope(region), at)
    for name in ("authorization", "x-amz-date", "x-amz-security-token"):
        found = header(ours, name.encode())
        assert (found.decode() if found is not None else None) == theirs.get(name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", "/"),
        (b"/", "/"),
        (b"/a/", "/a/"),
        (b"/a/..", "/"),
        (b"/../a", "/a"),
        (b"/a/../../b/./c//", "/b/c/"),
        (b"/arn%3Aaws/f%2F%20", "/arn%253Aaws/f%252F%2520"),
        (b"/\xff~-_.", "/%FF~-_."),
    ],
)
def test_path_is_normalised_and_encoded_once_more(path: bytes, expected: str) -> None:
    assert canonical_path(path) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"Qualifier=prod", "Qualifier=prod"),
        (b"Qualifier=%24LATEST", "Qualifier=%24LATEST"),
        (b"Qualifier=$LATEST", "Qualifier=%24LATEST"),
        (b"b&a=", "a=&b="),
        (b"a=2&a=1&a-=0", "a=1&a=2&a-=0"),
        (b"a=%7e%2f", "a=~%2F"),
        (b"a=b=c", "a=b%3Dc"),
    ],
)
def test_query_is_sorted_and_encoded_in_one_way(query: bytes, expected: str) -> None:
    assert canonical_query(query) == expected


def test_earlier_signature_is_replaced() -> None:
    old = [(b"AUTHORIZATION", b"old"), (b"x-amz-date", b"old"), (b"X-Amz-Security-Token", b"old")]
    request = RequestToSign(b"POST", b"/", [HOST, *old], digest(b""))

    assert signed(request, EXAMPLE, LAMBDA, at=AT) == signed(
        RequestToSign(b"POST", b"/", [HOST], digest(b"")), EXAMPLE, LAMBDA, at=AT
    )


def test_given_headers_are_sent_as_they_are() -> None:
    headers = [HOST, (b"user-agent", b"a  b"), (b"X-Amz-Log-Type", b" Tail ")]

    found = signed(RequestToSign(b"POST", b"/", headers, digest(b"")), EXAMPLE, LAMBDA, at=AT)

    assert found[:3] == headers
    assert b"user-agent" not in (header(found, b"authorization") or b"")


def test_signing_keys_are_remembered_but_not_without_end() -> None:
    signing_key.cache_clear()
    request = RequestToSign(b"POST", b"/", [HOST], digest(b""))

    for day in range(KEYS_LIMIT * 2):
        for _ in range(3):
            signed(request, EXAMPLE, LAMBDA, at=AT + day * 86400)

    assert signing_key.cache_info().misses == KEYS_LIMIT * 2
    assert signing_key.cache_info().currsize == KEYS_LIMIT


def test_credentials_show_nothing_of_themselves() -> None:
    shown = f"{Credentials('AKIDEXAMPLE', SECRET, 'token')!r} {EXAMPLE}"

    assert shown == "Credentials() Credentials()"
