"""The probe of the public sources: against the sandbox over HTTP, and on its answers altered by hand."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.config import parse
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.probe import survey
from orderbooks_spider.polymarket.probe.claims import QUESTIONS
from orderbooks_spider.polymarket.probe.judge import judge
from orderbooks_spider.polymarket.probe.page import PAGE_FILE
from orderbooks_spider.polymarket.probe.result import JSON_FILE, RAW_FILE
from orderbooks_spider.polymarket.probe.seen import Asked, Seen
from orderbooks_spider.polymarket.probe.survey import Survey
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.exchange import Exchange, Setup
from tests.collector import PATIENCE_SECONDS, PROJECT
from tests.fake_clock import FakeClock
from tests.test_commands import free_port
from tests.test_sandbox_routes import fetch
from tests.test_spider_outage import answer_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orderbooks_spider.polymarket.endpoints import Ask

SCRIPT = "scripts/probe_polymarket_public_sources.py"
START_NS = parse_utc("2026-04-16T08:37:00Z")
"""Two minutes into a five-minute window."""


@dataclass(frozen=True)
class Probed:
    """A finished probe and its files."""

    out: Path
    ended: subprocess.CompletedProcess[str]
    served: dict[str, dict[str, int]]

    @cached_property
    def json(self) -> dict[str, Any]:
        """The result as programs read it."""
        described: dict[str, Any] = json.loads((self.out / JSON_FILE).read_bytes())
        return described

    @property
    def page(self) -> str:
        """The result as people read it."""
        return (self.out / PAGE_FILE).read_text("utf-8")

    @property
    def raw(self) -> list[dict[str, Any]]:
        """Every answer as it came."""
        return [json.loads(line) for line in gzip.decompress((self.out / RAW_FILE).read_bytes()).splitlines()]

    @property
    def claims(self) -> dict[str, tuple[str, str]]:
        """(agree, observed) of each claim."""
        return {
            claim["claim"]: (claim["agree"], claim["observed"])
            for question in self.json["questions"]
            for claim in question["claims"]
        }

    def verdict(self, start: str) -> tuple[str, str]:
        """(agree, observed) of the one claim that begins so."""
        (found,) = [verdict for claim, verdict in self.claims.items() if claim.startswith(start)]
        return found


def probe(folder: Path, url: str, environment: str = "sandbox") -> subprocess.CompletedProcess[str]:
    """Run the script against *url*, into the folder ``out``."""
    venue = {"gamma_url": url, "clob_url": url, "user_agent": "orderbooks-archive/0.1 (test)"}
    config = folder / "probe.yaml"
    config.write_text(yaml.safe_dump({"environment": environment, "venue": venue}), "utf-8")
    return subprocess.run(
        [sys.executable, SCRIPT, "--config", str(config), "--out", str(folder / "out")],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def probed(folder: Path, faults: str = "[]") -> Probed:
    """Probe a sandbox with this fault plan, and ask it what it has served."""
    with SandboxChild.start() as sandbox:
        answer_with(sandbox, faults)
        ended = probe(folder, sandbox.url)
        return Probed(folder / "out", ended, fetch(sandbox.url, "/_sandbox/stats").json["requests"])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """A probe of a sandbox where nothing is wrong; to be read only."""
    return probed(tmp_path_factory.mktemp("probe"))


def test_probe_answers_every_question(good: Probed) -> None:
    """A probe that meets no fault ends with 0: the gate is reached, and no claim is refuted."""
    assert good.ended.returncode == 0, good.page
    assert good.json["gate"] == {"market_record": True, "book": True}
    assert len(good.json["questions"]) == len(QUESTIONS) == 11
    assert {agree for agree, _ in good.claims.values()} == {"yes", "not shown", "not shown (sandbox)"}
    assert all(observed for _, observed in good.claims.values())
    assert good.json["market"]["market_slug"].startswith("btc-updown-5m-")


def test_page_says_all_of_it(good: Probed) -> None:
    """The page has every question, claim, observation and request, and begins with what it proves."""
    head, _, rest = good.page.partition("## Each question at a glance")
    assert "**Environment: sandbox.**" in head
    assert "nothing about the venue" in head
    for question in good.json["questions"]:
        assert f"| {question['question']} |" in rest
        for claim in question["claims"]:
            assert f"| {claim['claim']} |" in rest
    assert "| yes |" not in rest
    assert all(f"| {answer['number']} | {answer['step']} |" in rest for answer in good.json["answers"])


def test_answers_are_kept_as_they_came(good: Probed) -> None:
    """The raw file holds each answer whole, under the digest that the JSON names, and is small."""
    raw = (good.out / RAW_FILE).read_bytes()
    assert good.json["raw"] == {
        "file": RAW_FILE,
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    assert len(raw) < 200_000
    assert len(good.raw) == good.json["requests"] == len(good.json["answers"])
    for row, answer in zip(good.raw, good.json["answers"], strict=True):
        assert hashlib.sha256(row["body"].encode()).hexdigest() == answer["body_sha256"]
        assert row["headers"]["server"] == "sandbox"


def test_requests_are_bounded_and_read_only(good: Probed) -> None:
    """The exchange has served as many requests as the probe says, each once, at most two a second."""
    assert sum(sum(statuses.values()) for statuses in good.served.values()) == good.json["requests"]
    assert good.json["requests"] == good.json["requests_at_most"] == survey.REQUESTS_AT_MOST
    methods = {(row["method"], urlsplit(row["url"]).path) for row in good.raw if row["method"] != "GET"}
    assert methods == {("POST", "/books")}
    sent = [row["sent_ns"] for row in good.raw]
    assert (
        min(after - before for before, after in pairwise(sent)) >= survey.PAUSE_SECONDS * NS * 0.99
    )  # the wall clock may be slewed


def test_sandbox_shows_nothing_that_it_invented(good: Probed) -> None:
    """What nobody documents is never shown by the double, whatever it answered."""
    agrees = {
        claim["agree"]
        for question in good.json["questions"]
        for claim in question["claims"]
        if not claim["documented"]
    }
    assert agrees <= {"not shown", "not shown (sandbox)"}


def test_kept_probe_is_whole_and_of_today() -> None:
    """The probe that the repository keeps says where it is from, and has all answers and today's claims."""
    kept = Probed(PROJECT / "data/probes", subprocess.CompletedProcess([], 0), {})
    assert f"**Environment: {kept.json['environment']}.**" in kept.page
    assert sum(file.stat().st_size for file in kept.out.iterdir()) < 300_000
    assert kept.json["gate"] == {"market_record": True, "book": True}
    assert len(kept.raw) == kept.json["requests"] == len(kept.json["answers"])
    digest = hashlib.sha256((kept.out / RAW_FILE).read_bytes()).hexdigest()
    assert kept.json["raw"]["sha256"] == digest
    assert list(kept.claims) == [claim.text for question in QUESTIONS for claim in question.claims]


