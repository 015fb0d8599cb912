"""Serve recorded books: their text unchanged, at their original pace, starting now.

Two kinds of file, plain or ``.gz``: lines ``{"t_ms","recv_ms","books":[…]}``, and our own raw
segments (rows with ``body``, ``token_id``, ``due_ns``, ``result``). The first line plays at the
server's start (rounded down to a second); each recorded file of the first kind starts there, while
all raw segments share one shift, so that the order among them stays.
"""

from __future__ import annotations

import base64
import bisect
import gzip
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox.books import Settlement
from orderbooks_spider.sandbox.markets import Life, Market, MarketIndex, existing
from orderbooks_spider.sandbox.noise import digest, key64
from orderbooks_spider.sandbox.quotes import Quote
from orderbooks_spider.sandbox.windows import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MS = 1_000_000
_LINGER_NS = 5 * NS  # so long the last book stays
_RESOLVE_NS = 60 * NS
_SLUG = re.compile(r"btc-updown-(5m|15m|4h)-(\d{9,11})")
_LENGTH_SECONDS = {"5m": 300, "15m": 900, "4h": 14_400}


class _Line(msgspec.Struct):
    """A line of either kind; which one shows by what it has."""

    t_ms: int | None = None
    books: list[msgspec.Raw] | None = None
    body: str | None = None
    body_encoding: str | None = None
    token_id: str | None = None
    due_ns: int | None = None
    result: str | None = None
    outcome: str | None = None
    market_slug: str | None = None
    window_start: str | int | None = None
    window_end: str | int | None = None


class _Level(msgspec.Struct):
    price: str


class _Named(msgspec.Struct):
    """What a recorded book says about itself."""

    market: str
    asset_id: str
    bids: list[_Level] = []
    asks: list[_Level] = []


@dataclass(slots=True)
class _Recorded:
    """All that was recorded of one market; times on the recording's clock."""

    condition_id: str
    slug: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    texts: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    @property
    def first_ns(self) -> int:
        return min(row[0][0] for row in self.texts.values())

    @property
    def last_ns(self) -> int:
        return max(row[-1][0] for row in self.texts.values())


_lines = msgspec.json.Decoder(_Line)
_named = msgspec.json.Decoder(_Named)


class Replay:
    """Recorded markets as a source of both markets and books.

    Args:
        files: what to replay.
        started_ns: the server's start, UTC; the recordings begin at its second.

    Raises:
        ConfigError: a file cannot be read, or holds no books; the text names file and line.

    """

    def __init__(self, files: Sequence[Path], started_ns: int) -> None:
        self.hydration_before_start_ns: int | None = None
        self._begin_ns = started_ns - started_ns % NS
        self._index = MarketIndex()
        self._texts: dict[str, tuple[list[int], list[bytes]]] = {}
        own: dict[str, _Recorded] = {}
        for path in files:
            recorded: dict[str, _Recorded] = {}
            if _read(path, recorded):
                _merge(own, recorded)
            else:
                self._take(recorded.values(), at_start=len(recorded) == 1)
        self._take(own.values(), at_start=False)

    def listed(self, now_ns: int) -> list[Market]:
        """All replayed markets."""
        return self._index.created_by(now_ns)

    def by_token(self, token_id: str, now_ns: int) -> Market | None:
        """The market of a token, or None."""
        return existing(self._index.tokens.get(token_id), now_ns)

    def by_condition(self, condition_id: str, now_ns: int) -> Market | None:
        """The market of a condition id, or None."""
        return existing(self._index.conditions.get(condition_id), now_ns)

    def by_slug(self, slug: str, now_ns: int) -> Market | None:
        """The market of a slug, or None."""
        return existing(self._index.slugs.get(slug), now_ns)

    def text(self, market: Market, token_index: int, now_ns: int) -> bytes | None:
        """Give the recorded text that was current so long after the recording's start."""
        times, texts = self._texts.get(market.token_ids[token_index], ([], []))
        place = bisect.bisect_right(times, now_ns)
        return texts[max(0, place - 1)] if texts else None

    def quote(self, market: Market, now_ns: int) -> Quote | None:
        """Best prices as recorded."""
        text = self.text(market, 0, now_ns)
        if text is None:
            return None
        book = _named.decode(text)
        bid = round(float(book.bids[-1].price) * 1000) if book.bids else 0
        ask = round(float(book.asks[-1].price) * 1000) if book.asks else 1000
        return Quote(bid, ask, fine=bool(bid % 10 or ask % 10))

    def settlement(self, market: Market) -> Settlement:
        """Say who won by the last recorded book; dollars were not recorded, so both are 0."""
        quote = self.quote(market, market.life.closed_ns)
        return Settlement(0.0, 0.0, up_won=quote is None or quote.mid >= 0.5)

    def _take(self, recorded: Iterable[_Recorded], *, at_start: bool) -> None:
        rows = list(recorded)
        if not rows:
            return
        shift = self._begin_ns - min(row.first_ns for row in rows)
        for row in rows:
            self._index.add(_market_of(row, shift, self._begin_ns, at_start=at_start))
            for token_id, texts in row.texts.items():
                self._texts[token_id] = ([t + shift for t, _ in texts], [text for _, text in texts])


