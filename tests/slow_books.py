"""The rows of ``books`` computed a second time: json and decimal alone, a body at a time, nothing shared.

Slow on purpose.  The tests compare the dataset with this, and with recorded answers through this.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orderbooks_spider.normalize.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orderbooks_spider.items import PollItem

KEYS = (
    "market", "asset_id", "timestamp", "hash", "bids", "asks",
    "min_order_size", "tick_size", "neg_risk", "last_trade_price",
)  # fmt: skip
TEXTS = KEYS[:4]
OPTIONAL = ("min_order_size", "tick_size", "last_trade_price")
PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
BOOK_CHECKS = (
    "unrepresentable", "empty", "one_sided", "crossed", "locked", "ghost", "off_tick", "duplicate_level",
    "non_positive_size",
)  # fmt: skip
"""Checks that need a readable book."""
Book = dict[str, Any]
KEPT = (
    "environment", "venue", "collector_id", "market_slug", "condition_id", "token_id", "outcome", "slot",
    "due_ns", "sent_ns", "received_ns", "elapsed_ns", "run_id", "seq",
)  # fmt: skip
"""Columns that are keys of the raw row."""
Levels = list[tuple[Decimal | None, Decimal | None]]


def number(text: str, digits: int, scale: int) -> Decimal | None:
    """*text* as an exact decimal with at most *scale* of *digits* digits behind the point; else ``None``."""
    if PLAIN.fullmatch(text) is None:
        return None
    whole, _, fraction = text.lstrip("-").lstrip("0").partition(".")
    fits = len(whole) <= digits - scale and len(fraction.rstrip("0")) <= scale
    return Decimal(text) if fits else None


def price(text: str) -> Decimal | None:
    """A DECIMAL(9,4)."""
    return number(text, 9, 4)


def size(text: str) -> Decimal | None:
    """A DECIMAL(18,6)."""
    return number(text, 18, 6)


def read(body: str | None, token_id: str) -> Book | None:
    """The book in *body*; ``None`` where it is none of this token."""
    try:
        book = json.loads(body or "")
    except ValueError:
        return None
    if not isinstance(book, dict) or not all(isinstance(book.get(key), str) for key in TEXTS):
        return None
    if not all(isinstance(book.get(key), str | None) for key in OPTIONAL):
        return None
    if not isinstance(book.get("neg_risk"), bool | None) or book["asset_id"] != token_id:
        return None
    sides = [book.get(side) for side in ("bids", "asks")]
    return book if all(isinstance(side, list) and all(map(_is_level, side)) for side in sides) else None


def _is_level(level: Any) -> bool:
    return isinstance(level, dict) and all(isinstance(level.get(key), str) for key in ("price", "size"))


def levels(book: Book, side: str) -> Levels:
    """The levels of one side, best first, of equal prices the larger first, without a price last."""
    found = [(price(level["price"]), size(level["size"])) for level in book[side]]
    sign = -1 if side == "bids" else 1
    return sorted(
        found,
        key=lambda level: (
            level[0] is None,
            sign * (level[0] or 0),
            level[1] is None,
            -(level[1] or 0),
        ),
    )


def hash_state(book: Book) -> str:
    """Whether the book's own hash is the hash of its text."""
    if any(book.get(key) is None for key in ("min_order_size", "tick_size", "neg_risk")):
        return "unverifiable"
    covered = KEYS if book.get("last_trade_price") is not None else KEYS[:-1]
    plain = {key: book[key] for key in covered} | {"hash": ""}
    for side in ("bids", "asks"):
        plain[side] = [{"price": level["price"], "size": level["size"]} for level in book[side]]
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    return "agrees" if hashlib.sha1(text.encode()).hexdigest() == book["hash"] else "disagrees"


