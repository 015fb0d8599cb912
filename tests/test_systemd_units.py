"""The units: clean to systemd, hardened, and of one mind with the deployment page and the scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orderbooks_spider.config import load
from orderbooks_spider.errors import EXIT_CONFIG
from tests.collector import PROJECT

UNITS = sorted([*(PROJECT / "systemd").glob("*.service"), *(PROJECT / "systemd").glob("*.timer")])
SERVICES = [path for path in UNITS if path.suffix == ".service"]
COLLECTOR = PROJECT / "systemd" / "polymarket-orderbook-collector.service"
CONFIG = PROJECT / "config" / "polymarket_collector.vps.example.yaml"
PAGE = (PROJECT / "docs" / "VPS_DEPLOYMENT.md").read_text("utf-8")
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
APP = "/opt/orderbooks/app/"
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
MOST_EXPOSURE = "15"
"""In tenths: 1.5 of 10."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(),
    reason="needs systemd-analyze (package: systemd)",
)
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
each_service = pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)


def values(unit: Path, key: str) -> list[str]:
    """Every value of *key* in *unit*."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def programs(unit: Path) -> list[list[str]]:
    """The words of each ``ExecStart=`` line of *unit*."""
    return [line.split() for line in values(unit, "ExecStart")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder as the deployment page leaves it, as far as systemd looks: units and programs."""
    root = tmp_path_factory.mktemp("server")
    shutil.copytree(SYSTEM_UNITS, root / SYSTEM_UNITS.relative_to("/"), symlinks=True)
    for path in UNITS:
        place = root / "etc" / "systemd" / "system" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    for words in (words for unit in SERVICES for words in programs(unit)):
        program = root / words[0].lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    return root