def _merge(own: dict[str, _Recorded], more: dict[str, _Recorded]) -> None:
    for condition_id, row in more.items():
        known = own.setdefault(condition_id, row)
        if known is not row:
            known.outcomes |= row.outcomes
            for token_id, texts in row.texts.items():
                known.texts[token_id] = sorted([*known.texts.get(token_id, []), *texts])


def _market_of(row: _Recorded, shift: int, begin_ns: int, *, at_start: bool) -> Market:
    """Make the market of *row*; *at_start* lets its window begin with the server, to the second."""
    recorded = row.slug or f"replay-{row.condition_id[:18]}"
    found = _SLUG.fullmatch(recorded)
    kind = found[1] if found else "5m"
    series = next(series for series in SERIES if series.kind == kind)
    start = begin_ns if at_start else (row.first_ns if row.start_ns is None else row.start_ns) + shift
    length = row.end_ns - row.start_ns if row.start_ns is not None and row.end_ns is not None else None
    last = row.last_ns + shift
    end = start + length if length else last
    # The slug tells the window's start, as at the venue: a shifted window has a shifted slug.
    slug = f"btc-updown-{kind}-{start // NS}" if found else recorded
    first, second = _token_pair(row)
    life = Life(
        created_ns=begin_ns - series.lead_seconds * NS,
        accepting_ns=begin_ns - series.lead_seconds * NS,
        frozen_ns=last + _LINGER_NS,
        closed_ns=last + _LINGER_NS,
        resolved_ns=max(end, last) + _RESOLVE_NS,
    )
    return Market(
        series=series,
        slug=slug,
        title=f"Bitcoin Up or Down - replay of {recorded}",
        start_ns=start,
        end_ns=end,
        condition_id=row.condition_id,
        question_id="0x" + digest(0, row.condition_id, "question").hex(),
        token_ids=(first, second),
        gamma_id=str(10**9 + key64(0, slug, "market") % 10**9),
        event_id=str(10**9 + key64(0, slug, "event") % 10**9),
        life=life,
        key=key64(0, slug),
    )


def _token_pair(row: _Recorded) -> tuple[str, str]:
    """Give the tokens, Up first: by the recorded outcomes, else in the order they appear."""
    tokens = sorted(row.texts, key=lambda token: row.outcomes.get(token) == "Down")
    # One side alone was recorded: the other token exists, and never has a book.
    missing = str(int.from_bytes(digest(0, row.condition_id, "other token"), "big") | 1 << 255)
    if len(tokens) == 1 and row.outcomes.get(tokens[0]) == "Down":
        return missing, tokens[0]
    return tokens[0], tokens[1] if len(tokens) > 1 else missing


def _read(path: Path, into: dict[str, _Recorded]) -> bool:
    """Read *path* into markets by condition id; True for a raw segment of ours."""
    own = False
    for number, text in enumerate(_raw_lines(path), 1):
        try:
            line = _lines.decode(text)
            if line.t_ms is not None and line.books is not None:
                for raw in line.books:
                    _add(into, line.t_ms * _MS, bytes(raw), line)
            elif line.due_ns is not None:
                own = True
                if line.result == "ok" and line.body is not None:
                    _add(into, line.due_ns, _body(line.body, line.body_encoding), line)
            else:
                raise ConfigError(
                    f"replay file {path}, line {number}: neither `t_ms` and `books` nor `due_ns`"
                )
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"replay file {path}, line {number}: {error}") from error
    if not into:
        raise ConfigError(f"replay file {path}: no recorded books in it")
    _complete(into, path)
    return own


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for line in stream:
                if line.strip():
                    yield line
    except (OSError, EOFError) as error:
        raise ConfigError(f"replay file {path}: {error}") from error


def _body(text: str, encoding: str | None) -> bytes:
    return base64.b64decode(text) if encoding == "base64" else text.encode()


def _add(into: dict[str, _Recorded], t_ns: int, text: bytes, line: _Line) -> None:
    named = _named.decode(text)
    row = into.setdefault(named.market, _Recorded(named.market))
    row.texts.setdefault(named.asset_id, []).append((t_ns, text))
    if line.outcome:
        row.outcomes[named.asset_id] = line.outcome
    row.slug = row.slug or line.market_slug
    row.start_ns = row.start_ns if row.start_ns is not None else _moment(line.window_start)
    row.end_ns = row.end_ns if row.end_ns is not None else _moment(line.window_end)


def _moment(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    return parse_utc(value)


def _complete(rows: dict[str, _Recorded], path: Path) -> None:
    """Sort by time; take slug and window from the file's name where the lines do not say them."""
    found = _SLUG.search(path.name)
    for row in rows.values():
        for texts in row.texts.values():
            texts.sort(key=lambda item: item[0])
        if row.slug is None and found and len(rows) == 1:
            row.slug = found[0]
        named = _SLUG.fullmatch(row.slug or "")
        if named and row.start_ns is None:
            row.start_ns = int(named[2]) * NS
            row.end_ns = row.start_ns + _LENGTH_SECONDS[named[1]] * NS
