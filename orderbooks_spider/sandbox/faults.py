"""Choose the faults of a request, and change answers as they say (the wire's faults: ``wire.py``)."""

from __future__ import annotations

import gzip
import json
from collections import Counter, deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.answers import HTML_TYPE, Answer, array_of, error_answer
from orderbooks_spider.sandbox.books import rehashed
from orderbooks_spider.sandbox.plan import (
    BookFault,
    ClockSkew,
    DeepJson,
    Delay,
    DuplicateKeys,
    EdgeHtml,
    EmptyBody,
    EmptySide,
    Fault,
    GzipBomb,
    Large,
    Nan,
    NotJson,
    NotUtf8,
    OneSided,
    Redirect,
    ResetAfterReuse,
    Rule,
    Status,
    Throttle,
    WholeFault,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.sandbox.plan import Match, Plan, RetryAfter

_EDGE_TITLES = {403: "Attention Required! | Cloudflare", 429: "Access denied | Error 1015"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What rules can match on; ``elapsed_seconds`` since the server's start."""

    path: str
    method: str
    host: str
    token_indexes: frozenset[int]
    reused: bool
    elapsed_seconds: float


class RuleBook:
    """A plan with its counters."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.fired: Counter[str] = Counter()
        self._seen = [0] * len(plan.faults)
        self._recent: list[deque[float]] = [deque() for _ in plan.faults]

    def select(self, asked: Asked) -> Iterator[tuple[Rule, float]]:
        """Give the rules that apply, each with seconds to wait first; ends after the first that answers.

        A throttle below its limit says nothing; above it, it waits; far above it, it refuses.
        """
        for place, rule in enumerate(self.plan.faults):
            if not _matches(rule, asked):
                continue
            self._seen[place] += 1
            if not _due(rule, self._seen[place]):
                continue
            fault = rule.fault
            if isinstance(fault, Throttle):
                pressure = self._pressure(place, fault, asked.elapsed_seconds)
                if pressure <= fault.requests:
                    continue
                self.fired["throttle"] += 1
                if pressure > fault.refuse_above:
                    refusal = Status(429, retry_after=fault.retry_after)
                    yield replace_fault(rule, refusal), fault.delay_seconds
                    return
                yield rule, fault.delay_seconds
                continue
            self.fired[_kind(fault)] += 1
            yield rule, fault.seconds if isinstance(fault, Delay) else 0.0
            if not isinstance(fault, Delay):
                return

    def _pressure(self, place: int, fault: Throttle, now: float) -> int:
        recent = self._recent[place]
        recent.append(now)
        while recent[0] <= now - fault.per_seconds:
            recent.popleft()
        return len(recent)


def replace_fault(rule: Rule, fault: Fault) -> Rule:
    """Give *rule* with another fault."""
    return Rule(fault=fault, match=rule.match)


def _kind(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _due(rule: Rule, seen: int) -> bool:
    if rule.every is not None:
        return seen % rule.every == 0
    return rule.times is None or seen <= rule.times


def _matches(rule: Rule, asked: Asked) -> bool:
    if asked.elapsed_seconds < rule.from_seconds:
        return False
    if rule.until_seconds is not None and asked.elapsed_seconds >= rule.until_seconds:
        return False
    if isinstance(rule.fault, ResetAfterReuse) and not asked.reused:
        return False
    return _fits(rule.match, asked)


def _fits(match: Match, asked: Asked) -> bool:
    if match.path is not None:
        wild = match.path.endswith("*")
        if not (asked.path.startswith(match.path[:-1]) if wild else asked.path == match.path):
            return False
    if match.method is not None and asked.method != match.method.upper():
        return False
    if match.host is not None and asked.host != match.host:
        return False
    return match.token_index is None or match.token_index in asked.token_indexes


def whole_answer(fault: WholeFault, now_ns: int) -> Answer:
    """Make the answer that stands in for the real one."""
    match fault:
        case Status():
            answer = _status(fault, now_ns)
        case EdgeHtml(status=status):
            answer = Answer(status, _edge_page(status), HTML_TYPE)
        case Redirect(location=location):
            answer = Answer(302, b"", HTML_TYPE, {"Location": location})
        case EmptyBody():
            answer = Answer(200, b"")
        case NotJson():
            answer = Answer(200, b"upstream connect error or disconnect/reset before headers")
        case DeepJson(depth=depth):
            answer = Answer(200, b"[" * depth + b"]" * depth)
        case Large(megabytes=megabytes):
            answer = Answer(200, _padded(megabytes))
        case GzipBomb(megabytes=megabytes):
            packed = gzip.compress(_padded(megabytes), mtime=0)
            answer = Answer(200, packed, headers={"Content-Encoding": "gzip"})
    return answer


def _status(fault: Status, now_ns: int) -> Answer:
    usual = error_answer(429, "Too Many Requests").body if fault.status == 429 else b"{}"
    body = usual if fault.body is None else fault.body.encode()
    headers = {name: str(value) for name, value in fault.headers.items()}
    if fault.retry_after is not None:
        headers["Retry-After"] = _retry_after(fault.retry_after, now_ns)
    return Answer(fault.status, body, fault.content_type, headers)


def _retry_after(when: RetryAfter, now_ns: int) -> str:
    if when.seconds is not None:
        return str(when.seconds)
    moment = datetime.fromtimestamp(now_ns // NS, UTC) + timedelta(seconds=when.date_in or 0)
    return format_datetime(moment, usegmt=True)


def _edge_page(status: int) -> bytes:
    title = _EDGE_TITLES.get(status, f"polymarket.com | {status}: Bad gateway")
    rows = "\n".join(f"<p>Ray ID and other details of the edge, row {row}</p>" for row in range(40))
    return (
        '<!DOCTYPE html>\n<!--[if lt IE 7]> <html class="no-js ie6 oldie" lang="en-US"> <![endif]-->\n'
        f'<html lang="en-US">\n<head>\n<title>{title}</title>\n<meta charset="UTF-8" />\n</head>\n'
        f"<body>\n{rows}\n</body>\n</html>\n"
    ).encode()


def _padded(megabytes: float) -> bytes:
    size = int(megabytes * 1_000_000)
    return b'{"padding":"' + b"x" * max(0, size - 14) + b'"}'


def changed_answer(fault: BookFault, token_index: int | None, answer: Answer) -> Answer:
    """Change the texts of *answer*; with *token_index* only the books of that token.

    Answers without books are changed as one text by the faults that only need a text.
    """
    if answer.books is None:
        if isinstance(fault, NotUtf8 | Nan | DuplicateKeys):
            return replace(answer, body=_broken_text(fault, answer.body))
        return answer
    books = tuple(
        (token, index, _changed(fault, text) if token_index in (None, index) else text)
        for token, index, text in answer.books
    )
    body = array_of([text for *_, text in books]) if answer.batch else books[0][2]
    return replace(answer, body=body, books=books)


def _changed(fault: BookFault, text: bytes) -> bytes:
    if isinstance(fault, NotUtf8 | Nan | DuplicateKeys):
        return _broken_text(fault, text)
    book: dict[str, Any] = json.loads(text)
    if isinstance(fault, ClockSkew):
        book["timestamp"] = str(int(book["timestamp"]) + fault.ms)
    elif isinstance(fault, EmptySide):
        for side in ("bids", "asks") if fault.side == "both" else (fault.side,):
            book[side] = []
    elif isinstance(fault, OneSided):
        book["bids"] = [_level(cents, 100 - cents) for cents in range(1, 100)]
        book["asks"] = []
    else:  # Ghost
        book["bids"], book["asks"] = [_level(1, 10_000)], [_level(99, 10_000)]
    return rehashed(book)


def _level(cents: int, size: int) -> dict[str, str]:
    return {"price": f"0.{cents:02d}".rstrip("0"), "size": str(size)}


def _broken_text(fault: NotUtf8 | Nan | DuplicateKeys, text: bytes) -> bytes:
    if isinstance(fault, NotUtf8):
        return text.replace(b'"', b'"\xff\xfe', 1)
    if isinstance(fault, DuplicateKeys):
        return text.replace(b"{", b'{"market":"0x00",', 1)
    before, found, after = text.partition(b'"size":"')
    if not found:
        return text.replace(b"{", b'{"value":NaN,', 1)
    return before + b'"size":NaN' + after[after.index(b'"') + 1 :]
