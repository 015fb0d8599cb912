#!/bin/sh
# Follow docs/VPS_DEPLOYMENT.md in a booted Debian, by its own code blocks, and check what it promises.
# shellcheck disable=SC2016,SC2086 # texts for the machine's shell; names without blanks
set -eu

usage() {
    cat <<'HELP'
usage: sh tests/vps/run.sh SUITE [--minutes N] [--log FILE] [--folder DIR] [--ca FILE] [--pip-conf FILE]

Make a bare Debian with debootstrap, boot its systemd in a container, and do what docs/VPS_DEPLOYMENT.md
says: install, start, check, alerts, upgrade, move, uninstall; kill and freeze the collector meanwhile.
The venue is the sandbox exchange. Tests the last commit. Needs root, about 1.5 GB and a package index.

  SUITE            trixie (Debian 13) or bookworm (Debian 12)
  --minutes N      let the collector run for so long before it is killed (default 2)
  --log FILE       where the log goes (default reports/vps_sandbox_SUITE.log)
  --folder DIR     work there, and keep the bare Debian for the next run (default: a temporary folder)
  --ca FILE        an authority that the machine trusts, where a proxy stands before the package index
  --pip-conf FILE  the machine's /etc/pip.conf, for a package index of your own
  --help           show this text

examples:
  sh tests/vps/run.sh trixie
  sh tests/vps/run.sh trixie --minutes 30 --folder /var/tmp/vps
HELP
}

die() {
    printf 'run.sh: %s\n' "$1" >&2
    exit 2
}

project=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
suite='' minutes=2 log='' folder='' ca='' pip_conf=''
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage; exit 0 ;;
        --minutes) minutes=$2; shift 2 ;;
        --log) log=$2; shift 2 ;;
        --folder) folder=$2; shift 2 ;;
        --ca) ca=$2; shift 2 ;;
        --pip-conf) pip_conf=$2; shift 2 ;;
        -*) die "unknown option: $1 (see --help)" ;;
        *) suite=$1; shift ;;
    esac
done
[ -n "$suite" ] || die 'SUITE is needed (see --help)'
[ "$(id -u)" = 0 ] || die 'only root can boot a container'
for tool in debootstrap systemd-nspawn nsenter git; do
    command -v "$tool" >/dev/null || die "$tool is missing; run: apt-get install debootstrap systemd-container util-linux git"
done
log=${log:-$project/reports/vps_sandbox_$suite.log}
keep=$folder
[ -n "$folder" ] || folder=$(mktemp -d)
mkdir -p "$folder" "$(dirname -- "$log")"
exec 9>"$folder/lock"
flock --nonblock 9 || die "another run uses $folder"
base=$folder/$suite machine=$folder/machine
page=$project/docs/VPS_DEPLOYMENT.md
collector=polymarket-orderbook-collector.service
archive=/var/lib/orderbooks/archive
booted='' failed=0

