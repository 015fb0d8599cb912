"""A real scrapyd on loopback, set up as docs/SCRAPYD_DEPLOYMENT.md does it, in a folder of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).resolve().parents[1]
LOGIN = ("operator", "password-of-a-test")
PATIENCE_SECONDS = 120
"""Only against a test that would hang for ever; nothing is asserted about it."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Scrapyd:
    """The daemon, its folder and the project as it is deployed to it."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    orphans: list[int] = field(default_factory=list)
    """Spiders to be ended with the test, for scrapyd does not know them any more."""

    @property
    def home(self) -> Path:
        """The operator's home: the login in ``.netrc``, for `scrapyd-deploy` and `curl -n`."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """What both scrapyd and the operator's commands see: nothing of this checkout."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {"HOME": str(self.home), "SCRAPYD_HTTP_PORT": str(self.port), "PYTHONUNBUFFERED": "1"}

    def set_up(self) -> None:
        """Install the shipped config, the login beside it, and the operator's ``.netrc``."""
        self.home.mkdir(parents=True)
        shutil.copy(PROJECT / "config/scrapyd.conf", self.folder / "scrapyd.conf")
        name, word = LOGIN
        login = f"[scrapyd]\nusername = {name}\npassword = {word}\n"
        (self.home / ".scrapyd.conf").write_text(login, "utf-8")
        netrc = self.home / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login {name} password {word}\n", "utf-8")
        netrc.chmod(0o600)

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        with (self.folder / "scrapyd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scrapyd", "--pidfile="],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._answers, "scrapyd to answer", self.log)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return bool(self.get("daemonstatus.json"))
        except urllib.error.URLError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon alone, as a signal to it does; its spiders go on."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)
            self.process = None

    def close(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.orphans += [job["pid"] for job in self.jobs("running")]
        self.stop(signal.SIGKILL)
        for pid in self.orphans:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """What the daemon said."""
        return (self.folder / "scrapyd.log").read_text("utf-8", "replace")

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `scrapyd-deploy` in a copy of the checkout, so that no test builds in the checkout itself."""
        copy = self.folder / "checkout"
        if not copy.exists():
            shutil.copytree(
                PROJECT / "orderbooks_spider",
                copy / "orderbooks_spider",
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            for name in ("setup.py", "pyproject.toml"):
                shutil.copy(PROJECT / name, copy)
            text = (PROJECT / "scrapy.cfg").read_text("utf-8")
            assert ":6800/" in text
            (copy / "scrapy.cfg").write_text(text.replace(":6800/", f":{self.port}/"), "utf-8")
        return subprocess.run(
            [sys.executable, "-m", "scrapyd_client.deploy", *arguments],
            cwd=copy, env=self.environment, capture_output=True, text=True, check=False,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def get(self, path: str, login: tuple[str, str] | None = LOGIN, data: bytes | None = None) -> Any:
        """The decoded answer to a GET, or to a POST of *data*."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", data=data)
        if login is not None:
            token = base64.b64encode(":".join(login).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE_SECONDS) as answer:
            return json.loads(answer.read())

    def post(self, path: str, **fields: str) -> dict[str, Any]:
        """The answer to a POST that scrapyd calls ok."""
        answer = self.get(path, data=urllib.parse.urlencode(fields).encode())
        assert answer["status"] == "ok", answer
        return dict(answer)

    def schedule(self, config: Path, spider: str = "polymarket_books") -> str:
        """Schedule the collector as the deployment page does; gives the job's id."""
        answer = self.post("schedule.json", project="orderbooks", spider=spider, config=str(config))
        return str(answer["jobid"])

    def cancel(self, job: str) -> dict[str, Any]:
        """Ask the job to stop; it does so in its own time."""
        return self.post("cancel.json", project="orderbooks", job=job)

    def jobs(self, state: str) -> list[dict[str, Any]]:
        """The jobs that are ``pending``, ``running`` or ``finished``."""
        return list(self.get("listjobs.json?project=orderbooks")[state])

    def job_log(self, job: str) -> str:
        """What a job said."""
        path = self.folder / f"logs/orderbooks/polymarket_books/{job}.log"
        return path.read_text("utf-8") if path.exists() else ""

    def wait_until(self, job: str, state: str) -> dict[str, Any]:
        """Wait until the job is in *state*, and give what scrapyd says of it."""

        def found() -> list[dict[str, Any]]:
            return [entry for entry in self.jobs(state) if entry["id"] == job]

        wait_for(lambda: bool(found()), f"{job} to be {state}", lambda: self.job_log(job) + self.log())
        return found()[0]


def wait_for(condition: Callable[[], bool], what: str, said: Callable[[], str]) -> None:
    """Ask every 0.2 s until *condition* holds."""
    clock = SystemClock()
    until_ns = clock.monotonic_ns() + PATIENCE_SECONDS * NS
    while not condition():
        assert clock.monotonic_ns() < until_ns, f"waited in vain for {what}:\n{said()}"
        time.sleep(0.2)
