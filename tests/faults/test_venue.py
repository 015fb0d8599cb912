"""The venue's faults: however broken an answer is, it is one honest row, and the collector lives on."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    import subprocess

    from tests.faults.table import FaultTable

FAULTS = {
    '{kind: status, status: 500, body: \'{"error":"no orderbook"}\'}': "http_error/venue_error",
    "{kind: status, status: 425, body: ''}": "http_error/no_error_body",
    '{kind: status, status: 404, body: \'{"error":"No orderbook exists"}\'}': "no_book/not_found",
    "{kind: status, status: 200, body: '[]'}": "invalid_body/not_a_book",
    "{kind: edge_html, status: 502}": "http_error/edge_html",
    "{kind: edge_html, status: 403}": "http_error/edge_html",
    "{kind: edge_html, status: 520}": "http_error/edge_html",
    "{kind: hang}": "timeout/DownloadTimeoutError",
    "{kind: slow_drip}": "timeout/DownloadTimeoutError",
    "{kind: reset}": "connection/ConnectionResetError",
    "{kind: truncate}": "invalid_body/truncated",
    "{kind: wrong_length}": "connection/BadStatusLine",
    "{kind: wrong_length, by: 20}": "timeout/DownloadTimeoutError",
    "{kind: not_utf8}": "invalid_body/not_utf8",
    "{kind: empty_body}": "invalid_body/empty_body",
    "{kind: not_json}": "invalid_body/not_json",
    "{kind: deep_json}": "invalid_body/not_a_book",
    "{kind: nan}": "invalid_body/not_json",
    "{kind: large, megabytes: 50}": "invalid_body/too_large",
    "{kind: gzip_bomb, megabytes: 50}": "invalid_body/too_large",
    "{kind: redirect, location: 'http://127.0.0.1:9/book'}": "http_error/redirect",
    "{kind: duplicate_keys}": "ok",
    "{kind: empty_side}": "ok",
    "{kind: ghost}": "ok",
}
MEMORY_KB = 250_000
"""A collector at rest takes about 90 MB; an answer of 50 MB is refused at 16."""


def peak_memory_kb(process: subprocess.Popen[str]) -> int:
    """The most memory the process ever held, in kB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def broken(collector: Collector) -> Counter[str]:
    """Result and reason of the rows that a fault made."""
    return Counter(
        f"{result}/{reason}"
        for (result, reason), count in collector.results().items()
        if result not in {"skipped", "ok"}
        for _ in range(count)
    )


def test_every_fault_is_one_honest_row(tmp_path: Path, fault_table: FaultTable) -> None:
    """Whatever the venue answers, its slot ends in one row that names it, and polling goes on (A13)."""
    plan = tmp_path / "faults.yaml"
    rules = [f"- {{match: {{path: /book}}, times: 1, fault: {fault}}}" for fault in FAULTS]
    plan.write_text("\n".join(rules) + "\n", encoding="utf-8")
    expected = Counter(FAULTS.values())
    del expected["ok"]
    # The patience must be longer than an answer of 50 MB takes on a busy machine.
    collector = Collector(tmp_path, "", {"polling": {"timeout_seconds": 5}})
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        process = collector.start()
        while broken(collector).total() < expected.total() or not collector.results()["ok", None]:
            collector.wait_for_rows(process, "books", len(collector.rows("books")) + 1)
        memory = peak_memory_kb(process)
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    seen = broken(collector)
    fault_table.record("venue: broken answers", len(FAULTS), seen.total(), (expected - seen).total(), 0)
    assert seen == expected
    assert recorded_slots(collector) == planned_slots(collector)
    assert memory < MEMORY_KB
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout


def test_storm_of_refusals_is_sat_out(tmp_path: Path, fault_table: FaultTable) -> None:
    """While all answers are 429, with either form of Retry-After, few polls are sent; then it goes on."""
    plan = tmp_path / "faults.yaml"
    plan.write_text(
        "- {match: {path: /book}, times: 3, fault: {kind: status, status: 429, retry_after: {seconds: 1}}}\n"
        "- {match: {path: /book}, times: 3, fault: {kind: status, status: 429, retry_after: {date_in: 2}}}\n"
        "- {match: {path: /book}, times: 2, fault: {kind: edge_html, status: 429}}\n",
        encoding="utf-8",
    )
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        process = collector.start()
        while collector.results()["ok", None] < 20:
            collector.wait_for_rows(process, "books", len(collector.rows("books")) + 1)
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 0
    results = collector.results()
    refused = sum(count for (result, _), count in results.items() if result == "throttled")
    fault_table.record("venue: 429 storm", 1, refused, 0, 0)
    assert refused == 8
    assert results["skipped", "paused"] > refused
    assert recorded_slots(collector) == planned_slots(collector)
    assert collector.verify().returncode == 0
