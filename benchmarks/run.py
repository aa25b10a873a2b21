"""`make bench`: measure codec, data path and environments, write results and plot, check the
budgets.

    python benchmarks/run.py [--quick] [--rounds N] [--seconds S] [--reloads N] [--only NAME]

Only loopback is used; every server it starts is ended with it, however it ends.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

import codec
import data_path
import environments
import machine
import plot

RESULTS = Path(__file__).resolve().parent / "results"
MOST_ROUNDS, MOST_SECONDS, MOST_RELOADS = 100, 60, 10_000
COLUMNS = "{:<14}{:>10}{:>16}{:>8}{:>16}{:>7}{:>10}{:>9}{:>9}  {}"
HEADINGS = ("server", "CPU us", "min-max", "ratio", "min-max", "busy", "req/s", "p50 us", "p99 us")


def main() -> None:
    """Run everything and leave the results behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parsed()
    RESULTS.mkdir(exist_ok=True)
    for name, measure in MEASUREMENTS.items():
        if options.only in {None, name}:
            measure(options)


def measure_codec(options: argparse.Namespace) -> None:
    """Measure the codec."""
    results = codec.measured(is_quick=options.quick)
    print_codec(results)
    save("codec", {"machine": machine.description(), "results": results})


def measure_data_path(options: argparse.Namespace) -> None:
    """Measure the data path and draw it."""
    cases = data_path_cases(options)
    print_data_path(cases)
    plot.write(cases, RESULTS / "data_path.svg")


def measure_environments(options: argparse.Namespace) -> None:
    """Measure execution environments."""
    results = environments.measured(options.rounds, options.seconds, options.reloads)
    print_environments(results)
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    described = {"machine": machine.description(), "settings": settings}
    save("environments", {**described, "results": results})


MEASUREMENTS = {
    "codec": measure_codec,
    "data_path": measure_data_path,
    "environments": measure_environments,
}


def parsed() -> argparse.Namespace:
    """Return the options; --quick is about 30 s."""
    parser = argparse.ArgumentParser(description="Measure the gateway against bare uvicorn.")
    parser.add_argument("--quick", action="store_true", help="about 30 s in all")
    parser.add_argument("--rounds", type=int, help="turns of each server (default 5, quick 3)")
    parser.add_argument("--seconds", type=float, help="of each turn (default 3, quick 1)")
    parser.add_argument("--reloads", type=int, help="of ten environments (default 100, quick 20)")
    parser.add_argument("--only", choices=MEASUREMENTS, help="measure nothing else")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 3.0)
    options.reloads = options.reloads or (20 if options.quick else 100)
    if not (1 <= options.rounds <= MOST_ROUNDS and 0.1 <= options.seconds <= MOST_SECONDS):
        parser.error(f"up to {MOST_ROUNDS} rounds of 0.1 to {MOST_SECONDS} seconds")
    if not 1 <= options.reloads <= MOST_RELOADS:
        parser.error(f"up to {MOST_RELOADS} reloads")
    return options


def data_path_cases(options: argparse.Namespace) -> plot.Cases:
    """Measure the data path, save it and return the figures by case and server."""
    announcements, rounds = data_path.measured(options.rounds, options.seconds)
    cases = {case: data_path.summary(each) for case, each in rounds.items()}
    settings = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "connections": data_path.CONNECTIONS,
    }
    runs_on = runs_on_line(announcements[data_path.BASELINE])
    print(f"\ndata path: {settings}\nbaseline: {runs_on}")
    described = {"machine": machine.description(), "settings": settings, "baseline": runs_on}
    save("data_path", {**described, "results": cases})
    return cases


def runs_on_line(announcement: str) -> str:
    """Return the line in which the baseline says what parser and loop it has."""
    return next(line for line in announcement.splitlines() if line.startswith("parser "))


def save(name: str, results: dict[str, Any]) -> None:
    """Write results as JSON."""
    text = json.dumps(results, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def print_codec(results: dict[str, dict[str, codec.Result]]) -> None:
    """Print the codec's figures."""
    print(f"{'codec, median us':<28}{'encode':>10}{'decode':>10}")
    for case in {**results["encode"], **results["decode"]}:
        medians = (results[way].get(case, {}).get("median_us") for way in ("encode", "decode"))
        print(f"{case:<28}" + "".join(f"{us:>10.1f}" if us else f"{'-':>10}" for us in medians))


def print_data_path(cases: plot.Cases) -> None:
    """Print the data path's figures and whether the budgets hold."""
    budgets = {server.name: server.budget for server in data_path.SERVERS}
    for case, servers in cases.items():
        print(f"\n{COLUMNS.format(*HEADINGS, f'budget ({case})')}")
        for name, each in servers.items():
            print(COLUMNS.format(name, *row(each), verdict(each["ratio"], budgets[name])).rstrip())


def print_environments(results: dict[str, Any]) -> None:
    """Print the figures of environments and whether the goals of issue 4 are kept."""
    print(f"\n{'load':<24}{'req/s':>9}{'min-max':>16}{'p50 us':>9}{'p99 us':>9}{'errors':>8}")
    for name, each in results["load"].items():
        spread = f"{each['requests_per_second_min']}-{each['requests_per_second_max']}"
        print(
            f"{name:<24}{each['requests_per_second']:>9}{spread:>16}"
            f"{each['p50_us']:>9}{each['p99_us']:>9}{each['errors']:>8}"
        )
    for name in ("cold_start_ms", "idle_pss_mb", "reloads"):
        print(f"{name}: {json.dumps(results[name])}")
    for goal in results["goals"]:
        print(environments.goal_line(goal))


def row(figures: dict[str, float]) -> tuple[str, ...]:
    """Return one server's figures as text, in the order of the headings."""
    return (
        f"{figures['cpu_us']:.1f}",
        f"{figures['cpu_us_min']:.1f}-{figures['cpu_us_max']:.1f}",
        f"{figures['ratio']:.2f}",
        f"{figures['ratio_min']:.2f}-{figures['ratio_max']:.2f}",
        f"{figures['busy']:.2f}",
        f"{figures['requests_per_second']:.0f}",
        f"{figures['p50_us']:.0f}",
        f"{figures['p99_us']:.0f}",
    )


def verdict(ratio: float, budget: float | None) -> str:
    """Say whether a budget is met, and by how much."""
    if budget is None:
        return ""
    share = abs(ratio / budget - 1)
    if ratio <= budget:
        return f"MET      {budget} x, {share:.0%} below"
    return f"MISSED   {budget} x, {share:.0%} above"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
