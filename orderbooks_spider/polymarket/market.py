"""A market as Gamma describes it, read strictly: an odd one is refused with the reason."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from orderbooks_spider.clock import iso_utc, parse_utc
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.windows import SERIES, window_of_slug
from orderbooks_spider.universe import Window

OUTCOMES = ("Up", "Down")
_CONDITION_ID = re.compile(r"0x[0-9a-fA-F]{62}(?:[0-9a-fA-F]{2})?")
_TOKEN_ID = re.compile(r"[0-9]{1,78}")
_SETTLED = ({"0", "1"}, {"0.5"})
"""Outcome prices after resolution: one winner, or (never seen on these markets) an even split."""


class NotHydratedError(VenueError):
    """Gamma lists the market but not yet its tokens: ask again (fact sheet, section 2.5)."""


@dataclass(frozen=True, slots=True)
class Market:
    """One BTC up/down question; equal values mean that nothing worth a new row has changed.

    Prices, volumes and liquidity of an open market move all the time and stand verbatim in the raw
    answers; here they are ``None`` until the market is closed.
    """

    market_slug: str
    event_slug: str
    question: str
    condition_id: str
    gamma_id: str
    window: str
    window_start_ns: int
    window_end_ns: int
    outcomes: tuple[str, str]
    token_ids: tuple[str, str]
    active: bool | None
    closed: bool
    accepting_orders: bool | None
    enable_order_book: bool | None
    neg_risk: bool | None
    tick_size: str | None
    min_order_size: str | None
    listed_at: str | None
    resolution_source: str | None
    closed_time: str | None
    outcome_prices: tuple[str, str] | None
    price_to_beat: str | None
    final_price: str | None

    @property
    def pollable(self) -> Window:
        """The market as the universe plans it, tokens Up first."""
        return Window(
            market_slug=self.market_slug,
            condition_id=self.condition_id,
            label=self.window,
            start_ns=self.window_start_ns,
            end_ns=self.window_end_ns,
            tokens=tuple(zip(self.outcomes, self.token_ids, strict=True)),
        )

    @property
    def resolved(self) -> bool:
        """Closed, and the outcome prices say who won."""
        return self.closed and self.outcome_prices is not None and set(self.outcome_prices) in _SETTLED

    def record(self) -> dict[str, Any]:
        """The fields as a row keeps them, with the window also as ISO text."""
        return asdict(self) | {
            "window_start": iso_utc(self.window_start_ns),
            "window_end": iso_utc(self.window_end_ns),
        }


def from_record(record: dict[str, Any]) -> Market:
    """The market that :meth:`Market.record` stored.

    Raises:
        VenueError: a field is missing or of the wrong type.

    """
    try:
        return msgspec.convert(record, Market)
    except msgspec.ValidationError as error:
        raise VenueError(f"{record.get('market_slug')}: not a market record: {error}") from error


def read_market(raw: dict[str, Any], event: dict[str, Any] | None = None) -> Market:
    """Read the Gamma market object *raw*, which stands inside *event* (or carries it in ``events``).

    Numbers must have been decoded as text (:func:`decode`), so that no digit is lost.

    Raises:
        NotHydratedError: the tokens are not there yet.
        VenueError: it is not a BTC up/down market with outcomes Up and Down and a sound window.

    """
    if event is None:
        nested = raw.get("events")
        event = nested[0] if isinstance(nested, list) and nested and isinstance(nested[0], dict) else {}
    slug = _text(raw, "slug")
    window, start_ns, end_ns = _window(slug, raw, event)
    closed = raw.get("closed") is True
    meta = event.get("eventMetadata") if isinstance(event.get("eventMetadata"), dict) else {}
    return Market(
        market_slug=slug,
        event_slug=_text(event, "slug") if event.get("slug") else slug,
        question=_text(raw, "question"),
        condition_id=_matching(raw, "conditionId", _CONDITION_ID),
        gamma_id=_text(raw, "id"),
        window=window,
        window_start_ns=start_ns,
        window_end_ns=end_ns,
        outcomes=OUTCOMES,
        token_ids=_tokens_by_label(raw),
        active=_flag(raw, "active"),
        closed=closed,
        accepting_orders=_flag(raw, "acceptingOrders"),
        enable_order_book=_flag(raw, "enableOrderBook"),
        neg_risk=_flag(raw, "negRisk"),
        tick_size=_optional(raw, "orderPriceMinTickSize"),
        min_order_size=_optional(raw, "orderMinSize"),
        listed_at=_optional(raw, "startDate"),
        resolution_source=_optional(raw, "resolutionSource"),
        closed_time=_optional(raw, "closedTime"),
        outcome_prices=_prices_by_label(raw) if closed else None,
        price_to_beat=_optional(meta or {}, "priceToBeat"),
        final_price=_optional(meta or {}, "finalPrice"),
    )


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=str)


def decode(body: bytes) -> Any:
    """Decode a Gamma answer with fractional numbers kept as text.

    Raises:
        VenueError: not JSON; the text shows how the answer starts.

    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise VenueError(f"expected JSON, saw {body[:60]!r}: {error}") from error


