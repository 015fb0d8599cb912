#!/usr/bin/env python3
"""How fast does verify read a large segment, and how much memory does it take?

Makes one sealed hour of at least 1 GB of text through the archive's own functions, then runs
scripts/verify_archive.py on it as a child and watches its peak memory.  Two cases: answered polls
(large rows), and skipped polls only (the most rows that a gigabyte can hold).

Examples:
  python bench/verify.py
  python bench/verify.py --gigabytes 0.1 --json verify.json

Exit codes: 0 below 200 MB, 1 above or not verified clean.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.hours import HOUR_SECONDS, answered, skipped, write_hours

VERIFY = Path(__file__).resolve().parents[1] / "scripts/verify_archive.py"
LIMIT_MB = 200


def watch(root: Path) -> tuple[int, float, float]:
    """Exit code of verify, its seconds, and its peak memory in MB."""
    command = [sys.executable, str(VERIFY), str(root)]
    begin, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        # Not RUSAGE_CHILDREN: it counts what this process held when it forked.
        status = Path(f"/proc/{child.pid}/status")
        while child.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
            peak = max(peak, int(found[1])) if found else peak
            time.sleep(0.02)
    return child.returncode, time.perf_counter() - begin, peak * 1024 / 1e6


def main() -> int:
    """Make and verify both segments."""
    parser = report.parser(__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, metavar="N", help="of text, at least")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": report.print_machine()}
    lines, fine = [], True
    for name, row_bytes in (("answered", 4_950), ("skipped", 780)):
        tokens = max(2, 2 * round(arguments.gigabytes * 1.1e9 / row_bytes / HOUR_SECONDS / 2))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            text = write_hours(root, tokens, 1, answered(tokens) if name == "answered" else skipped)
            (sealed,) = root.rglob("*.jsonl.gz")
            file = sealed.stat().st_size
            code, took, peak = watch(root)
        fine &= code == 0 and peak < LIMIT_MB
        rows = tokens * HOUR_SECONDS
        result[name] = {"rows": rows, "text_bytes": text, "file_bytes": file, "exit_code": code}
        result[name] |= {"seconds": round(took, 1), "mb_per_second": round(text / 1e6 / took, 1)}
        result[name] |= {"peak_mb": round(peak, 1)}
        sizes = [f"{rows:,}", f"{text / 1e6:,.0f}", f"{file / 1e6:.1f}"]
        lines.append([name, *sizes, f"{took:.1f}", f"{text / 1e6 / took:.0f}", f"{peak:.0f}"])
        if code != 0:
            print(f"verify ended with {code}", file=sys.stderr)
    report.print_table(["polls", "rows", "MB text", "MB file", "seconds", "MB/s", "peak MB"], lines)
    report.write_json(arguments.json, result)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
