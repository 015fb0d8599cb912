"""One run of the dataset's making, step by step: ``python -m bench.stages ROOT OUT WORKERS``.

Calls what the script calls, and prints as JSON when each step was through, on the system's monotonic
clock, which every process reads alike.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from orderbooks_spider.normalize.run import normalise_archives

STEPS = ("start", "segments", "hours", "end")
"""``start`` ends when the call begins, ``end`` when the process is gone."""


def main(root: str, out: str, workers: str) -> None:
    """Normalise, and tell the moments."""
    moments = {"start": time.perf_counter()}

    def through(step: str, done: int, total: int) -> None:
        if done == total:
            moments[step] = time.perf_counter()

    made = normalise_archives([Path(root)], Path(out), workers=int(workers), progress=through)
    assert not made.errors, made.errors
    print(json.dumps(moments))


if __name__ == "__main__":
    main(*sys.argv[1:])