def test_sources_of_claims_are_there() -> None:
    """Each claim has a source, and a page or module of ours that it names exists."""
    for question in QUESTIONS:
        for claim in question.claims:
            assert claim.sources
            for source in claim.sources:
                if source.startswith(("docs/", "orderbooks_spider/")):
                    assert (PROJECT / source).is_file(), source


def test_faults_of_books_are_seen(tmp_path: Path) -> None:
    """Batches that answer 500, and books from the future, are named as not holding; the exit code is 1."""
    found = probed(
        tmp_path,
        '- {match: {path: /books}, fault: {kind: status, status: 500, body: \'{"error":"oh"}\'}}\n'
        "- {match: {path: /book}, fault: {kind: clock_skew, ms: 60000}}",
    )
    assert found.ended.returncode == 1
    assert found.json["gate"] == {"market_record": True, "book": True}
    assert found.verdict("A batch answers")[0] == "no"
    assert found.verdict("A batch answers")[1].startswith("500")
    assert found.verdict("`timestamp` is ms")[0] == "no"
    assert found.verdict("A token without a book is left out")[0] == "not shown"
    assert found.verdict("A token of an open market")[0] == "yes"
    assert "## What does not hold" in found.page
    assert "2 claims do not hold" in found.ended.stderr


def test_refusal_ends_the_asking(tmp_path: Path) -> None:
    """After a 429 nothing more is sent to that host, and the page says why the rest is not shown."""
    found = probed(tmp_path, "- {match: {path: /book}, fault: {kind: status, status: 429}}")
    assert found.ended.returncode == 70
    assert found.served["/book"] == {"429": 1}
    assert "/books" not in found.served
    assert found.verdict("At this probe's pace nothing is refused")[0] == "no"
    assert "left alone after a 429" in found.verdict("A batch answers")[1]


