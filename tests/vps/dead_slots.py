"""Whether the dataset shows exactly the slots of a dead time: ``dead_slots.py DATASET FROM_NS UNTIL_NS``.

Between the last row of a token before FROM_NS and its first after UNTIL_NS every grid point must be one
``process_down`` slot, and there must be no other in that span.  Exit 0 if so, 1 otherwise.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import pyarrow.compute as pc
import pyarrow.dataset as ds

INTERVAL_NS = 1_000_000_000
"""``polling.interval_seconds`` of the config."""


def main() -> int:
    """Compare, and say what was found."""
    folder, from_ns, until_ns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    near = (pc.field("due_ns") > from_ns - 60 * INTERVAL_NS) & (
        pc.field("due_ns") < until_ns + 60 * INTERVAL_NS
    )
    polls = ds.dataset(f"{folder}/polls", partitioning="hive").to_table(filter=near).to_pylist()
    rows: defaultdict[str, list[int]] = defaultdict(list)
    dead: defaultdict[str, list[int]] = defaultdict(list)
    for poll in polls:
        (dead if poll["result"] == "process_down" else rows)[poll["token_id"]].append(poll["due_ns"])
    wrong, compared, edges = 0, 0, 0
    for token in sorted(rows.keys() | dead.keys()):
        before = [due for due in rows[token] if due < from_ns]
        after = [due for due in rows[token] if due > until_ns - INTERVAL_NS]
        if not before or not after:  # its window ended or began in the dead time
            edges += len(dead[token])
            continue
        expected = list(range(max(before) + INTERVAL_NS, min(after), INTERVAL_NS))
        compared += len(expected)
        if sorted(dead[token]) != expected:
            wrong += 1
            print(f"token {token}: {len(expected)} dead slots expected, the dataset has {len(dead[token])}")
    first = min(poll["sent_ns"] for poll in polls if (poll["sent_ns"] or 0) > from_ns)
    print(f"first poll sent {(first - from_ns) / 1e9:.2f} s after the kill")
    print(f"{compared} dead slots of tokens polled before and after, {wrong} tokens wrong")
    print(f"{edges} dead slots of windows that began or ended meanwhile")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
