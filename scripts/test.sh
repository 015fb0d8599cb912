#!/bin/sh
# README command 2: lint, types and tests, stopping at the first that fails.
set -eu

usage() {
    cat <<'HELP'
usage: sh scripts/test.sh [--full] [pytest arguments]

Make .venv if needed, then run ruff, mypy and pytest; the first failure ends the run.

  --full   also the long suites; a test whose system tool is absent skips and names its package
  --help   show this text

examples:
  sh scripts/test.sh
  sh scripts/test.sh --full
  sh scripts/test.sh tests/test_house_rules.py -x
HELP
}

full=no
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
        --full) full=yes; shift ;;
        *) break ;;
    esac
done
# Two at a time, as most tests wait for a child process; the long suites each want the machine for themselves.
# A worker that dies is not replaced: with whole files as the unit, the next one would run into the same test.
if [ "$full" = no ]; then set -- -m 'not slow' --numprocesses 2 --dist loadfile --max-worker-restart 0 "$@"; fi

cd -- "$(dirname -- "$0")/.."
sh scripts/python_env.sh --tests

echo '== ruff check'
.venv/bin/python -m ruff check
echo '== ruff format'
.venv/bin/python -m ruff format --check
echo '== mypy'
.venv/bin/python -m mypy
echo '== pytest'
exec .venv/bin/python -m pytest "$@"
