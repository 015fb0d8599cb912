"""The result of a probe as JSON, and every answer as it came."""

from __future__ import annotations

import gzip
import hashlib
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import iso_utc
from orderbooks_spider.polymarket.answers import text_of
from orderbooks_spider.polymarket.probe import steps
from orderbooks_spider.polymarket.probe.claims import QUESTIONS
from orderbooks_spider.polymarket.probe.judge import Agree, Question, Verdict, judge
from orderbooks_spider.polymarket.probe.seen import (
    NOT_ASKED,
    books_of,
    markets_in,
    raw_books_of,
    said,
    value_of,
)

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.polymarket.probe.seen import Asked, Seen

NAME = "polymarket_public_sources_probe_v1"
JSON_FILE = f"{NAME}.json"
RAW_FILE = f"{NAME}.raw.jsonl.gz"
SCHEMA = "orderbooks.probe/1"

SANDBOX_NOTE = (
    "This probe asked the sandbox exchange, a double of the venue that was built after the same documents "
    "and recordings as the claims below. So a `yes (double)` proves that the double keeps to them, and "
    "nothing about the venue; what the double had to invent says `not shown (sandbox)`."
)
LIVE_NOTE = "This probe asked the live venue: what agrees was true at that moment, from that address."

_BODY_START = 300
"""Bytes of each answer in the JSON; all of it is in the raw file."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen, by whom, from where and when (UTC ns)."""

    seen: Seen
    gamma_url: str
    clob_url: str
    user_agent: str
    collector_version: str
    started_ns: int
    ended_ns: int
    requests: int
    requests_at_most: int

    @property
    def note(self) -> str:
        """What a reader must know before the first line."""
        return SANDBOX_NOTE if self.seen.environment == "sandbox" else LIVE_NOTE

    @property
    def market_read(self) -> bool:
        """The first half of the checkpoint's gate."""
        return self.seen.market is not None

    @property
    def book_read(self) -> bool:
        """The second half."""
        return any(books_of(asked.answer) for asked in self.seen.asked)

    def verdicts(self) -> list[tuple[Question, list[Verdict]]]:
        """Each question with the verdicts on its claims."""
        return [(question, [judge(claim, self.seen) for claim in question.claims]) for question in QUESTIONS]

    def refuted(self) -> list[Verdict]:
        """Claims that do not hold."""
        return [verdict for _, verdicts in self.verdicts() for verdict in verdicts if verdict.agree == "no"]

    def counts(self) -> Counter[Agree]:
        """How many claims ended how."""
        return Counter(verdict.agree for _, verdicts in self.verdicts() for verdict in verdicts)

    def sent(self) -> list[tuple[int, Asked]]:
        """The requests that were sent, numbered from 1."""
        return list(enumerate((asked for asked in self.seen.asked if was_sent(asked.answer)), 1))

    def not_sent(self) -> list[tuple[str, str]]:
        """(step, why) of those that were not."""
        return [(step, said(answer)) for step, answer in self.seen.asked if not was_sent(answer)]


def was_sent(answer: Answer) -> bool:
    """Whether the request behind *answer* left."""
    return answer.failure is None or answer.failure[0] != NOT_ASKED


def asked_about(question: Question, seen: Seen) -> str:
    """What was asked about a question: how many requests, their statuses, how long they took."""
    answers = [answer for step in question.asked for answer in seen.of(step) if was_sent(answer)]
    if not answers:
        return NOT_ASKED
    statuses = Counter(str(answer.status or "no answer") for answer in answers)
    told = ", ".join(f"{status} (x{count})" if count > 1 else status for status, count in statuses.items())
    middle = statistics.median((answer.elapsed_ns or 0) / 1e6 for answer in answers)
    return f"{len(answers)} requests: {told}; median {middle:.0f} ms"


def raw_answers(result: Result) -> bytes:
    """A line of JSON per request that was sent, with the whole body as it came."""
    rows = []
    for number, (step, answer) in result.sent():
        body, encoding = text_of(answer.body)
        row = _request(number, step, answer) | {"body": body, "body_encoding": encoding}
        rows.append(msgspec.json.encode(row) + b"\n")
    return gzip.compress(b"".join(rows), mtime=0)


def as_json(result: Result, raw: bytes) -> bytes:
    """The result; *raw* is what :func:`raw_answers` gave, and is named with its digest."""
    return msgspec.json.format(msgspec.json.encode(_described(result, raw)), indent=1) + b"\n"


def _described(result: Result, raw: bytes) -> dict[str, Any]:
    market = result.seen.market
    return {
        "schema": SCHEMA,
        "venue": "polymarket",
        "environment": result.seen.environment,
        "note": result.note,
        "collector_version": result.collector_version,
        "started_at_utc": iso_utc(result.started_ns),
        "ended_at_utc": iso_utc(result.ended_ns),
        "gamma_url": result.gamma_url,
        "clob_url": result.clob_url,
        "user_agent": result.user_agent,
        "requests": result.requests,
        "requests_at_most": result.requests_at_most,
        "gate": {"market_record": result.market_read, "book": result.book_read},
        "agree": dict(result.counts()),
        "questions": [_question(question, verdicts, result.seen) for question, verdicts in result.verdicts()],
        "market": None if market is None else market.record(),
        "fields": fields(result.seen),
        "answers": [_answer(number, asked) for number, asked in result.sent()],
        "not_asked": [{"step": step, "why": why} for step, why in result.not_sent()],
        "raw": {"file": RAW_FILE, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()},
    }


def fields(seen: Seen) -> dict[str, list[str]]:
    """The names of the fields that were returned, by kind of object."""
    books = [msgspec.json.decode(text) for asked in seen.asked for text in raw_books_of(asked.answer)]
    clob = [value for answer in seen.of(steps.CLOB_MARKET) if isinstance(value := value_of(answer), dict)]
    found = {
        "Gamma event": seen.open_events(),
        "Gamma market": [raw for raw, _ in markets_in(seen.open_events())],
        "CLOB market": clob,
        "book": books,
    }
    return {kind: sorted({name for item in items for name in item}) for kind, items in found.items()}


def _question(question: Question, verdicts: list[Verdict], seen: Seen) -> dict[str, Any]:
    claims = [
        {
            "claim": verdict.claim.text,
            "sources": verdict.claim.sources,
            "documented": not verdict.claim.open,
            "observed": verdict.observed,
            "agree": verdict.agree,
        }
        for verdict in verdicts
    ]
    return {
        "question": question.text,
        "answer": question.answer,
        "asked": asked_about(question, seen),
        "claims": claims,
    }


def _request(number: int, step: str, answer: Answer) -> dict[str, Any]:
    ask = answer.ask
    return {
        "number": number,
        "step": step,
        "method": ask.method,
        "url": ask.url,
        "params": ask.params or None,
        "sent_body": ask.body.decode() or None,
        "sent_at_utc": None if answer.sent_ns is None else iso_utc(answer.sent_ns),
        "sent_ns": answer.sent_ns,
        "received_ns": answer.received_ns,
        "elapsed_ns": answer.elapsed_ns,
        "status": answer.status,
        "failure": answer.failure,
        "headers": answer.headers,
    }


def _answer(number: int, asked: Asked) -> dict[str, Any]:
    body = asked.answer.body
    return _request(number, asked.step, asked.answer) | {
        "bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "body_start": body[:_BODY_START].decode("utf-8", "replace"),
    }