def test_unreachable_venue_is_a_clear_report(tmp_path: Path) -> None:
    """A venue that is not there ends with 70, a page that says so, and two requests in all."""
    ended = probe(tmp_path, f"http://127.0.0.1:{free_port()}")
    found = Probed(tmp_path / "out", ended, {})
    assert ended.returncode == 70
    assert "Traceback" not in ended.stderr
    assert "no market or no book could be read" in ended.stderr
    assert found.json["requests"] == 2
    assert found.json["gate"] == {"market_record": False, "book": False}
    assert {agree for agree, _ in found.claims.values()} == {"not shown"}
    assert "ConnectionRefusedError" in found.page
    assert "a market record: **not read**" in found.page


def test_live_and_sandbox_never_overwrite_each_other(good: Probed) -> None:
    """A probe of the other environment is refused with 78 before anything is sent, and nothing changes."""
    before = (good.out / JSON_FILE).read_bytes()
    ended = probe(good.out.parent, f"http://127.0.0.1:{free_port()}", environment="live")
    assert ended.returncode == 78
    assert "a sandbox probe is there" in ended.stderr
    assert (good.out / JSON_FILE).read_bytes() == before


# In simulated time: the sandbox's own routes, without a network.


def simulated(environment: str = "live", *, window_end: bool = False) -> Survey:
    """A finished survey of an exchange in this process, under whose clock waiting takes no time."""
    clock = FakeClock(START_NS)
    exchange = Exchange(Setup(), clock)

    async def answer(ask: Ask) -> Answer:
        sent_ns = clock.wall_ns()
        query: MultiDict[str] = MultiDict()
        for name, value in ask.params.items():
            for text in value if isinstance(value, list) else [value]:
                query.add(name, text)
        got = exchange.routes.answer(urlsplit(ask.url).path, query, ask.body or None, sent_ns)
        clock.advance(0.002)
        return Answer(
            ask=ask, request_id="r", sent_ns=sent_ns, received_ns=clock.wall_ns(), elapsed_ns=2_000_000,
            status=got.status, body=got.body,
        )  # fmt: skip

    config = parse({"environment": environment}, source="test")
    made = Survey(config, clock, answer, window_end=window_end)
    asyncio.run(made.run())
    return made


@pytest.fixture(scope="module")
def watched() -> Seen:
    """What a probe saw that stayed for the end of a window; not to be changed."""
    return simulated(window_end=True).seen


def verdict(seen: Seen, start: str) -> tuple[str, str]:
    """(agree, observed) of the one claim that begins so."""
    (claim,) = [claim for question in QUESTIONS for claim in question.claims if claim.text.startswith(start)]
    found = judge(claim, seen)
    return found.agree, found.observed


def altered(seen: Seen, step: str, **changes: Any) -> Seen:
    """*seen* with the answers of one step changed."""
    asked = [
        Asked(name, replace(answer, **changes) if name == step else answer) for name, answer in seen.asked
    ]
    return Seen(seen.environment, asked, seen.looks, seen.market)


def body_of(seen: Seen, step: str) -> Any:
    """The JSON of a step's first answer."""
    return json.loads(seen.answer(step).body)


def test_window_end_is_watched_until_all_is_closed(watched: Seen) -> None:
    """The window of now is looked at after its end until book, flag and listing say that it is over."""
    course = [look for look in watched.looks if look.slug == "btc-updown-5m-1776328500"]
    assert [look.book.status for look in (course[0], course[-1])] == [200, 404]
    assert (course[-1].closed, course[-1].listed) == (True, False)
    ages = [look.after_seconds for look in course]
    assert ages == sorted(ages)
    assert verdict(watched, "Between its end and its closing")[0] == "yes"
    assert verdict(watched, "Once its market is closed")[0] == "yes"
    assert verdict(watched, "Once it is closed it is not")[0] == "yes"


def test_most_requests_are_never_exceeded() -> None:
    """The plan fits into the most that may be sent, with and without the watch."""
    assert simulated().sent == survey.REQUESTS_AT_MOST
    assert survey.REQUESTS_AT_MOST < simulated(window_end=True).sent <= survey.REQUESTS_AT_MOST_WITH_END


def test_book_that_goes_before_its_closing_is_seen(watched: Seen) -> None:
    """A 404 within seconds of the end refutes that the book stays until the closing."""
    looks = [
        replace(look, book=replace(look.book, status=404, body=b'{"error":"no"}')) for look in watched.looks
    ]
    seen = Seen(watched.environment, watched.asked, looks, watched.market)
    assert verdict(seen, "Between its end and its closing")[0] == "no"


