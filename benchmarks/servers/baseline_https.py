"""uvicorn's own command line over TLS and a hello: python baseline_https.py PORT CERTIFICATE HTTP.

HTTP is `httptools` for HTTP/1.1 or `zttp` for HTTP/2.
"""

import sys

from uvicorn.main import main

OPTIONS = ("--loop", "uvloop", "--no-access-log", "--no-server-header", "--log-level", "critical")

if __name__ == "__main__":
    port, certificate, parser = sys.argv[1:]
    tls = ("--ssl-certfile", certificate, "--ssl-keyfile", certificate)
    http2 = ("--http2",) if parser == "zttp" else ()
    main(["baseline:hello", "--port", port, "--http", parser, *http2, *tls, *OPTIONS])
