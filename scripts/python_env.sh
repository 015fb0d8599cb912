#!/bin/sh
# The environment of scripts/demo.sh and scripts/test.sh: .venv, from the pinned requirements.
# A stamp, written last, says what .venv holds: without it .venv was half made, and is made anew.
set -eu

usage() {
    cat <<'HELP'
usage: sh scripts/python_env.sh [--tests]

Make .venv with the run-time requirements, or bring it up to date. Does nothing when it is current.

  --tests   also install what lint, types and tests need
  --help    show this text

examples:
  sh scripts/python_env.sh
  sh scripts/python_env.sh --tests
  .venv/bin/python scripts/verify_archive.py --help
HELP
}

# The one line a user gets: what is wrong, and the command that mends it.
fail() {
    printf 'python_env.sh: %s\n' "$1" >&2
    exit 1
}

tests=no
case "${1-}" in
    '') ;;
    --tests) tests=yes ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'python_env.sh: unknown argument: %s (see --help)\n' "$1" >&2; exit 2 ;;
esac

project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=$project/.venv
python=$venv/bin/python
stamp=$venv/.stamp
log=$venv/.log
again="sh '$project/scripts/python_env.sh'${1:+ $1}"
sudo='sudo '
if [ "$(id -u)" = 0 ]; then sudo=''; fi

# What .venv would hold now: its Python and place (a moved one is made anew), and the requirements.
wanted() {
    "$python" -c 'import pip, sys; print(*sys.version_info[:2], sys.prefix)' 2>/dev/null || return 1
    cksum <"$project/requirements.txt"
    if [ "$1" = yes ]; then cksum <"$project/tests/requirements.txt"; fi
}

# True when the stamp says so. A .venv with the tests' needs also serves without them.
current() {
    [ -s "$stamp" ] || return 1
    held=$(cat "$stamp")
    [ "$held" = "$(wanted yes)" ] || { [ "$tests" = no ] && [ "$held" = "$(wanted no)" ]; }
}

# Sets base: the first Python >= 3.11 that can make a virtual environment.
find_python() {
    found='' unable=''
    for base in python3 python3.13 python3.12 python3.11; do
        version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        found=${found:-"$base is $version"}
        "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$base" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
        unable=${unable:-$base}
    done
    if [ -n "$unable" ]; then
        fail "$unable cannot make a virtual environment; run: ${sudo}apt-get install $unable-venv"
    elif [ -n "$found" ]; then
        fail "Python 3.11 or newer is needed, but $found; run: ${sudo}apt-get install python3.11 python3.11-venv"
    fi
    fail "Python 3.11 or newer is needed, and none is on PATH; run: ${sudo}apt-get install python3 python3-venv"
}

make_venv() {
    printf 'making .venv with %s\n' "$("$base" --version 2>&1)"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
    if ! "$base" -m venv "$venv" >"$log" 2>&1 || ! "$python" -c 'import pip' >>"$log" 2>&1; then
        fail "$base -m venv failed ($(tail -n 1 "$log")); mostly mended by: ${sudo}apt-get install $base-venv"
    fi
}

install() {
    printf 'installing the pinned packages (about a minute; log: .venv/.log)\n'
    rm -f "$stamp"
    set -- -r "$project/requirements.txt"
    if [ "$tests" = yes ]; then set -- "$@" -r "$project/tests/requirements.txt"; fi
    PIP_USER=0 "$python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@" >"$log" 2>&1 || {
        if grep -q 'connection broken' "$log"; then why='the package index cannot be reached'; else
            why=$(grep -m 1 '^ERROR' "$log" || tail -n 1 "$log")
        fi
        fail "pip failed: $why (log: .venv/.log); mend that, then run: $again"
    }
    wanted "$tests" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

if current; then exit 0; fi
find_python
mkdir -p "$venv" 2>/dev/null || fail "$project is not writable here; run: ${sudo}chown -R $(id -un) '$project'"
if ! [ -w "$venv" ] || { [ -e "$venv/.lock" ] && ! [ -w "$venv/.lock" ]; }; then
    fail "$venv belongs to somebody else; run: ${sudo}rm -r '$venv'"
fi

# The kernel drops this lock when the last process holding it ends, so a killed run leaves none behind.
exec 9>"$venv/.lock"
"$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null 9>&9 || {
    printf 'waiting for another run that makes .venv\n'
    "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 9>&9
}
if current; then exit 0; fi
if ! [ -s "$stamp" ] || [ "$(head -n 1 "$stamp")" != "$(wanted no | head -n 1)" ]; then make_venv; fi
install
