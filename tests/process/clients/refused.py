"""Sends requests at the same time: each with a body of SIZE bytes in pieces of PIECE with PAUSE
seconds between, all of it before the answer is read; prints a status for each, one a line, in the
order of the arguments: URL LIBRARY:SIZE:PIECE:PAUSE:KIND ..."""

import http.client
import select
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

LINES = {
    "header": [("X", 17_000 * "x")],
    "head": [(f"X{number}", 15_000 * "x") for number in range(6)],
    "fields": [("X", "y")] * 300,
    "hosts": [("Host", "b")],
    "coding": [("Transfer-Encoding", "gzip")],
    "severe": [("Content-Length", "7")],
    "expect": [("Expect", "100-continue")],
}


class Job(NamedTuple):
    """One request."""

    url: str
    size: int
    piece: int
    pause: float
    kind: str

    def body(self) -> Iterator[bytes]:
        left = self.size
        while left > 0:
            piece = min(left, self.piece)
            left -= piece
            yield bytes(piece)
            select.select([], [], [], self.pause)

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.kind == "tls1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


def by_http_client(job: Job) -> int:
    parts = urlsplit(job.url)
    if parts.scheme == "https":
        made = http.client.HTTPSConnection(parts.netloc, timeout=60, context=job.context())
    else:
        made = http.client.HTTPConnection(parts.netloc, timeout=60)
    made.putrequest("POST", "/" + (20_000 * "a" if job.kind == "target" else ""))
    for name, value in LINES.get(job.kind, []):
        made.putheader(name, value)
    if job.kind == "chunked":
        made.putheader("Transfer-Encoding", "chunked")
    else:
        made.putheader("Content-Length", str(job.size))
    made.endheaders()
    for piece in job.body():
        made.send(b"%x\r\n%b\r\n" % (len(piece), piece) if job.kind == "chunked" else piece)
    return made.getresponse().status


def by_urllib(job: Job) -> int:
    headers = {"Content-Length": str(job.size)}
    request = urllib.request.Request(job.url, job.body(), headers, method="POST")
    try:
        return int(urllib.request.urlopen(request, timeout=60, context=job.context()).status)
    except urllib.error.HTTPError as error:
        return error.code


def by_httpx(job: Job) -> int:
    headers = {"Content-Length": str(job.size)}
    with httpx.Client(verify=job.context(), timeout=60) as client:
        return client.post(job.url, content=job.body(), headers=headers).status_code


LIBRARIES = {"http.client": by_http_client, "urllib": by_urllib, "httpx": by_httpx}


def asked(words: str) -> object:
    """Return the status, or the error."""
    library, size, piece, pause, kind = words.split(":")
    try:
        return LIBRARIES[library](Job(sys.argv[1], int(size), int(piece), float(pause), kind))
    except (OSError, http.client.HTTPException, httpx.HTTPError) as error:
        return repr(error)


with ThreadPoolExecutor(len(sys.argv)) as pool:
    print(*pool.map(asked, sys.argv[2:]), sep="\n")
