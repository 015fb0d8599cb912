#!/usr/bin/env python3
"""Remove local segments that a remote is shown to hold again now; their manifests stay.

A dry run unless --execute.  Takes segments of `books` and `markets` that an upload proved at
ORDERBOOKS_RCLONE_DEST and that were sealed more than `offload.keep_local_days` days ago, asks the remote
for their checksums anew, reads the local files again, writes a record, and only then removes.

Examples:
  export ORDERBOOKS_RCLONE_DEST=gd:orderbooks
  python scripts/purge_offloaded.py data
  python scripts/purge_offloaded.py data --execute
  python scripts/purge_offloaded.py data --older-than-days 30 --execute

Exit codes: 0 done (or the dry run found no problem), 1 problems: files that stay, each with its reason,
2 no archive or not readable, 69 the remote cannot be reached or refuses (nothing is removed),
74 storage failed, 75 another upload or purge runs, 78 no destination, no rclone, or no such remote.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.filter_end import end_with
from orderbooks_spider.offload import command, text
from orderbooks_spider.offload.purge import Purge


def main() -> int:
    """Look, and with ``--execute`` remove; the exit code of the command."""
    parser = command.parser(__doc__ or "")
    parser.add_argument(
        "--older-than-days",
        type=command.days,
        metavar="N",
        help="since a segment was sealed (default: offload.keep_local_days of the config)",
    )
    options = parser.parse_args()

    def purge(job: command.Job) -> int:
        keep_days = job.keep_local_days if options.older_than_days is None else options.older_than_days
        work = Purge(job.root, job.rclone, job.clock, keep_days)
        work.look()
        for line in text.purge_plan(work, execute=job.execute):
            print(line, flush=True)
        if job.execute:
            work.remove()
        for line in text.purge_end(work, execute=job.execute):
            print(line)
        return work.exit_code

    return command.run(options, "purge", purge)


if __name__ == "__main__":
    end_with(main)
