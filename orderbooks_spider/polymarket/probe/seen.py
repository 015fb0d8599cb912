"""What a probe saw: answers by step, and the looks at windows that have just ended."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.book import Book, parse_book
from orderbooks_spider.polymarket.market import Market, NotHydratedError, decode, read_market
from orderbooks_spider.polymarket.probe import steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.polymarket.answers import Answer

NOT_ASKED = "not asked"
"""First word of an answer's failure where nothing was sent; the second says why."""


class NotShownError(VenueError):
    """What was seen neither supports nor refutes a claim; the text says why."""


class Finding(NamedTuple):
    """What a claim was held against, and whether they agree."""

    observed: str
    agree: bool


class Asked(NamedTuple):
    """A request's place in the plan, and its end."""

    step: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Look:
    """A five-minute window after its end (UTC ns): its event, its listing among open events, its Up book."""

    slug: str
    end_ns: int
    event: Answer
    listing: Answer
    book: Answer

    @property
    def after_seconds(self) -> float:
        """How long after the window's end its book was asked for."""
        return ((self.book.sent_ns or self.end_ns) - self.end_ns) / NS

    @property
    def closed(self) -> bool | None:
        """What the event says of it; ``None`` where it cannot be read."""
        flags = [raw.get("closed") for raw, _ in markets_in([event_of(self.event)])]
        return flags[0] if flags and isinstance(flags[0], bool) else None

    @property
    def listed(self) -> bool | None:
        """Whether it stands among the open events; ``None`` where the listing cannot be read."""
        events = events_of(self.listing)
        return None if events is None else self.slug in slugs_of(events)


@dataclass(slots=True)
class Seen:
    """All that one probe saw, in the order it was asked."""

    environment: str
    asked: list[Asked] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    market: Market | None = None
    """The market whose books were asked for."""

    def of(self, step: str) -> list[Answer]:
        """Every answer of a step."""
        return [asked.answer for asked in self.asked if asked.step == step]

    def answer(self, step: str) -> Answer:
        """The first answer of a step, whatever its status.

        Raises:
            NotShownError: nothing was sent, or nothing came back.

        """
        answers = self.of(step)
        if not answers:
            raise NotShownError(f"{NOT_ASKED}: the probe ended before")
        if answers[0].status is None:
            raise NotShownError(said(answers[0]))
        return answers[0]

    def usable(self, step: str) -> Answer:
        """The first answer of a step with status 200.

        Raises:
            NotShownError: there is none.

        """
        answer = self.answer(step)
        if not answer.usable:
            raise NotShownError(said(answer))
        return answer

    def events(self, step: str) -> list[dict[str, Any]]:
        """The events of a listing.

        Raises:
            NotShownError: there are none.

        """
        events = events_of(self.usable(step))
        if not events:
            raise NotShownError(f"no events in {said(self.answer(step))}")
        return events

    def raw_markets(self) -> list[dict[str, Any]]:
        """Each market object of an open event; some come twice.

        Raises:
            NotShownError: no answer held any.

        """
        found = [raw for raw, _ in markets_in(self.open_events())]
        if not found:
            raise NotShownError("no answer held a market")
        return found

    def open_events(self) -> list[dict[str, Any]]:
        """The events of the listings by series, and those by a slug of now; some come twice."""
        answers = [answer for step in steps.OPEN_EVENTS for answer in self.of(step)]
        return [event for answer in answers for event in events_of(answer) or [event_of(answer)]]

    def raw_books(self) -> list[bytes]:
        """The text of each object that came as a book, from ``/book`` and ``/books``, whatever is in it.

        Raises:
            NotShownError: no answer held any.

        """
        found = [text for asked in self.asked for text in raw_books_of(asked.answer)]
        if not found:
            raise NotShownError("no answer held a book")
        return found

    def books(self) -> list[Book]:
        """Those of :meth:`raw_books` that are books.

        Raises:
            NotShownError: no answer held any.

        """
        found = [book for asked in self.asked for book in books_of(asked.answer)]
        if not found:
            raise NotShownError("no answer held a book")
        return found


def said(answer: Answer) -> str:
    """An answer in a few words: its status and how its text starts, or why there is none."""
    if answer.failure is not None:
        result, reason = answer.failure
        return f"{result}: {reason}" if result == NOT_ASKED else f"no answer ({reason or result})"
    start = " ".join(answer.body[:60].decode("utf-8", "replace").split())
    return f"{answer.status} {start!r}" + (", cut off" if answer.truncated else "")


def events_of(answer: Answer) -> list[dict[str, Any]] | None:
    """The events of a listing's page; ``None`` if it is none."""
    page = object_of(answer)
    events = page.get("events") if page else None
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else None


def event_of(answer: Answer) -> dict[str, Any]:
    """The event of an answer by slug; empty if it is none."""
    return object_of(answer) or {}


def object_of(answer: Answer) -> dict[str, Any] | None:
    """The JSON object in a usable answer; ``None`` if it is none."""
    value = value_of(answer)
    return value if isinstance(value, dict) else None


def value_of(answer: Answer) -> Any:
    """The JSON in a usable answer, fractions as text; ``None`` if it is none."""
    try:
        return decode(answer.body) if answer.usable else None
    except VenueError:
        return None


def markets_in(events: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(market, event) of each market object inside *events*."""
    for event in events:
        markets = event.get("markets")
        for raw in markets if isinstance(markets, list) else []:
            if isinstance(raw, dict):
                yield raw, event


def readable(events: list[dict[str, Any]]) -> tuple[list[Market], list[str]]:
    """The markets that the collector would follow, and why the others not; a missing token is no reason."""
    markets, reasons = [], []
    for raw, event in markets_in(events):
        try:
            markets.append(read_market(raw, event))
        except NotHydratedError:
            continue
        except VenueError as error:
            reasons.append(str(error))
    return markets, reasons


def slugs_of(events: list[dict[str, Any]]) -> list[str]:
    """Their slugs, in the order listed."""
    return [str(event.get("slug")) for event in events]


def time_of(raw: dict[str, Any], key: str) -> int:
    """A time in a Gamma object, UTC ns.

    Raises:
        NotShownError: it is not there, or no time.

    """
    try:
        return parse_utc(raw[key])
    except (KeyError, TypeError, ValueError) as error:
        raise NotShownError(f"{raw.get('slug')}: {key}: expected a time, saw {raw.get(key)!r}") from error


def raw_books_of(answer: Answer) -> list[bytes]:
    """The text of each object in an answer of ``/book`` or ``/books``; doubles stay doubles."""
    if not answer.usable or not answer.ask.url.endswith(("/book", "/books")):
        return []
    try:
        answer.body.decode("utf-8")
        texts = [bytes(raw) for raw in _list.decode(answer.body)] if answer.ask.body else [answer.body]
        return [text for text in texts if isinstance(msgspec.json.decode(text), dict)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def books_of(answer: Answer) -> list[Book]:
    """The books among :func:`raw_books_of`."""
    books = []
    for text in raw_books_of(answer):
        with contextlib.suppress(VenueError):
            books.append(parse_book(text))
    return books


_list = msgspec.json.Decoder(list[msgspec.Raw])
