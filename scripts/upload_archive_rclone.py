#!/usr/bin/env python3
"""Send sealed segments to a remote store with rclone, and prove that they are there.

A dry run unless --execute: it says what would go where, and asks the remote what it holds.  Never deletes.
ORDERBOOKS_RCLONE_DEST names the destination, REMOTE:FOLDER with a remote of your rclone.conf; credentials
stay in rclone's own configuration (docs/GOOGLE_DRIVE_OFFLOAD.md).

Examples:
  export ORDERBOOKS_RCLONE_DEST=gd:orderbooks
  sh scripts/upload_archive_rclone.sh
  sh scripts/upload_archive_rclone.sh --execute
  sh scripts/upload_archive_rclone.sh --execute /var/lib/orderbooks

Exit codes: 0 all is proven at the remote (or the dry run found no problem), 1 problems (all are listed),
2 no archive or not readable, 69 the remote cannot be reached, refuses or is full (run again later),
74 storage failed, 75 another upload or purge runs, 78 no destination, no rclone, or no such remote.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.filter_end import end_with
from orderbooks_spider.offload import command, text
from orderbooks_spider.offload.upload import Upload


def main() -> int:
    """Plan, and with ``--execute`` send; the exit code of the command."""
    parser = command.parser(__doc__ or "")
    options = parser.parse_args()
    return command.run(options, "upload", _upload)


def _upload(job: command.Job) -> int:
    upload = Upload(job.root, job.rclone, job.clock)
    upload.look()
    for line in text.upload_plan(upload, execute=job.execute):
        print(line, flush=True)
    try:
        if job.execute:
            upload.send()
    finally:
        for line in text.upload_end(upload, execute=job.execute):
            print(line)
    return upload.exit_code


if __name__ == "__main__":
    end_with(main)
