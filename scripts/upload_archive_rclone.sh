#!/bin/sh
# Send sealed segments to a remote store and prove that they are there; the work is in the script of the same
# name that ends in .py.  Uses the project's .venv where there is one, else the python3 on PATH.
set -eu

project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=$project/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$project/scripts/upload_archive_rclone.py" "$@"