# The end, whatever it is: the machine's processes, its folder, and a bare Debian that nobody asked to keep.
cleanup() {
    if [ -n "$booted" ]; then
        inside systemctl poweroff >/dev/null 2>&1 || true
        timeout 30 tail --pid="$booted" -f /dev/null || kill -KILL "$booted" 2>/dev/null || true
        wait "$booted" 2>/dev/null || true
    fi
    rm -rf "$machine" "$machine".*
    [ -n "$keep" ] || rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

say() { printf '%s\n' "$*" | tee -a "$log"; }
now_ns() { date +%s%N; }
seconds_since() { awk -v a="$1" -v b="$(now_ns)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }

# Run a command in the machine, as its root, with nothing of this machine's environment.
inside() {
    nsenter -t "$leader" -m -u -i -n -p -C env -i HOME=/ LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
as_user() { inside runuser -u orderbooks -- "$@"; }
show() { inside systemctl show --property "$2" --value "$1"; }

# Say whether a promise holds; a broken one does not end the run.
promise() {
    text=$1
    shift
    if "$@"; then say "  ok    $text"; else
        say "  FAIL  $text"
        failed=1
    fi
}

# Wait for a command to succeed, for at most $1 seconds.
within() {
    patience=$1
    shift
    until_ns=$(($(now_ns) + patience * 1000000000))
    until "$@"; do
        [ "$(now_ns)" -lt "$until_ns" ] || return 1
        sleep 0.1
    done
}

# The code block of the page that is named in the comment before it.
block_of() { awk -v name="<!-- vps: $1 -->" '$0 == name { seen = 1 } seen && /^```$/ { exit } go { print } seen && /^```sh$/ { go = 1 }' "$page"; }

# Run it as the reader would: in one shell with the blocks before, so that its variables live on in a file.
block() {
    code=$(block_of "$1")
    [ -n "$code" ] || die "$page has no block $1"
    say "  page  $1"
    printf '%s\n' "set -eu" ". /run/reader" "$code" 'for name in source version contact release previous old address destination; do' \
        '    eval "[ -z \"\${$name-}\" ] || printf \"%s=%s\\n\" \"$name\" \"\$$name\""' 'done >/run/reader.new' \
        'mv /run/reader.new /run/reader' >"$machine.block"
    if inside sh -s <"$machine.block" >"$machine.out" 2>&1; then return; fi
    say "  FAIL  the block $1 of the page:"
    tail -n 20 "$machine.out" | tee -a "$log"
    exit 1
}
reader_knows() { inside sh -c 'printf "%s\n" "$1" >>/run/reader' sh "$1"; }
last_output() { sed 's/^/        /' "$machine.out" | tee -a "$log"; }

# User and command line; a bare Debian has no ps.
process_of() { inside sh -c 'printf "%s " "$(stat -c %U "/proc/$1")"; tr "\0" " " <"/proc/$1/cmdline"' sh "$1" | sed 's/ $//'; }
is_another() {
    state=$(inside systemctl show --property MainPID,SubState $collector | sort | tr '\n' ' ')
    case $state in 'MainPID=0 '* | "MainPID=$1 "*) return 1 ;; esac
    [ "${state#* }" = 'SubState=running ' ]
}
answers() { case "$(show $collector StatusText)" in *' 0 answered') return 1 ;; *' answered') ;; *) return 1 ;; esac; }
nothing_open() { [ -z "$(inside find $archive -name '*.journal' -o -name '*.part' -o -name '*.torn')" ]; }
verifies() { as_user /opt/orderbooks/app/.venv/bin/python /opt/orderbooks/app/scripts/verify_archive.py $archive >"$machine.out" 2>&1; }
invocation_changed() { [ -n "$(show "$1" InvocationID)" ] && [ "$(show "$1" InvocationID)" != "$2" ]; }
has_ended() { [ "$(show "$1" ActiveState)" = "$2" ]; }
alert_said() { inside journalctl --quiet --identifier orderbooks-alert --priority crit --grep "$1" >"$machine.out" 2>&1; }
watchdog_said() { inside journalctl --quiet --unit $collector --grep 'Watchdog timeout' --output cat >"$machine.out" 2>&1; }
hook_said() { inside grep -q "$1" /var/tmp/alerts; }

bare_debian() {
    [ -d "$base/usr" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates "$suite" "$base" >"$folder/debootstrap.log" 2>&1 ||
        die "debootstrap failed, see $folder/debootstrap.log"
    rm -rf "$machine"
    cp -a "$base" "$machine"
    cp /etc/resolv.conf "$machine/etc/resolv.conf"
    echo vps >"$machine/etc/hostname" # debootstrap took over the name of this machine
    if [ -n "$ca" ]; then
        cp "$ca" "$machine/usr/local/share/ca-certificates/test.crt"
        chroot "$machine" update-ca-certificates >/dev/null 2>&1
    fi
    [ -z "$pip_conf" ] || cp "$pip_conf" "$machine/etc/pip.conf"
    git clone --quiet --bare "$project" "$machine/srv/orderbooks.git"
    for tag in first second; do git -C "$machine/srv/orderbooks.git" tag "$tag" "$(git -C "$project" rev-parse HEAD)"; done
}

boot() {
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet -D "$machine" --hostname=vps -b --register=no \
        --keep-unit --console=pipe </dev/null >"$machine.console" 2>&1 &
    booted=$!
    leader=''
    until_boot() { leader=$(ps -o pid= --ppid "$booted" | tr -d ' ') && [ -n "$leader" ] && case "$(inside systemctl is-system-running 2>/dev/null)" in running | degraded) ;; *) false ;; esac; }
    within 120 until_boot || die "the machine does not boot: $(tail -n 3 "$machine.console")"
    inside sh -c 'touch /run/reader'
    say "booted: $(inside sh -c '. /etc/os-release; echo "$PRETTY_NAME"'), systemd $(inside systemctl --version | awk 'NR == 1 { print $2 }'), Linux $(uname -r)"
}