def verify(server: Path, unit: Path) -> subprocess.CompletedProcess[str]:
    """Let systemd read *unit* on *server*, a template under some name."""
    name = unit.name.replace("@.", "@some.")
    command = ["systemd-analyze", "verify", "--man=no", f"--root={server}", name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
@each_unit
def test_systemd_has_nothing_to_say(unit: Path, server: Path) -> None:
    """``systemd-analyze verify`` ends with 0 and prints nothing: a mistyped key is only a warning."""
    done = verify(server, unit)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@needs_systemd
def test_systemd_would_name_a_mistyped_key(server: Path) -> None:
    """The check above catches a key that systemd does not know."""
    broken = server / "etc" / "systemd" / "system" / "broken.service"
    broken.write_text(COLLECTOR.read_text("utf-8").replace("WatchdogSec=", "WatchDogSec="), encoding="utf-8")
    done = verify(server, broken)
    assert done.returncode == 0
    assert "WatchDogSec" in done.stderr


@needs_systemd
def test_systemd_has_nothing_to_say_of_the_page_s_addition(server: Path) -> None:
    """The purge that the page adds to the uploader is understood, and its script has such options."""
    name, text = re.findall(
        r"^cat >/etc/systemd/system/(\S+)/purge.conf <<'UNIT'\n(.*?)^UNIT$", PAGE, re.MULTILINE | re.DOTALL
    )[0]
    addition = server / "etc" / "systemd" / "system" / name / "purge.conf"
    addition.parent.mkdir()
    addition.write_text(text, encoding="utf-8")
    unit = COLLECTOR.with_name(name.removesuffix(".d"))
    done = verify(server, unit)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    words = values(addition, "ExecStart")[0].split()
    script = PROJECT / words[1].removeprefix(APP)
    told = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(option in told for option in words[2:] if option.startswith("--"))


@needs_systemd
@each_service
def test_exposure_is_small(unit: Path) -> None:
    """``systemd-analyze security`` scores each service at most 1.5 of 10."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={MOST_EXPOSURE}"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@needs_systemd
def test_exposure_would_be_seen(tmp_path: Path) -> None:
    """The check above fails for the same service without its hardening."""
    bare = tmp_path / "bare.service"
    bare.write_text("".join(COLLECTOR.read_text("utf-8").partition("UMask=")[0]), encoding="utf-8")
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", str(bare)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


@each_service
def test_memory_may_be_executable(unit: Path) -> None:
    """No service sets ``MemoryDenyWriteExecute=``; ``test_executable_memory.py`` shows what it can break."""
    assert "MemoryDenyWriteExecute" not in unit.read_text("utf-8")


@each_service
def test_a_service_runs_what_the_page_installs(unit: Path) -> None:
    """Every absolute path of a program line is a file of the project, or one that the page makes."""
    for words in programs(unit):
        for word in words:
            for path in re.findall(r"(?<![\w.])/[\w./-]+", word):
                if path.startswith(APP + ".venv/"):
                    assert path == f"{APP}.venv/bin/python"
                elif path.startswith(APP):
                    file = path.removeprefix(APP)
                    assert (PROJECT / file).is_file(), path
                elif path.startswith("/var/lib/orderbooks/"):
                    assert values(unit, "StateDirectory") == ["orderbooks"]
                else:
                    assert path == "/bin/sh" or path in COMMANDS, path


@each_service
def test_a_service_has_a_home_and_a_user(unit: Path) -> None:
    """Each runs as the user of the sysusers file, with HOME set to its home."""
    (user,) = re.findall(
        r'^u (\S+) - ".*" (\S+)$',
        (PROJECT / "systemd" / "orderbooks.sysusers.conf").read_text("utf-8"),
        re.MULTILINE,
    )
    assert (values(unit, "User"), values(unit, "Group")) == ([user[0]], [user[0]])
    assert any(f"HOME={user[1]}" in line.split() for line in values(unit, "Environment"))


def test_every_failure_is_told() -> None:
    """Every service but the alert itself names the alert unit."""
    told = {path.name for path in SERVICES if values(path, "OnFailure") == ["orderbooks-alert@%n.service"]}
    assert told == {path.name for path in SERVICES} - {"orderbooks-alert@.service"}


def test_each_timer_has_its_service_and_is_enabled_by_the_page() -> None:
    """A timer starts the service of its own name, and the page enables it."""
    timers = [path for path in UNITS if path.suffix == ".timer"]
    assert timers
    for timer in timers:
        assert timer.with_suffix(".service") in SERVICES
        assert f"systemctl enable --now {timer.name}" in COMMANDS


def test_the_collector_comes_back_but_for_a_bad_config() -> None:
    """It is restarted whatever its exit code, without end, and not on the code of a bad config."""
    assert values(COLLECTOR, "Restart") == ["always"]
    assert values(COLLECTOR, "RestartPreventExitStatus") == [str(EXIT_CONFIG)]
    assert values(COLLECTOR, "StartLimitIntervalSec") == ["0"]
    assert values(COLLECTOR, "Type") == ["notify"]


def test_the_program_line_reads_the_shipped_config() -> None:
    """The unit's options are the script's, and the config that the page installs is understood."""
    (words,) = programs(COLLECTOR)
    script, *options = [word.replace("/etc/orderbooks/collector.yaml", str(CONFIG)) for word in words[1:]]
    done = subprocess.run(
        [sys.executable, str(PROJECT / script.removeprefix(APP)), *options, "--check-config"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "live, book every 1 s" in done.stdout


def test_the_shipped_config_stays_in_the_state_folder() -> None:
    """The archive's root is absolute, and below the folder that the unit may write."""
    root = Path(load(CONFIG).archive.root)
    assert root.parent == Path("/var/lib") / values(COLLECTOR, "StateDirectory")[0]
    verified = [words[-1] for words in programs(COLLECTOR.with_name("polymarket-orderbook-verifier.service"))]
    assert verified[0] == str(root)


def test_the_page_names_each_block_once() -> None:
    """Every code block that a reader types has a name, by which ``tests/vps/run.sh`` runs it too."""
    named = re.findall(r"^<!-- vps: ([\w-]+) -->\n```sh$", PAGE, re.MULTILINE)
    assert len(named) == len(set(named)) == PAGE.count("```sh\n")
    trial = (PROJECT / "tests" / "vps" / "run.sh").read_text("utf-8")
    untried = {name for name in named if not re.search(rf"block {name}$", trial, re.MULTILINE)}
    assert untried == {"choices"}, "the trial chooses its own source, version and contact"
