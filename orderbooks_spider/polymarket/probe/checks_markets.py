"""Claims about Gamma: how markets are listed, told apart, named and ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.polymarket.probe import steps
from orderbooks_spider.polymarket.probe.seen import (
    Finding,
    Look,
    NotShownError,
    Seen,
    event_of,
    events_of,
    markets_in,
    object_of,
    readable,
    said,
    slugs_of,
    time_of,
)
from orderbooks_spider.polymarket.probe.survey import series_id_in
from orderbooks_spider.polymarket.windows import SERIES, expected_slugs, window_of_slug

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orderbooks_spider.polymarket.answers import Answer

MARKET_FIELDS = (
    "id", "slug", "question", "conditionId", "clobTokenIds", "outcomes", "outcomePrices", "eventStartTime",
    "endDate", "startDate", "createdAt", "active", "closed", "acceptingOrders", "enableOrderBook", "negRisk",
    "orderPriceMinTickSize", "orderMinSize", "resolutionSource",
)  # fmt: skip
"""What the collector reads of an open market (``market.py``), and ``createdAt``."""

_SHOWN = 3
"""Examples named in one finding."""


def listing(seen: Seen) -> Finding:
    """A listing by series is an object with events, each with its markets."""
    answer = seen.answer(steps.LISTING)
    events = events_of(answer)
    if not events:
        return Finding(said(answer), agree=False)
    whole = sum(1 for event in events if any(markets_in([event])))
    return Finding(
        f"{answer.status}: {len(events)} events, {whole} of them with markets", whole == len(events)
    )


def dates(seen: Seen) -> Finding:
    """The date filters keep what they say."""
    earliest, latest = _span(seen.usable(steps.LISTING))
    events = seen.events(steps.LISTING)
    times = [(time_of(event, "startTime"), time_of(event, "endDate")) for event in events]
    inside = sum(end >= earliest and start <= latest for start, end in times)
    return Finding(f"{inside} of {len(events)} events lie in the span asked for", inside == len(events))


def calendar(seen: Seen) -> Finding:
    """Every five-minute window of the span is listed."""
    demanded = expected_slugs("5m", *_span(seen.usable(steps.LISTING)))
    listed = set(slugs_of(seen.events(steps.LISTING)))
    missing = [slug for slug in demanded if slug not in listed]
    text = f"{len(demanded) - len(missing)} of {len(demanded)} windows listed"
    return Finding(text + _examples("; missing", missing), not missing)


def next_page(seen: Seen) -> Finding:
    """``after_cursor`` gives other events than page one."""
    first, second = (slugs_of(seen.events(step)) for step in (steps.PAGE_ONE, steps.PAGE_TWO))
    again = len(set(first) & set(second))
    return Finding(f"page two has {len(second)} events, {again} of them also on page one", not again)


def cursor_is_ignored(seen: Seen) -> Finding:
    """``cursor`` instead gives page one again."""
    first, second = (slugs_of(seen.events(step)) for step in (steps.PAGE_ONE, steps.PAGE_TWO_BY_CURSOR))
    same = first == second
    return Finding("page one came again" if same else "other events than page one", same)


def last_page(seen: Seen) -> Finding:
    """A listing that fits on one page has no cursor."""
    page = object_of(seen.usable(steps.LISTING)) or {}
    count = len(seen.events(steps.LISTING))
    return Finding(
        f"{count} of at most 500 events, next_cursor {_shown(page, 'next_cursor')}", "next_cursor" not in page
    )


def without_closed(seen: Seen) -> Finding:
    """Without ``closed`` only closed events come."""
    flags = [event.get("closed") for event in seen.events(steps.WITHOUT_CLOSED)]
    return Finding(f"closed: {', '.join(map(str, flags))}", all(flag is True for flag in flags))


def by_slug(seen: Seen) -> Finding:
    """An event is found by the slug that the calendar gives."""
    found: list[str] = []
    lacking: list[str] = []
    for window, step in steps.BY_SLUG.items():
        answer = seen.answer(step)
        markets, _ = readable([event_of(answer)])
        (found if markets else lacking).append(
            f"{window}: {markets[0].market_slug if markets else said(answer)}"
        )
    return Finding("; ".join(found + lacking), not lacking)


def unknown_slug(seen: Seen) -> Finding:
    """An unknown slug is a 404."""
    answer = seen.answer(steps.UNKNOWN_SLUG)
    return Finding(said(answer), answer.status == 404)


def series_ids(seen: Seen) -> Finding:
    """The ids that the venue gives are those written down."""
    given = {
        window: series_id_in(seen.answer(steps.SERIES_ID[window]), series.slug)
        for window, series in SERIES.items()
    }
    agree = all(given[window] == series.fallback_id for window, series in SERIES.items())
    return Finding(", ".join(f"{window} {number or 'not given'}" for window, number in given.items()), agree)


def only_up_or_down(seen: Seen) -> Finding:
    """Every market of a series can be followed."""
    markets, reasons = readable(seen.open_events())
    if not markets and not reasons:
        raise NotShownError("no answer held a market with its tokens")
    text = f"{len(markets)} of {len(markets) + len(reasons)} read"
    return Finding(text + _examples("; refused", reasons), not reasons)


def condition_ids(seen: Seen) -> Finding:
    """Condition ids are 0x and 64 hex digits."""
    ids = [str(raw.get("conditionId")) for raw in seen.raw_markets()]
    odd = [text for text in ids if re.fullmatch(r"0x[0-9a-fA-F]{64}", text) is None]
    return Finding(f"{len(ids) - len(odd)} of {len(ids)}" + _examples("; others", odd), not odd)


def token_ids(seen: Seen) -> Finding:
    """Token ids and outcomes are two-item lists as JSON text inside a string."""
    raws = seen.raw_markets()
    tokens = [_texts_in(raw, "clobTokenIds") for raw in raws]
    good = sum(
        len(set(pair)) == 2 == len(_texts_in(raw, "outcomes")) and all(map(str.isdecimal, pair))
        for raw, pair in zip(raws, tokens, strict=True)
    )
    lengths = sorted({len(token) for pair in tokens for token in pair})
    digits = f", of {lengths[0]} to {lengths[-1]} digits" if lengths else ""
    return Finding(f"{good} of {len(raws)} markets, tokens paired with outcomes{digits}", good == len(raws))


def up_first(seen: Seen) -> Finding:
    """Outcomes are Up and Down in that order."""
    orders = [_texts_in(raw, "outcomes") for raw in seen.raw_markets()]
    good = sum(order == ["Up", "Down"] for order in orders)
    return Finding(f"{good} of {len(orders)} markets", good == len(orders))


def clob_tokens(seen: Seen) -> Finding:
    """The CLOB names the same tokens for the same outcomes."""
    answer = seen.answer(steps.CLOB_MARKET)
    assert seen.market is not None  # it was asked for
    tokens = (object_of(answer) or {}).get("tokens")
    if not isinstance(tokens, list):
        return Finding(said(answer), agree=False)
    named = {(token.get("outcome"), token.get("token_id")) for token in tokens if isinstance(token, dict)}
    same = named == set(zip(seen.market.outcomes, seen.market.token_ids, strict=True))
    return Finding(f"{answer.status}: {len(tokens)} tokens, {'the same' if same else 'others'}", same)


def market_fields(seen: Seen) -> Finding:
    """Open markets carry what the collector reads."""
    raws = seen.raw_markets()
    lacking = sorted({name for raw in raws for name in MARKET_FIELDS if name not in raw})
    keys = {name for raw in raws for name in raw}
    text = f"{len(raws)} markets, {len(keys)} different fields"
    return Finding(text + _examples("; lacking", lacking), not lacking)


def window_times(seen: Seen) -> Finding:
    """The start stands in the slug, the end one window later, the listing date long before."""
    raws = [raw for raw in seen.raw_markets() if (window_of_slug(str(raw.get("slug"))) or ("",))[0] == "5m"]
    good = 0
    for raw in raws:
        listed, start, end = (time_of(raw, key) for key in ("startDate", "eventStartTime", "endDate"))
        in_slug = window_of_slug(str(raw["slug"]))
        good += in_slug == ("5m", start) and end == start + 300 * NS and listed < start - 3600 * NS
    if not raws:
        raise NotShownError("no five-minute market was listed")
    return Finding(f"{good} of {len(raws)} five-minute markets", good == len(raws))


def several_series(seen: Seen) -> Finding:
    """One call lists the events of several series."""
    answer = seen.answer(steps.SEVERAL)
    events = events_of(answer)
    if not events:
        return Finding(said(answer), agree=False)
    known = [window_of_slug(slug) for slug in slugs_of(events)]
    counts = {window: sum(1 for found in known if found and found[0] == window) for window in SERIES}
    text = ", ".join(f"{window} {count}" for window, count in counts.items())
    return Finding(f"{len(events)} events: {text}", all(counts.values()))


def listed_a_day_before(seen: Seen) -> Finding:
    """Five-minute markets are created 23 hours before their window and more."""
    leads = _leads(seen).get("5m")
    if leads is None:
        raise NotShownError("no five-minute market was listed")
    return Finding(f"{len(leads)} markets, {_hours(leads)} before", min(leads) >= 23)


def listed_in_time(seen: Seen) -> Finding:
    """Markets of all lengths are created before discovery looks for them."""
    leads = _leads(seen)
    if set(leads) < set(SERIES):
        raise NotShownError(f"only {', '.join(leads) or 'nothing'} was listed with its times")
    text = ", ".join(f"{window} {_hours(hours)}" for window, hours in leads.items())
    return Finding(f"created before the window: {text}", min(map(min, leads.values())) >= 2)


def no_position_ids(seen: Seen) -> Finding:
    """No market speaks of the newer protocol."""
    raws = seen.raw_markets()
    newer = [raw for raw in raws if raw.get("positionIds") or raw.get("version") not in (None, "v1")]
    versions = sorted({str(raw.get("version", "absent")) for raw in raws})
    text = f"{len(raws)} markets: version {', '.join(versions)}; {len(newer)} with position ids or newer"
    return Finding(text, not newer)


def closing_delay(seen: Seen) -> Finding:
    """Gamma gives a closing time of seconds to minutes after the end."""
    seconds = {}
    for look in seen.looks:
        for raw, _ in markets_in([event_of(look.event)]):
            if raw.get("closedTime"):
                seconds[look.slug] = (time_of(raw, "closedTime") - look.end_ns) / NS
    if not seconds:
        raise NotShownError(_no_look(seen, "closed"))
    text = ", ".join(f"{delay:.0f} s" for delay in seconds.values())
    return Finding(f"closedTime {text} after the end", all(0 < delay <= 400 for delay in seconds.values()))


def leaves_open_listing(seen: Seen) -> Finding:
    """What is closed is not listed as open."""
    closed = [look for look in seen.looks if look.closed and look.listed is not None]
    if not closed:
        raise NotShownError(_no_look(seen, "closed"))
    still = [look for look in closed if look.listed]
    course = "; ".join(f"+{look.after_seconds:.0f} s {'open' if look.listed else 'gone'}" for look in closed)
    return Finding(f"listing of a closed event: {course}", not still)


def no_book_once_closed(seen: Seen) -> Finding:
    """The book of a closed market is a 404."""
    closed = [look for look in seen.looks if look.closed and look.book.status is not None]
    if not closed:
        raise NotShownError(_no_look(seen, "closed"))
    return Finding(_course(closed), all(look.book.status == 404 for look in closed))


def book_until_closing(seen: Seen) -> Finding:
    """Between the end and the soonest closing the book keeps its last state."""
    soon = [look for look in seen.looks if look.after_seconds < 15 and look.book.status is not None]
    if not soon:
        raise NotShownError(_no_look(seen, "asked within 15 s of its end"))
    full = all(look.book.status == 200 and _levels(look.book) for look in soon)
    return Finding(_course([look for look in seen.looks if look.slug == soon[0].slug]), full)


def _no_look(seen: Seen, what: str) -> str:
    if not seen.looks:
        return "no ended market was looked at"
    ages = ", ".join(f"{look.after_seconds:.0f} s" for look in seen.looks)
    return f"looked at markets {ages} after their end: none was {what}"


def _course(looks: Iterable[Look]) -> str:
    """What each look saw, in order."""
    return "; ".join(
        f"+{look.after_seconds:.0f} s {look.book.status}"
        + (f", {_levels(look.book)} levels" if look.book.status == 200 else "")
        + (", Gamma: closed" if look.closed else "")
        for look in looks
    )


def _levels(answer: Answer) -> int:
    book = object_of(answer) or {}
    return sum(len(book[side]) for side in ("bids", "asks") if isinstance(book.get(side), list))


def _span(answer: Answer) -> tuple[int, int]:
    """The span that a listing was asked for, UTC ns."""
    params = answer.ask.params
    return parse_utc(params["end_date_min"]), parse_utc(params["start_time_max"])


def _leads(seen: Seen) -> dict[str, list[float]]:
    """Hours from a market's creation to its window, by window length."""
    leads: dict[str, list[float]] = {}
    for raw in seen.raw_markets():
        known = window_of_slug(str(raw.get("slug")))
        if known is not None:
            hours = (time_of(raw, "eventStartTime") - time_of(raw, "createdAt")) / (3600 * NS)
            leads.setdefault(known[0], []).append(hours)
    return {window: leads[window] for window in SERIES if window in leads}


def _hours(hours: list[float]) -> str:
    least, most = f"{min(hours):.1f}", f"{max(hours):.1f}"
    return f"{least} h" if least == most else f"{least} to {most} h"


def _texts_in(raw: dict[str, Any], key: str) -> list[str]:
    """The list that stands as JSON text inside a string; empty if it is anything else."""
    try:
        return msgspec.json.decode(raw.get(key, ""), type=list[str])
    except (TypeError, msgspec.MsgspecError):
        return []


def _shown(page: dict[str, Any], key: str) -> str:
    return "present" if key in page else "absent"


def _examples(word: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{word}: {', '.join(names[:_SHOWN])}{more}"
