"""Sends a request whose body is SIZE bytes in pieces of PIECE with PAUSE seconds between, all of it
before the answer is read; prints the status: LIBRARY URL SIZE PIECE PAUSE [KIND]."""

import http.client
import select
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

LIBRARY, URL, SIZE, PIECE, PAUSE = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6])
KIND = sys.argv[6] if len(sys.argv) > 6 else "length"

CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE
if KIND == "tls1.2":
    CONTEXT.maximum_version = ssl.TLSVersion.TLSv1_2

LINES = {
    "header": [("X", 17_000 * "x")],
    "head": [(f"X{number}", 15_000 * "x") for number in range(6)],
    "fields": [("X", "y")] * 300,
    "hosts": [("Host", "b")],
    "coding": [("Transfer-Encoding", "gzip")],
    "severe": [("Content-Length", "7")],
    "expect": [("Expect", "100-continue")],
}


def body() -> Iterator[bytes]:
    left = int(SIZE)
    while left > 0:
        piece = min(left, int(PIECE))
        left -= piece
        yield bytes(piece)
        select.select([], [], [], PAUSE)


def by_http_client() -> int:
    parts = urlsplit(URL)
    if parts.scheme == "https":
        made = http.client.HTTPSConnection(parts.netloc, timeout=60, context=CONTEXT)
    else:
        made = http.client.HTTPConnection(parts.netloc, timeout=60)
    made.putrequest("POST", "/" + (20_000 * "a" if KIND == "target" else ""))
    for name, value in LINES.get(KIND, []):
        made.putheader(name, value)
    if KIND == "chunked":
        made.putheader("Transfer-Encoding", "chunked")
    else:
        made.putheader("Content-Length", str(int(SIZE)))
    made.endheaders()
    for piece in body():
        made.send(b"%x\r\n%b\r\n" % (len(piece), piece) if KIND == "chunked" else piece)
    return made.getresponse().status


def by_urllib() -> int:
    request = urllib.request.Request(URL, body(), {"Content-Length": str(int(SIZE))}, method="POST")
    try:
        return int(urllib.request.urlopen(request, timeout=60, context=CONTEXT).status)
    except urllib.error.HTTPError as error:
        return error.code


def by_httpx() -> int:
    headers = {"Content-Length": str(int(SIZE))}
    with httpx.Client(verify=False, timeout=60) as client:
        return client.post(URL, content=body(), headers=headers).status_code


print({"http.client": by_http_client, "urllib": by_urllib, "httpx": by_httpx}[LIBRARY]())