def rows(members: Sequence[Sequence[PollItem]], interval_ns: int | None) -> list[dict[str, Any]]:
    """The rows that the answered polls of a segment, given by gzip member, must become; sorted."""
    found: list[dict[str, Any]] = []
    for member, items in enumerate(members):
        for line, item in enumerate(items):
            if item.result == "ok":
                place = {"raw_member": member, "raw_line": line}
                found.append(_row(item, interval_ns) | place)
    found.sort(key=lambda row: (row["token_id"], row["due_ns"], row["seq"]))
    _compare_mirrors(found)
    before: dict[str, dict[str, Any]] = {}
    for row in found:
        _compare_before(row, before.get(row["token_id"]))
        if row["bids"] is not None:
            before[row["token_id"]] = row
    return found


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the dataset in this module's form: masks as True, False or None, levels as pairs."""
    flags, unverifiable = row.pop("flags"), row.pop("unverifiable")
    assert flags & unverifiable == 0
    row["checks"] = {c.name: None if unverifiable & c.mask else bool(flags & c.mask) for c in CHECKS}
    for side in ("bids", "asks"):
        if row[side] is not None:
            row[side] = [(level["price"], level["size"]) for level in row[side]]
    return row


def _row(item: PollItem, interval_ns: int | None) -> dict[str, Any]:
    """One row without what other rows decide; checks are True (found), False or None (unverifiable)."""
    book = read(item.body if item.body_encoding is None else None, item.token_id)
    row = {key: getattr(item, key) for key in KEPT}
    sides = {side: levels(book, side) if book else None for side in ("bids", "asks")}
    row |= sides | {"venue_hash": book["hash"] if book else None}
    for side, name in (("bids", "bid"), ("asks", "ask")):
        row |= _side(name, sides[side])
    bid, ask = row["best_bid_price"], row["best_ask_price"]
    both = bid is not None and ask is not None
    row["spread"] = ask - bid if both and abs(ask - bid) < 100_000 else None
    row["mid"] = (bid + ask) / 2 if both else None
    row |= _said(book)
    row["hash_state"] = hash_state(book) if book else "unverifiable"
    row["checks"] = _checks(item, book, row, interval_ns)
    return row


def _side(name: str, found: Levels | None) -> dict[str, Any]:
    """Best level and depths of one side."""
    sized = [(value, amount) for value, amount in found or () if value is not None and amount is not None]
    is_priced = found is not None and all(value is not None for value, _ in found)
    is_whole = found is not None and len(sized) == len(found)
    best = found[0] if found and is_priced else (None, None)
    side: dict[str, Any] = {f"best_{name}_price": best[0], f"best_{name}_size": best[1]}
    side[f"{name}_levels"] = None if found is None else len(found)
    reaches = {"": Decimal(10**9), "_1c": Decimal("0.01"), "_2c": Decimal("0.02"), "_5c": Decimal("0.05")}
    for suffix, reach in reaches.items():
        total = sum((amount for value, amount in sized if abs(value - sized[0][0]) <= reach), Decimal(0))
        side[f"{name}_depth{suffix}"] = total if is_whole and abs(total) < 10**12 else None
    return side


def _said(book: Book | None) -> dict[str, Any]:
    book = book or {}
    stamp = book.get("timestamp", "")
    is_time = re.fullmatch(r"[0-9]{1,13}", stamp) is not None
    return {
        "ts_event_ns": int(stamp) * 1_000_000 if is_time else None,
        "last_trade_price": price(book.get("last_trade_price") or ""),
        "tick_size": price(book.get("tick_size") or ""),
        "min_order_size": size(book.get("min_order_size") or ""),
        "neg_risk": book.get("neg_risk"),
    }


def _checks(
    item: PollItem, book: Book | None, row: dict[str, Any], interval_ns: int | None
) -> dict[str, bool | None]:
    if book is None:
        return dict.fromkeys(BOOK_CHECKS) | {"unreadable": True} | _times(item, row, interval_ns)
    sides = [row["bids"], row["asks"]]
    prices = [value for side in sides for value, _ in side]
    sizes = [amount for side in sides for _, amount in side]
    priced = [[value for value, _ in side if value is not None] for side in sides]
    bid, ask, tick = (row[key] for key in ("best_bid_price", "best_ask_price", "tick_size"))
    both = bid is not None and ask is not None
    off_tick = any(tick and (value % tick != 0 or not 0 < value < 1) for side in priced for value in side)
    too_wide = both and row["spread"] is None
    too_deep = any(row[key] is None for key in row if "_depth" in key)
    odd = _is_odd(book, row) or None in prices or None in sizes or too_wide or too_deep
    return {
        "unreadable": False,
        "unrepresentable": odd,
        "empty": not prices,
        "one_sided": bool(sides[0]) != bool(sides[1]),
        "crossed": bid > ask if both else None,
        "locked": bid == ask if both else None,
        "ghost": bid <= Decimal("0.01") and ask >= Decimal("0.99") if both else None,
        "off_tick": _known(off_tick, prices) if tick is not None and tick > 0 else None,
        "duplicate_level": _known(any(len(set(side)) < len(side) for side in priced), prices),
        "non_positive_size": _known(any(amount is not None and amount <= 0 for amount in sizes), sizes),
    } | _times(item, row, interval_ns)