def _window(slug: str, raw: dict[str, Any], event: dict[str, Any]) -> tuple[str, int, int]:
    known = window_of_slug(slug)
    if known is None:
        raise VenueError(f"{slug}: not the slug of a BTC up/down market")
    window, start_in_slug = known
    start_ns = _time(slug, "eventStartTime", raw.get("eventStartTime") or event.get("startTime"))
    end_ns = _time(slug, "endDate", raw.get("endDate"))
    series = SERIES[window]
    if not series.shortest_ns <= end_ns - start_ns <= series.longest_ns:
        seconds = (end_ns - start_ns) // 10**9
        raise VenueError(f"{slug}: endDate - eventStartTime: expected a {window} window, saw {seconds} s")
    if start_in_slug is not None and start_in_slug != start_ns:
        raise VenueError(f"{slug}: eventStartTime: expected the slug's epoch, saw {iso_utc(start_ns)}")
    return window, start_ns, end_ns


def _tokens_by_label(raw: dict[str, Any]) -> tuple[str, str]:
    """The token ids, Up first; paired by label, for the order of outcomes is only a habit."""
    slug = raw.get("slug")
    labels = _list_in_text(raw, "outcomes")
    if sorted(labels) != sorted(OUTCOMES):
        raise VenueError(f"{slug}: outcomes: expected Up and Down, saw {labels!r}")
    tokens = _list_in_text(raw, "clobTokenIds")
    if not tokens or "" in tokens:
        raise NotHydratedError(f"{slug}: clobTokenIds: not there yet")
    if len(tokens) != 2 or tokens[0] == tokens[1] or not all(map(_TOKEN_ID.fullmatch, tokens)):
        raise VenueError(f"{slug}: clobTokenIds: expected two different decimal ids, saw {tokens!r}")
    by_label = dict(zip(labels, tokens, strict=True))
    return by_label["Up"], by_label["Down"]


def _prices_by_label(raw: dict[str, Any]) -> tuple[str, str] | None:
    prices = _list_in_text(raw, "outcomePrices")
    if len(prices) != 2:
        return None
    by_label = dict(zip(_list_in_text(raw, "outcomes"), prices, strict=True))
    return by_label["Up"], by_label["Down"]


def _list_in_text(raw: dict[str, Any], key: str) -> list[str]:
    """The list that stands as JSON text inside a string (fact sheet, 2.4); missing counts as empty."""
    value = raw.get(key)
    if isinstance(value, str) and value:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise VenueError(f"{raw.get('slug')}: {key}: expected JSON text, saw {value!r}") from error
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise VenueError(f"{raw.get('slug')}: {key}: expected a list of texts, saw {value!r}")
    return value


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise VenueError(f"{raw.get('slug', 'a market')}: {key}: expected a text, saw {value!r}")
    return value


def _matching(raw: dict[str, Any], key: str, form: re.Pattern[str]) -> str:
    value = _text(raw, key)
    if form.fullmatch(value) is None:
        raise VenueError(f"{raw.get('slug')}: {key}: expected {form.pattern}, saw {value!r}")
    return value


def _time(slug: str, key: str, value: Any) -> int:
    try:
        return parse_utc(value)
    except (TypeError, ValueError) as error:
        raise VenueError(f"{slug}: {key}: expected a time, saw {value!r}") from error


def _flag(raw: dict[str, Any], key: str) -> bool | None:
    value = raw.get(key)
    return value if isinstance(value, bool) else None


def _optional(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return None if value is None or value == "" else str(value)
