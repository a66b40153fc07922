"""What every benchmark says at its end, and the arithmetic behind it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure against its aim: `at_least` says whether more is better."""

    name: str
    value: float
    unit: str
    aim: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the aim is reached; the figure counts, not its rounding. NaN reaches nothing."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def line(self) -> str:
        """`NAME: VALUE UNIT (aim AIM) ok|short`."""
        sign = ">=" if self.at_least else "<="
        verdict = "ok" if self.met else "short"
        return f"{self.name}: {self.value:.3g} {self.unit} (aim {sign} {self.aim:g}) {verdict}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of `values` lie, linear between neighbours.

    Raises:
        ValueError: there are no values, or `share` is no share.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a percentile needs values and a share between 0 and 1")
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def median(values: Sequence[float]) -> float:
    """The 50th percentile."""
    return percentile(values, 0.5)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """`lowest..highest`, which shows how far rounds of one run lie apart."""
    return f"{min(values):.{digits}f}..{max(values):.{digits}f}"


def rate(amount: float, seconds: Sequence[float]) -> float:
    """So much a second over all the time it took.

    Raises:
        ValueError: it took no time.
    """
    total = sum(seconds)
    if total <= 0:
        raise ValueError("a rate needs a time")
    return amount / total


def ratio(measured: float, baseline: float) -> float:
    """How many times the baseline.

    Raises:
        ValueError: the baseline is zero or less: then there is nothing to compare with.
    """
    if baseline <= 0:
        raise ValueError("a ratio needs a baseline above zero")
    return measured / baseline


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of one shape as aligned text, numbers to three figures."""
    heads = list(rows[0])
    cells = [heads, *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="less of everything: under a minute of measuring"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def progress(text: str) -> None:
    """Tell who waits, beside the result."""
    print(text, file=sys.stderr, flush=True)


def finish(
    rows: Sequence[Mapping[str, object]],
    claims: Sequence[Claim],
    *,
    notes: Sequence[str] = (),
    as_json: bool,
) -> int:
    """Print the result, its claims last; the exit code, 1 where one falls short."""
    if as_json:
        result = {
            "machine": machine(),
            "rows": list(rows),
            "notes": list(notes),
            "claims": [
                {
                    "name": claim.name,
                    "value": claim.value,
                    "unit": claim.unit,
                    "aim": claim.aim,
                    "met": claim.met,
                }
                for claim in claims
            ],
        }
        print(json.dumps(result, indent=2))
    else:
        print("\n".join([machine(), "", table(rows), "", *notes]))
        for claim in claims:
            print(claim.line())
    return 0 if all(claim.met for claim in claims) else 1


def machine() -> str:
    """When and on what this was measured, and how busy it was."""
    load, _, _ = os.getloadavg()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        f"load average {load:.1f} at the end"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
