"""What a remote invocation costs the gateway, beside an in-process one, beside clients that drive
the same endpoint bare, and beside proxies that forward to it plainly.

    python benchmarks/remote.py [--rounds 5] [--seconds 2] [--json FILE]

All servers run from the beginning to the end, each a process of its own, and take turns with the
clients; absolute figures drift with whatever else the machine does, so goals are differences and
ratios within one round, and of those the median. The endpoint is on loopback and answers at once.
What is not installed is left out: nginx, haproxy, aiohttp, pyreqwest, the emulator.

`plain` is a pool of emulators whose addresses all lead to the endpoint, so that one invocation at a
time to each is not a limit (Linux: every address of 127.0.0.0/8 is its own). `signed` is
`--function`, every request with a signature.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import client
import cpus
import machine
import uvloop
from data_path import CONNECTIONS, Round, round_of
from emulator import emulating, free_ports, installed, request_bytes, wait_until_open
from environments import shared_cores
from heads import request_bytes as get_bytes
from load import connected
from process import ROOT, Running, end, running

HEADERS = 2
EXCHANGES = 4000
EMULATORS, CROWD = 4, 64
CODE = "examples/hello"
INVOKE = "/2015-03-31/functions/function/invocations"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}

SERVE = ("-m", "gateway", "serve", "--port", "0", "--quiet")
IN_PROCESS = (*SERVE, "app.handler", "--code", CODE, "--in-process", "--threads", "0")

NGINX = """
worker_processes 1; daemon off; master_process off; pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
  fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  keepalive_requests 1000000000;
  upstream endpoint {{
    server 127.0.0.1:{endpoint}; keepalive 64; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://endpoint; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 1024
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend listener
  bind 127.0.0.1:{port}
  default_backend endpoint
backend endpoint
  server one 127.0.0.1:{endpoint}
"""


@dataclass(frozen=True)
class Figure:
    """What issue 6 asks for, and what came of it."""

    name: str
    value: float
    goal: float | None = None
    """None: it is only reported."""
    is_met: bool = True

    def __str__(self) -> str:
        if self.goal is None:
            return f"{self.name}: {self.value}"
        return f"{self.name}: {self.value} (goal {self.goal}: {'met' if self.is_met else 'missed'})"


@contextmanager
def proxy(command: list[str], text: str, endpoint: int) -> Iterator[Running]:
    """Run a proxy with a configuration until this context ends; its file is the last argument."""
    with tempfile.TemporaryDirectory() as directory:
        [port] = free_ports(1)
        file = Path(directory) / "configuration"
        file.write_text(text.format(directory=directory, port=port, endpoint=endpoint))
        process = subprocess.Popen(
            [*command, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        cpus.keep_off_the_clients(process.pid)
        try:
            wait_until_open(port)
            yield Running(process.pid, port, "")
        finally:
            end(process)


@contextmanager
def servers(endpoint: Running) -> Iterator[dict[str, Running]]:
    """Run everything that answers requests by asking the endpoint, and what answers by itself."""
    url = f"http://127.0.0.1:{endpoint.port}"
    addresses = [f"http://127.0.0.{number}:{endpoint.port}" for number in range(1, CONNECTIONS + 1)]
    pool = [part for address in addresses for part in ("--rie", address)]
    function = ("--function", "my-fn", "--region", "eu-west-1", "--endpoint-url", url)
    with ExitStack() as stack:
        found = {"in-process": stack.enter_context(running(*IN_PROCESS))}
        if sys.platform == "linux":
            found["plain"] = stack.enter_context(running(*SERVE, *pool))
        found["signed"] = stack.enter_context(running(*SERVE, *function))
        script = "benchmarks/servers/httpx_gateway.py"
        found["httpx gateway"] = stack.enter_context(running(script, url + INVOKE))
        for name, command, text in proxies():
            found[name] = stack.enter_context(proxy(command, text, endpoint.port))
        yield found


def proxies() -> Iterator[tuple[str, list[str], str]]:
    """Yield the proxies that are installed: name, command, configuration."""
    if nginx := shutil.which("nginx"):
        yield "nginx", [nginx, "-c"], NGINX
    if haproxy := shutil.which("haproxy"):
        yield "haproxy", [haproxy, "-db", "-q", "-f"], HAPROXY


def clients() -> list[str]:
    """Return the HTTP clients that are here."""
    return [name for name in client.CLIENTS if name == "own" or find_spec(name)]


def measured(
    rounds: int, seconds: float
) -> tuple[dict[str, list[Round]], dict[str, list[dict[str, float]]]]:
    """Return the rounds of every server, and of every client that drives the endpoint bare."""
    with ExitStack() as stack:
        count = CONNECTIONS if sys.platform == "linux" else 1
        script = "benchmarks/servers/invoke_endpoint.py"
        endpoint = stack.enter_context(running(script, str(count)))
        started = stack.enter_context(servers(endpoint))
        served: dict[str, list[Round]] = {name: [] for name in started}
        driven: dict[str, list[dict[str, float]]] = {name: [] for name in clients()}
        for server in started.values():
            round_of_load(server, min(seconds, 0.5))
        for _ in range(rounds):
            for name, server in started.items():
                served[name].append(round_of_load(server, seconds))
            for name, figures in driven.items():
                figures.append(driven_bare(name, endpoint.port))
        return served, driven


def round_of_load(server: Running, seconds: float) -> Round:
    """Load one server, with the client on a core of its own."""
    cpus.pin_client()
    return round_of(server, HEADERS, seconds)


def driven_bare(name: str, port: int) -> dict[str, float]:
    """Have one client post to the endpoint from this process; its CPU time is what counts."""
    turn = client.turn(client.CLIENTS[name], port, CONNECTIONS, EXCHANGES)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(turn)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: round(statistics.median(one[key] for one in rounds), 1) for key in rounds[0]}


def pool(rounds: int, seconds: float) -> dict[str, float]:
    """Return figures of an emulator alone and of four behind the gateway, nothing without the
    emulator; raises RuntimeError if any of a crowd's requests fails."""
    binary = installed()
    if not binary:
        return {}
    event = event_of_a_request()
    with ExitStack() as stack:
        stack.enter_context(shared_cores())  # five emulators and their runtimes need both
        ports = [
            stack.enter_context(emulating(binary, ROOT / CODE, "app.handler"))
            for _ in range(EMULATORS + 1)
        ]
        addresses = [part for port in ports[1:] for part in ("--rie", f"http://127.0.0.1:{port}")]
        gateway = stack.enter_context(running(*SERVE, *addresses, "--queue-timeout", "60"))
        own, through, crowd = [], [], []
        for _ in range(rounds):
            own.append(p50_us(ports[0], request_bytes(event), 1, seconds))
            through.append(p50_us(gateway.port, get_bytes(HEADERS), 1, seconds))
            crowd.append(p50_us(gateway.port, get_bytes(HEADERS), CROWD, seconds))
    ratios = [ours / its for ours, its in zip(through, own, strict=True)]
    return {
        "emulator_p50_us": round(statistics.median(own)),
        "pool_p50_us": round(statistics.median(through)),
        "ratio": round(statistics.median(ratios), 2),
        "crowd_p50_us": round(statistics.median(crowd)),
        "crowd_errors": 0,
    }


def event_of_a_request() -> bytes:
    """Return the event that the gateway makes of the request that is measured."""
    command = [sys.executable, "-m", "gateway", "event", "GET", "http://127.0.0.1/any/path?x=1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def p50_us(port: int, request: bytes, connections: int, seconds: float) -> float:
    """Return the median latency; raises RuntimeError for any response but 200."""
    with connected(port, request, connections) as load:
        load.run(min(seconds, 0.3))
        return load.run(seconds).percentile(0.5) * 1e6


def figures(served: dict[str, list[Round]], emulators: dict[str, float]) -> Iterator[Figure]:
    """Yield what issue 6 asks for; the gateway over plain HTTP is the one that counts."""
    counts = served.get("plain", served["signed"])
    for name in ("plain", "signed"):
        if name in served:
            pairs = zip(served[name], served["in-process"], strict=True)
            beyond = statistics.median(own.cpu_us - base.cpu_us for own, base in pairs)
            goal = 60.0 if name == "plain" else None
            text = f"{name}: CPU us beyond the in-process round trip"
            yield Figure(text, round(beyond, 1), goal, beyond <= 60.0)
    pairs = zip(counts, served["httpx gateway"], strict=True)
    times = statistics.median(
        our.requests_per_second / its.requests_per_second for our, its in pairs
    )
    yield Figure("requests/s, to those of a gateway on httpx", round(times, 1), 5.0, times >= 5.0)
    if emulators:
        ratio = emulators["ratio"]
        yield Figure(f"p50 of {EMULATORS} emulators, to one alone", ratio, 1.3, ratio <= 1.3)
        yield Figure(f"errors at {CROWD} connections", 0, 0)


def table(title: str, rows: dict[str, dict[str, float]], rate: str) -> None:
    """Print the figures of servers or clients."""
    print(f"{title:<16}{'CPU us':>8}{'req/s':>9}{'p50 us':>8}{'p99 us':>8}")
    for name, row in rows.items():
        cells = f"{row['cpu_us']:>8}{row[rate]:>9.0f}{row['p50_us']:>8.0f}{row['p99_us']:>8.0f}"
        print(f"{name:<16}{cells}")
    print()


def main() -> None:
    """Measure, print the tables and leave the results behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    asked = parser.parse_args()
    os.environ.update(KEYS)
    served, driven = measured(asked.rounds, asked.seconds)
    emulators = pool(asked.rounds, asked.seconds)
    found = {
        "servers": {name: medians([asdict(one) for one in each]) for name, each in served.items()},
        "clients": {name: medians(each) for name, each in driven.items()},
    }
    judged = [*figures(served, emulators)]
    table("server", found["servers"], "requests_per_second")
    table("client, bare", found["clients"], "per_second")
    print(f"emulators: {emulators or 'not installed'}\n")
    print(*judged, sep="\n")
    if asked.json:
        results = {
            "machine": machine.description(),
            **found,
            "emulators": emulators,
            "goals": [asdict(figure) for figure in judged],
        }
        asked.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