# The venue of this test: the sandbox exchange, in the machine, on a loopback port of its own choosing.
exchange() {
    inside cp -a /opt/orderbooks/releases/first /srv/exchange
    inside systemd-run --quiet --unit exchange --working-directory=/srv/exchange \
        /srv/exchange/.venv/bin/python -m orderbooks_spider.sandbox --port 0 --port-file /run/exchange.port
    within 60 inside test -s /run/exchange.port
}

# The one thing that this test changes in the config: who is asked.
ask_the_exchange() {
    url=http://127.0.0.1:$(inside cat /run/exchange.port)
    inside sed -i "s|^environment: live|environment: sandbox|; s|^venue:|venue:\n  gamma_url: $url\n  clob_url: $url|" /etc/orderbooks/collector.yaml
}

# What an alert hook would talk to: keeps what is posted in a file.
receiver() {
    inside systemd-run --quiet --unit receiver python3 -c '
import http.server
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open("/var/tmp/alerts", "ab") as kept:
            kept.write(self.rfile.read(int(self.headers["content-length"])) + b"\n")
        self.send_response(204)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
open("/run/receiver.port", "w").write(str(server.server_port))
server.serve_forever()'
    within 30 inside test -s /run/receiver.port
    reader_knows "address=http://127.0.0.1:$(inside cat /run/receiver.port)/"
}

install_program() {
    block release
    block switch
    block user
    block config
}

say_writable() {
    found=$(inside nsenter -t "$(show $collector MainPID)" -m setpriv --reuid orderbooks --regid orderbooks --clear-groups \
        find / \( -path /proc -o -path /sys -o -path /dev \) -prune -o -type d -writable -print 2>/dev/null | grep -v '^/var/lib/orderbooks/' | sort | tr '\n' ' ')
    say "        folders that it may write: $found"
    [ "$found" = '/tmp /var/lib/orderbooks /var/tmp ' ]
}

kill_it() {
    pid=$(show $collector MainPID)
    killed_ns=$(now_ns)
    inside sh -c 'kill "-$1" "$2"' sh "$1" "$pid" || return 1
    within 120 is_another "$pid" || return 1
    back=$(seconds_since "$killed_ns")
}

: >"$log"
say "# tests/vps/run.sh $suite --minutes $minutes; environment: sandbox (the venue is the sandbox exchange)"
say "# commit $(git -C "$project" rev-parse --short HEAD), $(date -u +%Y-%m-%dT%H:%MZ)"
bare_debian
boot

say '== install, as the page says'
block packages
block clock
inside sh -c 'printf "source=file:///srv/orderbooks.git\nversion=first\ncontact=mailto:test@example.org\n" >/run/reader'
install_program
exchange
ask_the_exchange
block check-config
last_output
block units

say '== start'
began_ns=$(now_ns)
block start
say "        ready $(seconds_since "$began_ns") s after systemctl start"
promise 'the status line counts answered slots' within 30 answers
say "        $(show $collector StatusText)"
promise 'it is the ExecStart line of the unit, as the user orderbooks' [ "$(process_of "$(show $collector MainPID)")" = \
    "orderbooks $(sed -n 's/^ExecStart=//p' "$project/systemd/$collector")" ]
promise 'it may write its state folder and nothing else but private temporary folders' say_writable
block listens
promise 'nothing listens' [ ! -s "$machine.out" ]
block check

