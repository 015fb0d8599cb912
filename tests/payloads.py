"""Recorded answers of the venue: they lie beside the project, and are no part of it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderbooks_spider.polymarket.market import decode

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference" / "payloads" / "polymarket"
_NAUTILUS = "nautilus_trader/crates/adapters/polymarket/test_data"

OPEN_MARKETS = (f"{_NAUTILUS}/gamma_market.json", "excerpts/gamma_market_open_5m_2026-08-15.json")
ODD_MARKETS = (
    f"{_NAUTILUS}/gamma_market_closed_nonbinary_legacy.json",
    f"{_NAUTILUS}/gamma_market_closed_binary_accepting_false.json",
)
OTHER_EVENTS = f"{_NAUTILUS}/gamma_event.json"
BOOK_OF_2024 = (
    "nautilus_trader/tests/integration_tests/adapters/polymarket/resources/http_responses/book.json"
)
ERROR_BODIES = "excerpts/error_bodies.json"


def recorded(name: str) -> Path:
    """The recorded file *name*; the test is skipped where it is absent."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no recorded payload {name}: expected under ../shared/reference/payloads/polymarket")
    return path


class _Replay(msgspec.Struct):
    books: list[msgspec.Raw]


def books() -> list[bytes]:
    """The text of every recorded book in the shape of ``/book``."""
    folder = recorded("derived")
    texts = []
    for path in sorted(folder.glob("rest_book_replay_*.jsonl.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        texts += [bytes(book) for line in lines for book in msgspec.json.decode(line, type=_Replay).books]
    return texts


class _Vector(msgspec.Struct):
    variant: str
    book: msgspec.Raw


def hash_vectors() -> list[tuple[str, bytes]]:
    """(variant, text) of the books whose hash was recomputed elsewhere."""
    lines = recorded("derived/book_hash_vectors.jsonl").read_bytes().splitlines()
    vectors = [msgspec.json.decode(line, type=_Vector) for line in lines]
    return [(vector.variant, bytes(vector.book)) for vector in vectors]


def closed_markets() -> list[dict[str, Any]]:
    """The Gamma objects of a day of closed 5-minute markets."""
    path = recorded("ligengxin96/samples/BTC-5m-markets-2026-06-08.jsonl.gz")
    return [decode(line)["raw"] for line in gzip.decompress(path.read_bytes()).splitlines()]


def market(name: str) -> dict[str, Any]:
    """One recorded Gamma object."""
    return dict(decode(recorded(name).read_bytes()))