def _is_odd(book: Book, row: dict[str, Any]) -> bool:
    """Whether a value besides the levels is there and does not fit."""
    said = [(book.get(key), row[key]) for key in ("min_order_size", "tick_size", "last_trade_price")]
    no_trade = book.get("last_trade_price") == ""
    return row["ts_event_ns"] is None or any(
        text is not None and value is None for text, value in (said[:2] if no_trade else said)
    )


def _times(item: PollItem, row: dict[str, Any], interval_ns: int | None) -> dict[str, bool | None]:
    stamp, start, end = row["ts_event_ns"], _ns(item.window_start), _ns(item.window_end)
    age = item.received_ns - stamp if stamp is not None and item.received_ns is not None else None
    late = item.sent_ns - item.due_ns if item.sent_ns is not None else None
    return {
        "hash": {"agrees": False, "disagrees": True, "unverifiable": None}[row["hash_state"]],
        "venue_time_ahead": None if age is None else age < 0,
        "unchanged_long": None if age is None else age > 30 * 10**9,
        "outside_window": not start <= item.due_ns < end,
        "late": None if late is None or interval_ns is None else late > interval_ns // 2,
    }


def _known(found: bool, values: Iterable[Decimal | None]) -> bool | None:
    """A finding stands; nothing found says nothing where a value is missing."""
    return True if found else None if None in values else False


def _compare_mirrors(found: list[dict[str, Any]]) -> None:
    groups: defaultdict[tuple[int, str, int], defaultdict[str, list[dict[str, Any]]]]
    groups = defaultdict(lambda: defaultdict(list))
    for row in found:
        row["mirror_state"] = "unverifiable"
        whole = row["bids"] is not None and not any(None in level for level in row["bids"] + row["asks"])
        if whole and row["ts_event_ns"] is not None:
            groups[row["raw_member"], row["condition_id"], row["ts_event_ns"]][row["token_id"]].append(row)
    for tokens in groups.values():
        shapes = [[(row["bids"], row["asks"]) for row in books] for books in tokens.values()]
        if len(shapes) != 2 or any(shape != books[0] for books in shapes for shape in books):
            continue
        (bids, asks), other = shapes[0][0], shapes[1][0]
        turned = [[(1 - value, amount) for value, amount in side] for side in (asks, bids)]
        state = "agrees" if turned == list(other) else "disagrees"
        for books in tokens.values():
            for row in books:
                row["mirror_state"] = state
    for row in found:
        row["checks"]["mirror"] = {"agrees": False, "disagrees": True, "unverifiable": None}[
            row["mirror_state"]
        ]


def _compare_before(row: dict[str, Any], before: dict[str, Any] | None) -> None:
    """What only the token's previous readable book tells."""
    known = row["bids"] is not None and before is not None
    row["changed"] = (
        (row["bids"], row["asks"]) != (before["bids"], before["asks"]) if known and before else None
    )
    for check, key in (("venue_time_back", "ts_event_ns"), ("tick_size_changed", "tick_size")):
        now, then = row[key], before[key] if before else None
        can = now is not None and then is not None
        row["checks"][check] = (now < then if key == "ts_event_ns" else now != then) if can else None


def _ns(text: str) -> int:
    """``2026-04-16T08:35:00Z`` in ns; whole seconds only."""
    return round(datetime.fromisoformat(text).timestamp()) * 10**9