say "== $minutes minutes, then SIGKILL"
sleep $((minutes * 60))
promise 'it still runs, and was never restarted' [ "$(show $collector SubState) $(show $collector NRestarts)" = 'running 0' ]
inside journalctl --quiet --no-pager --unit $collector --priority warning >"$machine.out" 2>&1 # nothing, when all is well
last_output
promise 'the status line counts answered slots' answers
say "        $(show $collector StatusText); resident: $(inside awk '/^VmRSS/ { print $2 }' "/proc/$(show $collector MainPID)/status") KiB"
if inside test -e /opt/orderbooks/app/scripts/status.py; then
    block status
    last_output
else
    say '  --    status.py is not in this commit; it would be asked here, and must exit 0 (healthy)'
fi
promise 'killed, it comes back by itself' kill_it KILL
say "        ready again $back s after SIGKILL"
if [ "$(inside systemctl --version | awk 'NR == 1 { print $2 }')" -ge 254 ]; then # older ones tell only of the last failure
    promise 'and the alert has told of it' within 10 alert_said 'collector.service failed: signal'
    last_output
fi
first_kill_ns=$killed_ns
promise 'it answers again' within 30 answers
sleep 65 # a whole minute of rows on this side of the kill

say '== a frozen process (SIGSTOP)'
promise 'the watchdog ends it, and it comes back' kill_it STOP
say "        ready again $back s after SIGSTOP (WatchdogSec=30)"
promise 'it was the watchdog' watchdog_said
last_output
promise 'it answers again' within 30 answers

say '== stop'
began_ns=$(now_ns)
inside systemctl stop $collector
say "        stopped in $(seconds_since "$began_ns") s"
promise 'it ended well' [ "$(show $collector Result) $(show $collector ExecMainStatus)" = 'success 0' ]
promise 'every file is sealed' nothing_open
promise 'verify finds the archive clean' verifies
last_output

say '== the timer, verify and normalise'
block verifier
promise 'the service ended well' [ "$(show polymarket-orderbook-verifier.service Result)" = success ]
before=$(show polymarket-orderbook-verifier.service InvocationID)
inside sh -c 'mkdir -p /run/systemd/system/polymarket-orderbook-verifier.timer.d
printf "[Timer]\nOnCalendar=\nOnCalendar=*:*:00/5\nRandomizedDelaySec=0\nAccuracySec=1s\n" >/run/systemd/system/polymarket-orderbook-verifier.timer.d/soon.conf
systemctl daemon-reload
systemctl restart polymarket-orderbook-verifier.timer'
promise 'the timer starts it by itself (every 5 s for this test)' within 60 invocation_changed polymarket-orderbook-verifier.service "$before"
inside sh -c 'rm -r /run/systemd/system/polymarket-orderbook-verifier.timer.d; systemctl daemon-reload; systemctl restart polymarket-orderbook-verifier.timer'
promise 'it has ended' within 300 has_ended polymarket-orderbook-verifier.service inactive
cp "$project/tests/vps/dead_slots.py" "$machine/srv/"
dead_slots() { as_user /opt/orderbooks/app/.venv/bin/python /srv/dead_slots.py /var/lib/orderbooks/dataset "$1" >"$machine.out" 2>&1; }
promise 'the dataset shows exactly the dead slots of the SIGKILL' dead_slots "$first_kill_ns"
last_output
promise 'it polled again within 5 seconds' awk '/^first poll sent/ { exit $4 > 5 }' "$machine.out"
promise 'and those of the frozen process' dead_slots "$killed_ns"
last_output

