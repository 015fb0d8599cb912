"""What every benchmark says: on which machine, a table that can be pasted, and the same numbers as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def parser(description: str | None) -> argparse.ArgumentParser:
    """Make a command line with ``--json``; the *description* is the module's docstring."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    return made


def print_machine() -> dict[str, Any]:
    """Say on one line what is measured on and how busy it was just before; give it for JSON."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    machine = {
        "cpu": found[1] if found else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    text = "{cpu}, {cores} cores, Linux {kernel}, Python {python}; load before: {load_before}\n"
    print(text.format(**machine))
    return machine


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table: first column left, numbers right."""
    print(f"| {' | '.join(header)} |")
    print(f"| --- |{' ---: |' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def spread(values: Sequence[float], pattern: str = ".2f") -> str:
    """Median, and smallest and largest where they differ."""
    middle, low, high = (
        format(one, pattern) for one in (statistics.median(values), min(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}..{high})"


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Give the same for JSON, with every value."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write the numbers where ``--json`` says."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
