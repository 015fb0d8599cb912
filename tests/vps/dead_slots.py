"""Whether the dataset shows exactly the slots of a dead time: ``dead_slots.py DATASET KILLED_NS``.

Between the last row of a token in the run that was killed and its first row in the next run, every grid
point must be one ``process_down`` slot, and the token must have no other near by.  Exit 0 if so, 1 otherwise.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

import pyarrow.compute as pc
import pyarrow.dataset as ds

SECOND_NS = 1_000_000_000
INTERVAL_NS = SECOND_NS
"""``polling.interval_seconds`` of the config."""
NEAR_NS = 55 * SECOND_NS
"""The trial leaves a minute between two kills."""


def main() -> int:
    """Compare, and say what was found."""
    folder, killed_ns = sys.argv[1], int(sys.argv[2])
    due = pc.field("due_ns")
    near = (due > killed_ns - NEAR_NS) & (due < killed_ns + NEAR_NS)
    table = ds.dataset(f"{folder}/polls", partitioning="hive")
    polls = table.to_table(filter=near).to_pylist()
    recorded = sorted((poll for poll in polls if poll["run_id"]), key=lambda poll: poll["due_ns"])
    killed_run = recorded[0]["run_id"]
    slots: dict[str, defaultdict[str, list[int]]] = {
        state: defaultdict(list) for state in ("before", "dead", "after")
    }
    for poll in polls:
        lived = "before" if poll["run_id"] == killed_run else "after"
        state = "dead" if poll["result"] == "process_down" else lived
        slots[state][poll["token_id"]].append(poll["due_ns"])
    before, dead, after = slots.values()
    both, wrong = before.keys() & after.keys(), 0
    for token in sorted(both):
        expected = list(range(max(before[token]) + INTERVAL_NS, min(after[token]), INTERVAL_NS))
        if sorted(dead[token]) != expected:
            wrong += 1
            print(f"token {token}: {len(expected)} dead slots expected, the dataset has {len(dead[token])}")
    first_ns = min(poll["sent_ns"] for poll in recorded if poll["run_id"] != killed_run and poll["sent_ns"])
    theirs = sum(len(dead[token]) for token in both)
    others = sum(map(len, dead.values())) - theirs
    print(f"first poll sent {(first_ns - killed_ns) / SECOND_NS:.2f} s after the kill")
    print(f"{theirs} dead slots of {len(both)} tokens polled before and after, {wrong} of them wrong")
    print(f"{others} dead slots of tokens whose window began or ended meanwhile")
    results = Counter(table.to_table(columns=["result"])["result"].to_pylist())
    print("all planned slots: " + ", ".join(f"{count:,} {name}" for name, count in results.most_common()))
    return 1 if wrong or not both else 0


if __name__ == "__main__":
    sys.exit(main())
