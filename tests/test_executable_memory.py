"""https where no memory may be writable and executable: why the unit leaves MemoryDenyWriteExecute out.

``docs/decisions/0006-no-memory-deny-write-execute.md`` rests on these measurements.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.certificates import Certificates, make_certificates
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PATIENCE_SECONDS, PROJECT, SCRIPT, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit("the kernel cannot: it is older than 6.3")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""What MemoryDenyWriteExecute=yes does to a process, by the kernel's own switch (``PR_SET_MDWE(2const)``)."""

SPIDER = """
import scrapy
class OneAnswer(scrapy.Spider):
    name = "one_answer"
    custom_settings = {
        "DOWNLOAD_TIMEOUT": 5, "RETRY_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False, "REMOTE_CONTROL_ENABLED": False,
    }
    async def start(self):
        yield scrapy.Request(self.url + "/series", errback=self.failed)
    def parse(self, response):
        print("answered")
    def failed(self, failure):
        print(failure.type.__name__)
"""
"""The least spider, with Scrapy's own download handler."""


def refusing(*arguments: str, folder: Path, trusted: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments*, and no memory that is writable and executable."""
    return subprocess.run(
        [sys.executable, "-c", REFUSE, *arguments],
        cwd=folder, env=os.environ | trusted, capture_output=True, text=True,
        check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _kernel_can_refuse(tmp_path: Path) -> None:
    """Skip where the kernel lacks the switch; and the switch must work where it has it."""
    flags = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    tried = refusing("-c", f"import mmap; mmap.mmap(-1, 4096, prot={flags})", folder=tmp_path, trusted={})
    if "older than 6.3" in tried.stderr:
        pytest.skip("needs Linux 6.3 or newer (PR_SET_MDWE)")
    assert "PermissionError" in tried.stderr


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority, and a certificate of it for the sandbox exchange."""
    return make_certificates(tmp_path)


@pytest.fixture
def venue(certificates: Certificates) -> Iterator[SandboxChild]:
    """The sandbox exchange over https."""
    with SandboxChild.start(certificates.arguments) as child:
        yield child


def test_the_collector_needs_no_executable_memory(
    tmp_path: Path, certificates: Certificates, venue: SandboxChild
) -> None:
    """Over https each poll is answered, blocks are compressed and the archive verifies."""
    collector = Collector(tmp_path, venue.url)
    ended = refusing(
        SCRIPT, "--config", str(collector.config_file), "--seconds", "4",
        folder=PROJECT, trusted=certificates.trusted,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert set(collector.results()) == {("ok", None)}
    assert collector.verify().returncode == 0


def test_scrapys_own_handler_needs_it(
    tmp_path: Path, certificates: Certificates, venue: SandboxChild
) -> None:
    """Scrapy's handler gets its answer over http, and over https hangs until its timeout."""
    spider = tmp_path / "one_answer.py"
    spider.write_text(SPIDER, encoding="utf-8")
    crawl = ["-m", "scrapy", "runspider", str(spider), "-a"]
    trusted = certificates.trusted
    secured = refusing(*crawl, f"url={venue.url}", folder=tmp_path, trusted=trusted)
    with SandboxChild.start() as plain:
        in_plain = refusing(*crawl, f"url={plain.url}", folder=tmp_path, trusted=trusted)
    assert in_plain.stdout == "answered\n", in_plain.stderr
    assert secured.stdout == "DownloadTimeoutError\n", secured.stderr
