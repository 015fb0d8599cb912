#!/bin/sh
# README command 1: collect from the sandbox exchange, verify, normalise, and show one screen of what came out.
set -eu

usage() {
    cat <<'HELP'
usage: sh scripts/demo.sh [--seconds N]

Make .venv if needed, start the sandbox exchange on a free loopback port, collect from it into
sandbox-data/, verify the archive, make its dataset in sandbox-data/dataset/, and print a summary.
Needs no key and no account. Exit code 0 only if the archive has no integrity problem.

  --seconds N   collect for N seconds (default 60)
  --help        show this text

examples:
  sh scripts/demo.sh
  sh scripts/demo.sh --seconds 20
HELP
}

for argument in "$@"; do
    case "$argument" in -h | --help) usage; exit 0 ;; esac
done

cd -- "$(dirname -- "$0")/.."
sh scripts/python_env.sh
exec .venv/bin/python scripts/demo.py "$@"
