#!/bin/sh
# One bounded cycle, for cron and for containers: collect for a while, verify the archive, make the dataset.
set -eu

usage() {
    cat <<'HELP'
usage: sh scripts/run_polymarket_collector_cycle.sh --config FILE [--seconds N] [--dataset DIR]

Collect for N seconds, seal every file, verify the archive, and with --dataset normalise it.
Polls that fall between two cycles are not made: coverage shows them as process_down.

  --config FILE   the collector's config
  --seconds N     collect for N seconds (default 300)
  --dataset DIR   then bring the dataset in DIR up to date; only from an archive that verify finds clean
  --help          show this text

The exit code is the worst of the steps: 0 all is well; 1 verify found problems, or rows are missing from
the dataset; 2 a check could not be made, or an argument cannot be used; 70, 74, 78 the collector's (internal
error, storage, config); 75 another process collects into this archive or makes this dataset: with the
former nothing else is done. SIGTERM or SIGINT ends the step under way (the collector seals its files), and
the cycle with 143 or 130.

Python is the project's .venv, else the python3 on PATH.

examples:
  sh scripts/run_polymarket_collector_cycle.sh --config config/polymarket_collector.sandbox.yaml --seconds 20
  sh scripts/run_polymarket_collector_cycle.sh --config /etc/orderbooks/collector.yaml --seconds 3540
  sh scripts/run_polymarket_collector_cycle.sh --config my.yaml --seconds 600 --dataset dataset
HELP
}

# A user's mistake: one line, and 2.
refuse() {
    printf 'run_polymarket_collector_cycle.sh: %s (see --help)\n' "$1" >&2
    exit 2
}

config='' seconds=300 dataset=''
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
        --config | --seconds | --dataset) [ $# -ge 2 ] || refuse "$1 needs a value" ;;
        *) refuse "unknown argument: $1" ;;
    esac
    case "$1" in
        --config) config=$2 ;;
        --seconds) seconds=$2 ;;
        --dataset) dataset=$2 ;;
    esac
    shift 2
done
[ -n "$config" ] || refuse '--config FILE is needed'

scripts=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=$scripts/../.venv/bin/python
[ -x "$python" ] || python=python3
child='' stopped='' worst=0

# Hand the signal on and let the step end by its own rules; as a container's first process nobody else would.
stop() {
    stopped=$1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap 'stop 143' TERM
trap 'stop 130' INT

# Run one step; its exit code in code, the worst so far in worst.
step() {
    printf '== %s\n' "$1"
    shift
    "$python" "$@" &
    child=$!
    [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null || true # it came just before the child
    code=0
    wait "$child" || code=$?
    # A signal ends the first wait, not the step.
    while kill -0 "$child" 2>/dev/null; do
        code=0
        wait "$child" || code=$?
    done
    child=''
    if [ "$code" -gt "$worst" ]; then worst=$code; fi
    if [ -n "$stopped" ]; then
        printf 'the cycle was stopped; what was collected is sealed, and not verified\n' >&2
        exit "$stopped"
    fi
}

step "collect for $seconds s" "$scripts/collect_polymarket_orderbooks.py" --config "$config" --seconds "$seconds"
case $code in
    2 | 75 | 78) exit "$code" ;; # nothing was collected; the line above says why
esac
root=$(PYTHONPATH=$scripts/.. "$python" -c '
import sys
from orderbooks_spider.config import load
print(load(sys.argv[1]).archive.root)' "$config")

step "verify $root" "$scripts/verify_archive.py" "$root"
if [ -n "$dataset" ]; then
    if [ "$code" = 0 ]; then
        step "normalise into $dataset" "$scripts/normalize_polymarket_orderbooks.py" --root "$root" --out "$dataset"
    else
        printf 'no dataset is made: verify ended with %s\n' "$code" >&2
    fi
fi
exit "$worst"