say '== alerts'
receiver
block alert
promise 'the hook is run' within 10 hook_said 'test failed'
block watch
inside systemctl start polymarket-orderbook-status.service >/dev/null 2>&1 || true
promise 'a collector that is down is told by the status unit' within 10 hook_said 'polymarket-orderbook-status.service failed: exit-code'
segment=$(inside find $archive/raw/polymarket/books -name '*.jsonl.gz' | head -n 1)
inside cp -a "$segment" /var/tmp/whole
inside truncate --size=-1 "$segment"
inside systemctl start polymarket-orderbook-verifier.service >/dev/null 2>&1 || true
promise 'a damaged segment fails the verifier, and the journal has it as critical' within 30 alert_said polymarket-orderbook-verifier
last_output
promise 'and the hook' within 10 hook_said 'polymarket-orderbook-verifier.service failed: exit-code'
inside mv /var/tmp/whole "$segment"
inside sed -i 's/^environment: sandbox/environment: sandpit/' /etc/orderbooks/collector.yaml
inside systemctl start $collector >/dev/null 2>&1 || true
promise 'a bad config fails the collector, without a restart' within 30 has_ended $collector failed
say "        $(show $collector Result) $(show $collector ExecMainStatus), $(show $collector NRestarts) restarts"
promise 'and it is told' within 10 hook_said 'polymarket-orderbook-collector.service failed: exit-code'
inside sed -i 's/^environment: sandpit/environment: sandbox/' /etc/orderbooks/collector.yaml
block start

say '== upgrade and rollback'
reader_knows version=second
block release
block upgrade-check
block upgrade
promise 'the second release runs' within 30 answers
lives() { inside systemctl start polymarket-orderbook-status.service >/dev/null 2>&1 || [ "$(show polymarket-orderbook-status.service ExecMainStatus)" = 1 ]; }
promise 'the status unit sees that it lives' lives # 1: degraded, for some minutes after a stop
inside journalctl --quiet --no-pager --lines 40 --output cat --unit polymarket-orderbook-status.service >"$machine.out" 2>&1
last_output
promise 'the link says so' [ "$(inside readlink /opt/orderbooks/app)" = releases/second ]
block rollback
promise 'the first runs again' within 30 answers
promise 'the link says so' [ "$(inside readlink /opt/orderbooks/app)" = releases/first ]

say '== upload and purge (to a local remote)'
reader_knows destination=/var/lib/orderbooks/remote
inside sh -c ': >rclone.conf'
block remote
block upload-look
last_output
block uploader
last_output
promise 'the service uploads' [ "$(show polymarket-orderbook-uploader.service Result)" = success ]
block purge
last_output
block purge-hourly
promise 'with the purge behind it the service ends well too' inside systemctl start polymarket-orderbook-uploader.service
inside journalctl --quiet --no-pager --lines 6 --output cat --unit polymarket-orderbook-uploader.service >"$machine.out" 2>&1
last_output

say '== move'
block leave
heads() { grep -A 1 '^head' "$machine.out"; }
heads_before=$(heads)
same_heads() { [ "$(heads)" = "$heads_before" ]; }
inside sh -c 'mkdir -p /var/tmp/old/etc /var/tmp/old/var/lib; cp -a /etc/orderbooks /var/tmp/old/etc/; cp -a /var/lib/orderbooks /var/tmp/old/var/lib/'
block uninstall
block forget
promise 'nothing is left' inside sh -c '! find / -xdev \( -path /proc -o -path /sys -o -path /var/tmp -o -path /srv -o -path /var/lib/systemd -o -path /var/log \) -prune -o -name "*orderbook*" -print | grep . && ! id orderbooks 2>/dev/null'
inside sh -c 'printf "version=first\nold=/var/tmp/old\n" >>/run/reader'
install_program
block arrive
promise 'verify prints the same heads' same_heads
block units
block start
promise 'the moved collector goes on' within 30 answers

say '== cron'
inside systemctl stop polymarket-orderbook-verifier.timer
block cron
cycle=$(inside sed -n 's/^0 \* \* \* \* orderbooks //p' /etc/cron.d/orderbooks | sed 's/3590/15/')
run_cycle() { as_user sh -c "$cycle" >"$machine.out" 2>&1; }
code=0
run_cycle || code=$?
promise 'a cycle leaves a running collector alone (75)' [ "$code" = 75 ]
inside systemctl stop $collector
promise 'with the collector stopped a cycle collects and verifies' run_cycle
last_output
promise 'every file is sealed' nothing_open

if [ "$failed" = 0 ]; then say '== ALL PROMISES KEPT (sandbox)'; else say '== SOME PROMISES BROKEN'; fi
exit "$failed"
