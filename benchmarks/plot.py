"""The data path as bars: the same results always give the same file."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "gateway"
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen
from matplotlib.axes import Axes  # noqa: E402

Cases = dict[str, dict[str, dict[str, Any]]]

COLORS = ("#4c78a8", "#f58518", "#54a24b")


def write(cases: Cases, path: Path) -> None:
    """Draw CPU per request by server, one colour a case, with the spread over the rounds."""
    figure, axes = plt.subplots(figsize=(8, 4))
    width = 0.8 / len(cases)
    for index, (case, servers) in enumerate(cases.items()):
        draw(axes, case, servers, shift=index * width, width=width, color=COLORS[index])
    axes.set_ylabel("server CPU per request, µs")
    axes.set_xticks([n + 0.4 - width / 2 for n in range(len(servers))], list(servers))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def draw(  # noqa: PLR0913
    axes: Axes,
    case: str,
    servers: dict[str, dict[str, Any]],
    *,
    shift: float,
    width: float,
    color: str,
) -> None:
    """Add the bars of one case, each with its ratio to the baseline above it."""
    places = [n + shift for n in range(len(servers))]
    costs = [each["cpu_us"] for each in servers.values()]
    spread = [
        [each["cpu_us"] - each["cpu_us_min"] for each in servers.values()],
        [each["cpu_us_max"] - each["cpu_us"] for each in servers.values()],
    ]
    axes.bar(places, costs, width, yerr=spread, label=case, color=color, ecolor="#555555")
    for place, each in zip(places, servers.values(), strict=True):
        label = f"{each['ratio']:.2f} x"
        axes.annotate(
            label,
            (place, each["cpu_us_max"]),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
