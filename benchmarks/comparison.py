"""Figures beside those of a baseline: ratios, a table and a verdict."""

from dataclasses import asdict, dataclass

Figures = dict[str, float]

COLUMNS = "{:<36}{:>16}{:>16}{:>9}  {}"
HEADINGS = ("figure", "now", "before", "ratio", "")
ABSENT = "-"
EQUAL = ("start", "memory")
"""What must not grow at all: figures whose name begins like this."""
NOISE = 1.005
"""The limit of those; runs of one revision are within 0.1 % of each other."""


@dataclass(frozen=True)
class Row:
    """One figure, what it was before, and how often that it is now."""

    name: str
    now: float
    before: float | None
    ratio: float | None
    is_over: bool
    """Whether the ratio is over the limit; a figure without a baseline never is."""


def compared(now: Figures, before: Figures, limit: float) -> list[Row]:
    """Return a row for each figure of now; the baseline may lack some of them."""
    return [row(name, figure, before.get(name), limit) for name, figure in now.items()]


def row(name: str, now: float, before: float | None, limit: float) -> Row:
    """Compare one figure; a baseline of 0 has no ratio."""
    if not before:
        return Row(name, now, before, None, is_over=False)
    most = before * (min(limit, NOISE) if name.startswith(EQUAL) else limit)
    return Row(name, now, before, round(now / before, 4), is_over=now > most)


def is_within(rows: list[Row]) -> bool:
    """Say whether no figure is over the limit."""
    return not any(each.is_over for each in rows)


def table(rows: list[Row]) -> str:
    """Return the rows as text, a heading above them."""
    lines = [COLUMNS.format(*HEADINGS), *(COLUMNS.format(*cells(each)) for each in rows)]
    return "\n".join(line.rstrip() for line in lines)


def cells(each: Row) -> tuple[str, ...]:
    """Return a row as the table shows it."""
    before = ABSENT if each.before is None else f"{each.before:,.0f}"
    ratio = ABSENT if each.ratio is None else f"{each.ratio:.3f}"
    return each.name, f"{each.now:,.0f}", before, ratio, "OVER" if each.is_over else ""


def described(rows: list[Row]) -> list[dict[str, str | float | None]]:
    """Return the rows for a JSON document."""
    return [asdict(each) for each in rows]
