"""Holds prepared requests until their slot is due, so that their way through Scrapy costs no lateness."""

from __future__ import annotations

import asyncio

from orderbooks_spider.errors import OrderbooksError


class TurnedAwayError(OrderbooksError):
    """The slot had passed before the request could be sent."""


class Gate:
    """The start of one tick's requests: opened once, or closed for good."""

    def __init__(self) -> None:
        self._decided = asyncio.Event()
        self._turned_away = False

    def open(self) -> None:
        """Let everybody pass, now and later."""
        self._decided.set()

    def turn_away(self) -> None:
        """Let nobody pass, unless the gate is open already."""
        if not self._decided.is_set():
            self._turned_away = True
            self._decided.set()

    async def passed(self) -> None:
        """Wait for the start.

        Raises:
            TurnedAwayError: it will not come.

        """
        await self._decided.wait()
        if self._turned_away:
            raise TurnedAwayError("the slot has passed")
