"""What a request costs over TLS: HTTP/1.1 and HTTP/2, beside uvicorn's hello, granian and
hypercorn.

    python benchmarks/https.py [--rounds 3] [--requests 30000] [--json FILE]

h2load is the client. All servers run from the beginning to the end and take turns; what counts is
the ratio of server CPU per request to uvicorn's in the same round. Connections stay below the
number of requests at which a server ends one: 4,096 for zttp, which uvicorn speaks HTTP/2 with, and
1,000 for hypercorn. Only loopback is
used.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpus
import machine
import trustme
from process import ROOT, end, from_proc

START_SECONDS = 20
HTTP1 = ("--h1", "-c", "32")
HTTP2 = ("-c", "16", "-m", "16")
DONE = re.compile(r"(\d+) done, .* 0 errored, 0 timeout\n.* 0 3xx, 0 4xx, 0 5xx")
"""h2load takes a status line without a reason, as hypercorn's, for a failure."""

RATE = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")

HELLO = ("--ssl-certificate", "{pem}", "--ssl-keyfile", "{key}")
GATEWAY = ("-m", "gateway", "serve", "app.handler", "--code", "examples/hello", "--quiet")
OURS = (*GATEWAY, "--in-process", "--port", "{port}", "--certificate", "{pem}")
GRANIAN = ("-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--no-log")
HYPERCORN = ("-m", "hypercorn", "--worker-class", "uvloop", "-b", "127.0.0.1:{port}")


@dataclass(frozen=True)
class Server:
    """One server to measure over one version of HTTP."""

    name: str
    arguments: tuple[str, ...]
    load: tuple[str, ...]
    budget: float | None = None
    """How often the CPU per request of the version's baseline it may cost."""
    per_connection: int = 3800
    """Requests of a connection, below the number at which the server ends it."""
    root: Path = ROOT
    """The checkout that it is run from."""


def servers() -> Iterator[Server]:
    """Yield what is measured, the baseline of each version first."""
    baseline = ("benchmarks/servers/baseline_https.py", "{port}", "{pem}")
    granian = (*GRANIAN, "--port", "{port}", "hello:hello", *HELLO)
    hypercorn = (*HYPERCORN, "--certfile", "{pem}", "--keyfile", "{pem}", "hello:hello")
    for version, load, parser in (("HTTP/1.1", HTTP1, "httptools"), ("HTTP/2", HTTP2, "zttp")):
        budget = 1.0 if load is HTTP1 else 1.3
        yield Server(f"{version} uvicorn", (*baseline, parser), load)
        yield Server(f"{version} gateway inline", (*OURS, "--threads", "0"), load, budget)
        yield Server(f"{version} gateway threads", OURS, load)
        yield Server(f"{version} granian", granian, load)
        yield Server(f"{version} hypercorn", hypercorn, load, per_connection=900)


@contextmanager
def started(server: Server, directory: Path) -> Iterator[tuple[int, int]]:
    """Run a server until this context ends; yields its process id and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = {"port": port, "pem": directory / "both.pem", "key": directory / "key.pem"}
    arguments = [argument.format(**names) for argument in server.arguments]
    path = os.pathsep.join([str(server.root), str(server.root / "benchmarks" / "servers")])
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=server.root,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    cpus.keep_off_the_clients(process.pid)
    try:
        wait_until_listening(process, port)
        yield process.pid, port
    finally:
        end(process)


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Connect until the server accepts."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionError:
            continue
        return
    raise RuntimeError(f"{process.args} does not listen")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants so far."""
    total = from_proc(Path(f"/proc/{pid}/stat").read_text())
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += sum(map(cpu_seconds, map(int, (task / "children").read_text().split())))
    return total


def round_of(server: Server, pid: int, port: int, requests: int) -> dict[str, float]:
    """Load a server and return what it cost."""
    connections = int(server.load[server.load.index("-c") + 1])
    count = min(requests, connections * server.per_connection)
    command = ["h2load", "-n", str(count), *server.load, f"https://127.0.0.1:{port}/any/path"]
    before = cpu_seconds(pid)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(pid) - before
    done, rate = DONE.search(said), RATE.search(said)
    if done is None or rate is None or int(done[1]) != count:
        raise RuntimeError(f"{server.name}:\n{said}")
    return {"cpu_us": cpu / count * 1e6, "requests_per_second": float(rate[1])}


def measured(rounds: int, requests: int) -> dict[str, dict[str, float]]:
    """Return the medians of every server, and its ratio to the baseline round by round."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
        write_pkcs8(certificate, directory / "key.pem")
        cpus.pin_client()
        every = list(servers())
        running = {each: stack.enter_context(started(each, directory)) for each in every}
        found: dict[str, list[dict[str, float]]] = {each.name: [] for each in every}
        for each in every:
            round_of(each, *running[each], requests // 4)
        for _ in range(rounds):
            for each in every:
                found[each.name].append(round_of(each, *running[each], requests))
    return {each.name: summary(each, found) for each in every}


def write_pkcs8(certificate: trustme.LeafCert, path: Path) -> None:
    """Write the private key in the form that granian wants."""
    command = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-out", str(path)]
    subprocess.run(command, input=certificate.private_key_pem.bytes(), check=True)


def summary(server: Server, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return one server's figures."""
    own, base = found[server.name], found[f"{server.name.split()[0]} uvicorn"]
    ratios = [one["cpu_us"] / other["cpu_us"] for one, other in zip(own, base, strict=True)]
    return {
        "cpu_us": round(statistics.median(one["cpu_us"] for one in own), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "requests_per_second": round(statistics.median(o["requests_per_second"] for o in own)),
        "budget": server.budget,
    }


def main() -> None:
    """Measure, print the table and leave the results behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    asked = parser.parse_args()
    if shutil.which("h2load") is None:
        parser.error("h2load is missing: tools/install-system installs it")
    results = measured(asked.rounds, asked.requests)
    print(f"{'server':<26}{'CPU us':>8}{'ratio':>8}{'min-max':>12}{'req/s':>9}  budget")
    for name, each in results.items():
        spread = f"{each['ratio_min']}-{each['ratio_max']}"
        print(
            f"{name:<26}{each['cpu_us']:>8}{each['ratio']:>8}{spread:>12}"
            f"{each['requests_per_second']:>9}  {each['budget'] or ''}"
        )
    if asked.json:
        described = {"machine": machine.description(), "results": results}
        asked.json.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
