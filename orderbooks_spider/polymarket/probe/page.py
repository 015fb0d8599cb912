"""The result of a probe as a page for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orderbooks_spider.clock import iso_utc
from orderbooks_spider.polymarket.probe.result import JSON_FILE, NAME, RAW_FILE, asked_about, fields
from orderbooks_spider.polymarket.probe.seen import said

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orderbooks_spider.polymarket.probe.judge import Agree
    from orderbooks_spider.polymarket.probe.result import Result

PAGE_FILE = f"{NAME}.md"

_HEADERS = ("cf-cache-status", "age", "cache-control", "server")
"""Those that tell of caches, and who answered; the JSON has them all."""


def as_markdown(result: Result) -> bytes:
    """The page."""
    parts = (
        _head(result),
        _refuted(result),
        _glance(result),
        _claims(result),
        _fields(result),
        _requests(result),
    )
    return ("\n".join(line for part in parts for line in part) + "\n").encode()


def _head(result: Result) -> Iterator[str]:
    started, ended = (iso_utc(ns)[:19] + "Z" for ns in (result.started_ns, result.ended_ns))
    hosts = " and ".join(dict.fromkeys((result.gamma_url, result.clob_url)))
    yield "# The venue's public sources, probed"
    yield ""
    yield f"> **Environment: {result.seen.environment}.**"
    yield f"> {result.note}"
    yield ""
    yield f"- Asked from {started} to {ended}, of {hosts}, as `{result.user_agent}`."
    yield f"- {result.requests} requests (at most {result.requests_at_most}), each sent once."
    market, book = ("read" if read else "**not read**" for read in (result.market_read, result.book_read))
    yield f"- Gate of checkpoint 2: a market record: {market}; a book: {book}."
    if found := result.seen.market:
        yield (
            f"- The market asked about: `{found.market_slug}`, condition id `{found.condition_id}`, "
            f"tokens Up `{found.token_ids[0]}`, Down `{found.token_ids[1]}`."
        )
    yield f"- Claims: {_counted(result.counts(), result)}."
    yield f"- Every answer as it came: `{RAW_FILE}`; this page and all headers: `{JSON_FILE}`."


def _refuted(result: Result) -> Iterator[str]:
    if refuted := result.refuted():
        yield from ("", "## What does not hold", "")
        for verdict in refuted:
            yield f"- {verdict.claim.text}: **no**: {_cell(verdict.observed)}"


def _glance(result: Result) -> Iterator[str]:
    yield from ("", "## Each question at a glance", "")
    yield "| question | answer, by the documentation | asked here | claims |"
    yield "|---|---|---|---|"
    for question, verdicts in result.verdicts():
        counted = _counted(Counter(verdict.agree for verdict in verdicts), result)
        yield f"| {question.text} | {question.answer} | {asked_about(question, result.seen)} | {counted} |"


def _claims(result: Result) -> Iterator[str]:
    for question, verdicts in result.verdicts():
        yield from ("", f"## {question.text}", "", question.answer, "")
        yield "| claim | source | observed | agree? |"
        yield "|---|---|---|---|"
        for verdict in verdicts:
            agree = _agree(verdict.agree, result)
            sources = "; ".join(verdict.claim.sources)
            yield f"| {verdict.claim.text} | {sources} | {_cell(verdict.observed)} | {agree} |"


def _fields(result: Result) -> Iterator[str]:
    yield from ("", "## Fields that were returned", "")
    for kind, names in fields(result.seen).items():
        yield f"- {kind} ({len(names)}): {', '.join(map(_cell, names)) or 'none was read'}."


def _requests(result: Result) -> Iterator[str]:
    yield from ("", "## Every request", "")
    yield "| # | asked for | request | status | ms | bytes | headers |"
    yield "|---:|---|---|---|---:|---:|---|"
    for number, (step, answer) in result.sent():
        path = answer.ask.url.removeprefix(result.gamma_url).removeprefix(result.clob_url)
        headers = ", ".join(f"{name}: {answer.headers[name]}" for name in _HEADERS if name in answer.headers)
        status = answer.status or said(answer)
        milliseconds = f"{(answer.elapsed_ns or 0) / 1e6:.0f}"
        yield (
            f"| {number} | {step} | {answer.ask.method} {_short(path)} | {status} "
            f"| {milliseconds} | {len(answer.body):,} | {_cell(headers)} |"
        )
    for step, why in result.not_sent():
        yield f"| | {step} | | {_cell(why)} | | | |"


def _counted(counts: Mapping[Agree, int], result: Result) -> str:
    kinds: tuple[Agree, ...] = ("no", "yes", "not shown", "not shown (sandbox)")
    return ", ".join(f"{counts[kind]} {_agree(kind, result)}" for kind in kinds if counts.get(kind))


def _agree(agree: Agree, result: Result) -> str:
    if agree == "yes" and result.seen.environment == "sandbox":
        return "yes (double)"
    return f"**{agree}**" if agree == "no" else agree


def _cell(text: str) -> str:
    """Text of the venue's, which must not end a cell or read as markup."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _short(path: str) -> str:
    """A path whose last part is cut if it is a condition id; the raw file has it whole."""
    head, _, last = path.rpartition("/")
    return path if len(last) <= 40 else f"{head}/{last[:12]}…"
