"""What HTTP/2 costs in this checkout and in another one, which may have another parser.

    python benchmarks/http2.py --beside DIRECTORY [--rounds 5]

A hello with 1, 16 and 100 streams on each of four connections, and downloads of 1 MB. h2load is the
client; both servers run from the beginning to the end and take turns, and what counts is the ratio
within a round. Only loopback is used.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import cpus
import trustme
from https import Server, cpu_seconds, started
from process import ROOT

CODE = """
def handler(event, context):
    is_large = event["path"] == "/large"
    return {"statusCode": 200, "body": "x" * 1_000_000 if is_large else "Hello"}
"""
GATEWAY = ("-m", "gateway", "serve", "app.handler", "--code", "{code}", "--quiet", "--in-process")
LISTENING = ("--threads", "0", "--port", "{port}", "--certificate", "{pem}")
LOADS = {
    "hello, 1 stream": ("/", 15_000, ("-c", "4", "-m", "1")),
    "hello, 16 streams": ("/", 15_000, ("-c", "4", "-m", "16")),
    "hello, 100 streams": ("/", 15_000, ("-c", "4", "-m", "100")),
    "1 MB, 16 streams": ("/large", 400, ("-c", "4", "-m", "16", "-w", "24", "-W", "26")),
}
"""Path, requests and h2load's options; below 3,840 requests a connection, where versions that parse
with zttp say GOAWAY."""

FIGURES = re.compile(r"([\d.]+) req/s.*\n.* (\d+) succeeded", re.MULTILINE)


def round_of(pid: int, port: int, load: str) -> tuple[float, float]:
    """Load a server; returns CPU microseconds and requests per second."""
    path, count, options = LOADS[load]
    before = cpu_seconds(pid)
    command = ["h2load", "-n", str(count), *options, f"https://127.0.0.1:{port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(pid) - before
    found = FIGURES.search(said)
    if found is None or int(found[2]) != count:
        raise RuntimeError(said)
    return cpu / count * 1e6, float(found[1])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path, required=True, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
        (directory / "app.py").write_text(CODE)
        cpus.pin_client()
        arguments = (*GATEWAY, *LISTENING)
        arguments = tuple(each.replace("{code}", str(directory)) for each in arguments)
        roots = {"this": ROOT, "beside": asked.beside.resolve()}
        servers = {name: Server(name, arguments, (), root=root) for name, root in roots.items()}
        running = {
            name: stack.enter_context(started(server, directory))
            for name, server in servers.items()
        }
        for count in range(asked.rounds + 1):
            for load in LOADS:
                for name, server in running.items():
                    figures = round_of(*server, load)
                    if count:  # the first warms up
                        found.setdefault((load, name), []).append(figures)
    show(found)


def show(found: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    """Print medians, and the median of the ratios of each round."""
    print(
        f"{'load':<20}{'CPU us':>9}{'beside':>9}{'ratio':>7}{'req/s':>9}{'beside':>9}{'ratio':>7}"
    )
    for load in LOADS:
        own, other = found[load, "this"], found[load, "beside"]
        line = f"{load:<20}"
        for index in (0, 1):
            mine, others = [each[index] for each in own], [each[index] for each in other]
            ratio = statistics.median(a / b for a, b in zip(mine, others, strict=True))
            line += f"{statistics.median(mine):>9.1f}{statistics.median(others):>9.1f}{ratio:>7.2f}"
        print(line)


if __name__ == "__main__":
    main()
