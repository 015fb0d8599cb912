"""What each route answers when nothing is wrong: Gamma's and the CLOB's reads on one port."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.answers import Answer, array_of, error_answer, gamma_error, json_answer
from orderbooks_spider.sandbox.gamma import GammaRows, series_rows
from orderbooks_spider.sandbox.listing import QueryError, page_of
from orderbooks_spider.sandbox.markets import hydrated_ns
from orderbooks_spider.sandbox.noise import mix
from orderbooks_spider.sandbox.windows import iso_seconds

if TYPE_CHECKING:
    from multidict import MultiMapping

    from orderbooks_spider.sandbox.books import BookSource
    from orderbooks_spider.sandbox.markets import Market, MarketSource

BATCH_LIMIT = 500
"""Most tokens of one ``POST /books``; measured at the venue on 2026-05-28."""

_NO_BOOK = "No orderbook exists for the requested token id"


class _Asked(msgspec.Struct):
    token_id: str


_batches = msgspec.json.Decoder(list[_Asked])


class Routes:
    """The venue's reads, over a source of markets and a source of books."""

    def __init__(self, seed: int, markets: MarketSource, books: BookSource) -> None:
        self.markets = markets
        self.books = books
        self._seed = seed
        self._rows = GammaRows(books)

    def answer(self, path: str, query: MultiMapping[str], body: bytes | None, now_ns: int) -> Answer:
        """Answer a GET, or a POST when there is a *body*; ``now_ns`` is UTC."""
        if body is not None:
            return self._batch(body, now_ns) if path == "/books" else _unknown_route()
        parts = path.strip("/").split("/")
        if parts[0] in {"events", "series"} or parts[1:2] in (["keyset"], ["slug"]):
            return self._gamma(parts, query, now_ns)
        return self._clob(parts, query, now_ns)

    def _gamma(self, parts: list[str], query: MultiMapping[str], now_ns: int) -> Answer:
        match parts:
            case ["series"]:
                return json_answer(series_rows(query.getall("slug", []), now_ns))
            case [("events" | "markets") as kind, "keyset"]:
                return self._page(kind, query, now_ns)
            case [("events" | "markets") as kind, "slug", slug]:
                return self._by_slug(kind, slug, now_ns)
            case _:
                return _unknown_route()

    def _clob(self, parts: list[str], query: MultiMapping[str], now_ns: int) -> Answer:
        match parts:
            case ["book"]:
                return self._book(query, now_ns)
            case ["midpoint"]:
                return self._midpoint(query, now_ns)
            case ["time"]:
                return json_answer(now_ns // NS)
            case ["ok"] | [""]:  # the venue's Python client asks the bare host
                return json_answer("OK")
            case ["markets", condition_id]:
                return self._clob_market(condition_id, now_ns)
            case _:
                return _unknown_route()

    def warm(self, now_ns: int, *, books: bool = False) -> None:
        """Encode all open events once, so that the first listing is no slower than the others.

        With *books* their books, too: a new one takes five times as long as one that has moved, so
        thousands asked for within a second would all come late.
        """
        for market in self.markets.listed(now_ns):
            if now_ns < market.life.resolved_ns:
                self._rows.event_text(market, now_ns, self.markets.hydration_before_start_ns)
                if books:
                    self._text(market.token_ids[0], now_ns)

    def token_index(self, token_id: str, now_ns: int) -> int | None:
        """0 for an Up token, 1 for a Down token, None for any other text."""
        market = self.markets.by_token(token_id, now_ns)
        return market.token_ids.index(token_id) if market else None

    def asked_tokens(self, query: MultiMapping[str], body: bytes | None) -> list[str]:
        """Tokens that a book request names; none when it cannot be read."""
        if body is None:
            return query.getall("token_id", [])
        try:
            return [asked.token_id for asked in _batches.decode(body)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []

    def _text(self, token_id: str, now_ns: int) -> tuple[str, int, bytes] | None:
        """Find a book: one answer for unknown, not yet hydrated and closed, as at the venue."""
        market = self.markets.by_token(token_id, now_ns)
        if market is None or now_ns >= market.life.closed_ns:
            return None
        if now_ns < hydrated_ns(market, self.markets.hydration_before_start_ns):
            return None
        index = market.token_ids.index(token_id)
        text = self.books.text(market, index, now_ns)
        return None if text is None else (token_id, index, text)

    def _book(self, query: MultiMapping[str], now_ns: int) -> Answer:
        token_id = query.get("token_id", "")
        if not (token_id.isascii() and token_id.isdigit()):
            return error_answer(400, "Invalid token id")
        found = self._text(token_id, now_ns)
        if found is None:
            return error_answer(404, _NO_BOOK)
        return Answer(200, found[2], books=(found,))

    def _batch(self, body: bytes, now_ns: int) -> Answer:
        """Answer ``POST /books``: tokens without a book are left out, and the order is shuffled.

        The same request gets the same order from one seed, and never the order it asked in.
        A token asked for twice is answered once (what the venue does is not known).
        """
        try:
            asked = list(dict.fromkeys(item.token_id for item in _batches.decode(body)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return error_answer(400, "Invalid payload")
        if len(asked) > BATCH_LIMIT:
            return error_answer(400, "Payload exceeds the limit")
        found = [book for token_id in asked if (book := self._text(token_id, now_ns))]
        salt = int.from_bytes(hashlib.sha256(body).digest()[:8], "big")
        books = sorted(found, key=lambda book: mix(self._seed, salt, int(book[0])))
        if len(books) > 1 and books == found:
            books = [*books[1:], books[0]]
        return Answer(200, array_of([text for *_, text in books]), books=tuple(books), batch=True)

    def _midpoint(self, query: MultiMapping[str], now_ns: int) -> Answer:
        answer = self._book(query, now_ns)
        if answer.status != 200:
            return answer
        book: dict[str, Any] = json.loads(answer.body)
        if not book["bids"] or not book["asks"]:
            return error_answer(404, _NO_BOOK)
        mid = (float(book["bids"][-1]["price"]) + float(book["asks"][-1]["price"])) / 2
        return json_answer({"mid": f"{mid:.4f}".rstrip("0")})

    def _page(self, kind: str, query: MultiMapping[str], now_ns: int) -> Answer:
        try:
            page = page_of(self.markets.listed(now_ns), query, now_ns, 500 if kind == "events" else 100)
        except QueryError as error:
            return gamma_error(422, "validation", str(error))
        texts = [self._gamma_text(kind, market, now_ns) for market in page.markets]
        cursor = b"" if page.next_cursor is None else b',"next_cursor":"' + page.next_cursor.encode() + b'"'
        return Answer(200, b'{"' + kind.encode() + b'":' + array_of(texts) + cursor + b"}")

    def _by_slug(self, kind: str, slug: str, now_ns: int) -> Answer:
        market = self.markets.by_slug(slug, now_ns)
        if market is None:
            return gamma_error(404, "not found", "slug not found")
        return Answer(200, self._gamma_text(kind, market, now_ns))

    def _gamma_text(self, kind: str, market: Market, now_ns: int) -> bytes:
        gap_ns = self.markets.hydration_before_start_ns
        if kind == "events":
            return self._rows.event_text(market, now_ns, gap_ns)
        return json.dumps(self._rows.market(market, now_ns, gap_ns), separators=(",", ":")).encode()

    def _clob_market(self, condition_id: str, now_ns: int) -> Answer:
        market = self.markets.by_condition(condition_id, now_ns)
        if market is None:
            return error_answer(404, "market not found")
        return json_answer(self._clob_row(market, now_ns))

    def _clob_row(self, market: Market, now_ns: int) -> dict[str, Any]:
        """Give the CLOB's record; before hydration its tokens are nameless (seen on 2026-08-15)."""
        hydrated = now_ns >= hydrated_ns(market, self.markets.hydration_before_start_ns)
        closed = now_ns >= market.life.closed_ns
        quote = self.books.quote(market, now_ns) if hydrated else None
        mid = quote.mid if quote else 0.5
        won = (self.books.settlement(market).up_won if closed else None) if hydrated else None
        prices = (mid, 1 - mid) if won is None else (float(won), float(not won))
        tokens = [
            {
                "token_id": market.token_ids[index] if hydrated else "",
                "outcome": outcome,
                "price": round(prices[index], 4),
                "winner": won is (index == 0),
            }
            for index, outcome in enumerate(("Up", "Down"))
        ]
        return {
            "enable_order_book": hydrated,
            "active": True,
            "closed": closed,
            "archived": False,
            "accepting_orders": hydrated and not closed,
            "accepting_order_timestamp": iso_seconds(market.life.accepting_ns // NS) if hydrated else None,
            "minimum_order_size": 5,
            "minimum_tick_size": 0.001 if quote and quote.fine else 0.01,
            "condition_id": market.condition_id,
            "question_id": market.question_id,
            "question": market.title,
            "market_slug": market.slug,
            "end_date_iso": iso_seconds(market.end_ns // NS),
            "game_start_time": iso_seconds(market.start_ns // NS),
            "seconds_delay": 0,
            "maker_base_fee": 1000,
            "taker_base_fee": 1000,
            "neg_risk": False,
            "is_50_50_outcome": False,
            "tokens": tokens,
        }


def _unknown_route() -> Answer:
    return gamma_error(404, "not found", "route not found")
