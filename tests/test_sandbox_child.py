"""The sandbox as a process: its one line, its exit codes, and that it never outlives its parent."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.errors import EXIT_CONFIG, OrderbooksError
from orderbooks_spider.sandbox.child import SandboxChild
from tests.test_sandbox_routes import fetch

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "orderbooks_spider.sandbox"]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def gone(pid: int) -> bool:
    """Whether a process has ended within ten seconds (a zombie has)."""
    clock = SystemClock()
    until = clock.monotonic_ns() + 10 * NS
    while clock.monotonic_ns() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
    return False


def test_one_line_and_a_port_file_tell_where_it_serves(tmp_path: Path) -> None:
    """The child prints exactly one line, and writes the bare port, with nothing left beside it."""
    port_file = tmp_path / "port"
    with subprocess.Popen(
        [*COMMAND, "--port-file", str(port_file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(port_file.read_text(encoding="ascii"))
        assert line == f"sandbox exchange at http://127.0.0.1:{port}\n"
        assert fetch(f"http://127.0.0.1:{port}", "/ok").status == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert rest == ""
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def test_sigterm_ends_it_at_once_even_while_a_client_hangs() -> None:
    """Exit code 0, and a request that would never be answered does not hold it up."""
    with SandboxChild.start() as sandbox:
        fetch(sandbox.url, "/_sandbox/faults", b"faults: [{fault: {kind: hang}}]")
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as sock:
            sock.sendall(b"GET /ok HTTP/1.1\r\nHost: sandbox\r\n\r\n")
            sandbox.process.terminate()
            assert sandbox.process.wait(timeout=20) == 0
        assert sandbox.stop() == 0


def test_the_child_dies_with_a_killed_parent() -> None:
    """When the process that started it is killed, the sandbox ends by itself."""
    script = (
        "import sys; from orderbooks_spider.sandbox.child import SandboxChild; "
        "child = SandboxChild.start(); print(child.process.pid, child.url, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        assert fetch(url, "/ok").status == 200
        parent.kill()
        parent.wait(timeout=20)
        assert gone(int(pid))


def test_the_embedded_child_takes_more_arguments() -> None:
    """Arguments of the command line can be given, and ``stop`` may be called twice."""
    sandbox = SandboxChild.start(["--seed", "9"])
    assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
    assert sandbox.stop() == 0
    assert sandbox.stop() == 0


def test_a_child_that_cannot_start_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """The error says that it ended; the child's own line on stderr says why."""
    with pytest.raises(OrderbooksError, match="78"):
        SandboxChild.start(["--faults", "missing.yaml"])
    assert "missing.yaml" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--faults", "--replay"])
def test_a_missing_file_is_one_line_and_exit_78(option: str) -> None:
    """A file that is not there is named in one line, without a traceback."""
    done = run(option, "not-there.yaml")
    assert done.returncode == EXIT_CONFIG
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "not-there.yaml" in done.stderr


def test_a_bad_plan_names_file_and_key_and_exits_78(tmp_path: Path) -> None:
    """The error line names the plan's file and the key that is wrong."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: [{fault: {kind: status, staus: 1}}]", encoding="utf-8")
    done = run("--faults", str(plan))
    assert done.returncode == EXIT_CONFIG
    assert done.stderr.count("\n") == 1
    assert str(plan) in done.stderr
    assert "staus" in done.stderr


def test_a_port_in_use_is_one_clear_line() -> None:
    """A port that is taken is named, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("--port", port)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert port in done.stderr


def test_help_shows_examples() -> None:
    """``--help`` explains itself with examples."""
    done = run("--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    for option in (
        "--port-file",
        "--seed",
        "--faults",
        "--replay",
        "--served-log",
        "--listed-ahead-hours",
        "--tls-cert",
        "--tls-key",
        "--with-parent",
    ):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["0"], "at most 1000, saw 0"),
        (["nan"], "saw nan"),
        (["inf"], "saw inf"),
        (["72", "--replay", "books.jsonl"], "a replay has only"),
    ],
)
def test_a_crowd_that_cannot_be_is_an_error_of_the_command_line(args: list[str], why: str) -> None:
    """Hours out of bounds, or beside a replay, are refused before anything starts."""
    done = run("--listed-ahead-hours", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--listed-ahead-hours" in done.stderr
    assert why in done.stderr
