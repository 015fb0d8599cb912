"""One request to the order-book host, and the rows that it ends in: one per token, whatever happens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.items import PollItem, Rows
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.answers import BookPart, result_of, result_of_book, split_books, text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orderbooks_spider.config import Config
    from orderbooks_spider.gate import Gate
    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.spiders.fetch import Fetcher
    from orderbooks_spider.universe import Token

logger = logging.getLogger(__name__)

_LEFT_OUT = BookPart(b"", "no_book", "left_out")


class Poller:
    """Polls the tokens of one request; *emit* takes the rows, *heed* sees each answer before them."""

    def __init__(
        self,
        config: Config,
        fetcher: Fetcher,
        emit: Callable[[PollItem | Rows], Awaitable[None]],
        heed: Callable[[Answer], Awaitable[None]],
    ) -> None:
        self._clob_url = config.venue.clob_url
        self._single = config.polling.mode == "book"
        self._fetcher = fetcher
        self._emit = emit
        self._heed = heed

    async def poll(self, tokens: list[Token], slot: int, due_ns: int, gate: Gate) -> None:
        """Poll; a bug on the way costs this slot its book, never its row nor the token its future."""
        try:
            if self._single:
                await self._poll_one(tokens[0], slot, due_ns, gate)
            else:
                await self._poll_batch(tokens, slot, due_ns, gate)
        except Exception:
            logger.exception("a poll failed by an internal error")
            for token in tokens:
                if token.in_flight:
                    token.in_flight = False
                    await self._emit(row_of(token, slot, due_ns, "invalid_body", "internal_error"))

    async def _poll_one(self, token: Token, slot: int, due_ns: int, gate: Gate) -> None:
        answer = await self._fetcher.fetch(endpoints.book(self._clob_url, token.token_id), gate)
        result, reason = result_of(answer)
        if result == "ok":
            result, reason = result_of_book(answer.body, token.token_id)
        await self._heed(answer)
        item = row_of(token, slot, due_ns, result, reason)
        _fill(item, answer, answer.body)
        token.in_flight = False
        await self._emit(item)

    async def _poll_batch(self, tokens: list[Token], slot: int, due_ns: int, gate: Gate) -> None:
        ask = endpoints.books(self._clob_url, [token.token_id for token in tokens])
        answer = await self._fetcher.fetch(ask, gate)
        await self._heed(answer)
        result, reason = result_of(answer)
        parts: dict[str, BookPart] | None = None
        if result == "ok":
            try:
                parts = split_books(answer.body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                result, reason = "invalid_body", "not_a_list_of_books"
        rows = []
        for position, token in enumerate(tokens):
            # An answer that is no list of books is kept whole, once: on the first token's row.
            text = answer.body if parts is None and position == 0 else b""
            if parts is not None:
                text, result, reason = parts.get(token.token_id, _LEFT_OUT)
            item = row_of(token, slot, due_ns, result, reason)
            item.params = {"token_id": token.token_id}
            item.batch = len(tokens)
            _fill(item, answer, text)
            token.in_flight = False
            rows.append(item)
        await self._emit(Rows(rows))


def row_of(token: Token, slot: int, due_ns: int, result: str, reason: str | None) -> PollItem:
    """The row of a slot, with nothing yet of a request."""
    plan = token.plan
    return PollItem(
        slot=slot,
        due_ns=due_ns,
        result=result,
        reason=reason,
        market_slug=plan.market_slug,
        condition_id=plan.condition_id,
        token_id=token.token_id,
        outcome=token.outcome,
        window_start=plan.window_start,
        window_end=plan.window_end,
    )


def _fill(item: PollItem, answer: Answer, body: bytes) -> None:
    """Put what *answer* tells of the request onto the row; *body* is this token's part of it."""
    item.sent_ns = answer.sent_ns
    item.received_ns = answer.received_ns
    item.elapsed_ns = answer.elapsed_ns
    item.status = answer.status
    item.method = answer.ask.method
    item.url = answer.ask.url
    item.params = item.params or answer.ask.params
    item.request_id = answer.request_id
    item.headers = answer.headers or None
    item.body, item.body_encoding = text_of(body)