def test_batch_with_a_book_left_out_is_seen(watched: Seen) -> None:
    """An open market's token that a batch leaves out refutes the claim that each is in it."""
    books = body_of(watched, "books")
    seen = altered(watched, "books", body=json.dumps(books[1:]).encode())
    assert verdict(watched, "Each token of an open market")[0] == "yes"
    assert verdict(seen, "Each token of an open market") == ("no", "15 of 16 tokens of open markets answered")


def test_order_of_a_batch_is_seen(watched: Seen) -> None:
    """Answers in the request's order refute that the order is not kept."""
    seen = watched
    for step in ("books", "books, turned round"):
        asked = [item["token_id"] for item in json.loads(seen.answer(step).ask.body)]
        books = sorted(body_of(seen, step), key=lambda book: asked.index(book["asset_id"]))
        seen = altered(seen, step, body=json.dumps(books, separators=(",", ":")).encode())
    assert verdict(watched, "`/books` does not keep")[0] == "yes"
    assert verdict(seen, "`/books` does not keep") == ("no", "the request's order in 2 of 2 answers")


def test_token_answered_twice_is_seen(watched: Seen) -> None:
    """Doubles in a batch's answer are counted."""
    step = "books, one token twice, one unknown"
    books = body_of(watched, step)
    seen = altered(watched, step, body=json.dumps([*books, *books]).encode())
    assert verdict(watched, "`/books` answers a token")[0] == "yes"
    assert verdict(seen, "`/books` answers a token") == ("no", "answered 2 times")


@pytest.mark.parametrize("headers", [{"cf-cache-status": "HIT"}, {"age": "3"}])
def test_cached_book_is_seen(headers: dict[str, str], watched: Seen) -> None:
    """A header that tells of the edge's cache refutes that books do not come from there."""
    assert verdict(watched, "`/book` is not served")[0] == "yes"
    agree, observed = verdict(altered(watched, "book", headers=headers), "`/book` is not served")
    assert agree == "no"
    assert " ".join(headers) in observed


@pytest.mark.parametrize(
    ("start", "step", "old", "new"),
    [
        ("Levels come worst first", "book", b'"bids":[', b'"bids":[{"price":"0.99","size":"1"},'),
        ("The hash recomputes", "book", b'"size":"', b'"size":"1'),
        ("Its numbers are text", "book", b'"neg_risk":false', b'"neg_risk":"no"'),
        ("A book has ten keys", "book", b'{"market"', b'{"new":1,"market"'),
        ("`market` is the condition id", "book", b'"market":"0x', b'"market":"0y'),
        ("A token of an open market", "book", b'"asset_id":"', b'"asset_id":"1'),
        ("`conditionId` is 0x", "5m event by slug", b'"conditionId":"0x', b'"conditionId":"0xz'),
        ("The series have the ids", "id of the 4h series", b'"id":"10331"', b'"id":"5"'),
        ("An open market has every", "open events of the 5m series", b'"endDate"', b'"ends"'),
        ("No market trades under", "open events of the 5m series", b'"question"', b'"version":"v2","q"'),
        ("The CLOB's", "the CLOB's market", b'"outcome":"Up"', b'"outcome":"Yes"'),
    ],
)  # fmt: skip
def test_changed_answer_is_seen(start: str, step: str, old: bytes, new: bytes, watched: Seen) -> None:
    """A claim that held is refuted, or no longer shown, once the answer it rests on says otherwise."""
    body = watched.answer(step).body
    assert old in body
    assert verdict(watched, start)[0] == "yes"
    assert verdict(altered(watched, step, body=body.replace(old, new)), start)[0] != "yes"


def values() -> st.SearchStrategy[Any]:
    """Any small JSON value."""
    plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """*value* with another one at *path*."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


@given(data=st.data(), new=values())
def test_no_answer_is_too_odd_to_be_told(watched: Seen, data: st.DataObject, new: Any) -> None:
    """Whatever stands anywhere in any answer, each claim is judged and nothing is raised."""
    asked = data.draw(st.sampled_from(watched.asked))
    value = json.loads(asked.answer.body)
    path = data.draw(st.sampled_from(list(leaves(value))))
    body = json.dumps(with_value(value, path, new)).encode()
    seen = altered(watched, asked.step, body=body)
    for question in QUESTIONS:
        for claim in question.claims:
            assert judge(claim, seen).observed
