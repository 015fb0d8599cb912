"""What is claimed of the venue's public sources, where it is claimed, and what it is held against.

Sources begin with a page or module of ours where it is relied on, then name what it rests on.
"""

from __future__ import annotations

from typing import Final

from orderbooks_spider.polymarket.probe import checks_books as books
from orderbooks_spider.polymarket.probe import checks_markets as markets
from orderbooks_spider.polymarket.probe import steps
from orderbooks_spider.polymarket.probe.judge import Claim, Question, not_asked
from orderbooks_spider.polymarket.windows import SERIES

_LISTED: Final = "venue docs: list events (keyset)"
_BOOK_DOCS: Final = "venue docs: prices and order books"
_BATCH_DOCS: Final = "venue docs: request body of /books"
_LIMITS: Final = "venue docs: rate limits (2026-06-18)"
_CHANNEL: Final = "venue docs: market channel"
_CLIENT: Final = "the venue's Python client 0.14"
_METHOD: Final = "docs/METHODOLOGY.md"
_COLLECTOR: Final = "docs/POLYMARKET_COLLECTOR.md"
_CONTRACT: Final = "docs/DATA_CONTRACT.md"
_GLOSSARY: Final = "docs/glossary.md"
_ENDPOINTS: Final = "orderbooks_spider/polymarket/endpoints.py"
_MARKET: Final = "orderbooks_spider/polymarket/market.py"
_BOOK: Final = "orderbooks_spider/polymarket/book.py"
_WINDOWS: Final = "orderbooks_spider/polymarket/windows.py"
_584: Final = "recorded: 584 markets of 2026"
_BOOKS_RECORDED: Final = "recorded: 175,829 books of 2026-04-16"


_OTHER_HOST = "the config's hosts are Gamma and the CLOB, and nothing is sent to another"

QUESTIONS: Final = (
    Question(
        "How are active markets discovered?",
        "`GET /events/keyset` by series id with `closed=false` and the window's dates; "
        "`GET /events/slug/{slug}` for windows that the calendar demands.",
        (*steps.LISTINGS, *steps.BY_SLUG.values(), steps.UNKNOWN_SLUG),
        (
            Claim(
                "A listing by series answers `events`, each with its `markets`",
                (_METHOD, _LISTED),
                markets.listing,
            ),
            Claim(
                "`end_date_min` and `start_time_max` keep the events of a span",
                (_COLLECTOR, _LISTED),
                markets.dates,
            ),
            Claim("Every 5-minute window of the next half hour is listed", (_METHOD,), markets.calendar),
            Claim(
                "5m markets are created at least 23 h before their window",
                (_584,),
                markets.listed_a_day_before,
            ),
            Claim("`after_cursor` gives the next page", (_ENDPOINTS, _LISTED), markets.next_page),
            Claim(
                "`cursor` instead is ignored: page one again",
                (_ENDPOINTS, "reported: Polymarket/agents issue 227"),
                markets.cursor_is_ignored,
            ),
            Claim("The last page has no `next_cursor`", (_LISTED,), markets.last_page),
            Claim(
                "Without `closed` only closed events come, so it is always sent",
                (_ENDPOINTS, "reported of the older endpoint: Polymarket/polymarket-cli issue 71"),
                markets.without_closed,
            ),
            Claim(
                "A 5m, 15m or 4h event is found by the slug of its start", (_METHOD, _584), markets.by_slug
            ),
            Claim("An unknown slug is a 404", ("venue docs: get event by slug",), markets.unknown_slug),
        ),
    ),
    Question(
        "How are BTC up/down markets told from others?",
        "By their five series, whose ids `GET /series?slug=…` gives; "
        "then by slug, outcomes and window length.",
        tuple(steps.SERIES_ID.values()),
        (
            Claim(
                "The series have the ids "
                + ", ".join(f"{series.fallback_id} ({window})" for window, series in SERIES.items()),
                (_WINDOWS, "recorded for 5m, other clients for the rest"),
                markets.series_ids,
            ),
            Claim(
                "Every market of these series is a BTC up/down market",
                (_MARKET, _584),
                markets.only_up_or_down,
            ),
        ),
    ),
    Question(
        "How are condition and token ids resolved?",
        "From Gamma's market: `conditionId`, and `clobTokenIds` paired with `outcomes` by place.",
        (steps.LISTING, steps.SEVERAL, steps.CLOB_MARKET),
        (
            Claim("`conditionId` is 0x and 64 hex digits", (_GLOSSARY, _584), markets.condition_ids),
            Claim(
                "`clobTokenIds` and `outcomes` are lists of two as JSON text inside a string",
                (_MARKET, _584),
                markets.token_ids,
            ),
            Claim(
                "`outcomes` is Up, Down in that order (paired by label all the same)",
                (_MARKET, _584),
                markets.up_first,
            ),
            Claim(
                "The CLOB's `GET /markets/{condition_id}` has the same tokens",
                (_CLIENT, "recorded: one market of 2026-08-15"),
                markets.clob_tokens,
            ),
        ),
    ),
    Question(
        "How is one book fetched?",
        "`GET /book?token_id=…`: the full book of one token, no key needed.",
        steps.ONE_BOOK,
        (
            Claim("A token of an open market has a book", (_COLLECTOR, _BOOK_DOCS), books.one_book),
            Claim(
                "`market` is the condition id, `asset_id` the token",
                (_GLOSSARY, _BOOK_DOCS),
                books.names_its_market,
            ),
            Claim(
                "Levels come worst first: the best is the last",
                (_GLOSSARY, _BOOKS_RECORDED),
                books.worst_first,
            ),
            Claim(
                "The hash recomputes from the text", (_BOOK, "recorded: books of 2025 and 2026"), books.hashes
            ),
            Claim(
                "The two tokens' books are mirrors, with one `last_trade_price`",
                (_GLOSSARY, "recorded: 5,268 pairs"),
                books.mirror,
            ),
            Claim(
                "A token without a book is a 404 with an error text",
                (_COLLECTOR, _BOOK_DOCS),
                books.unknown_token,
            ),
            Claim(
                "Once its market is closed it is a 404",
                (_COLLECTOR, "other clients"),
                markets.no_book_once_closed,
            ),
        ),
    ),
    Question(
        "How are many books fetched at once?",
        "`POST /books` with a list of token ids; answers are matched by `asset_id`.",
        (*steps.BATCHES, steps.BOOKS_TWICE),
        (
            Claim("A batch answers an array of books", (_COLLECTOR, _BATCH_DOCS), books.many_books),
            Claim("Each token of an open market is in it", (_COLLECTOR,), books.all_books),
            Claim(
                "A token without a book is left out",
                (_COLLECTOR, "reported: 271 books for 500 tokens"),
                books.left_out,
            ),
            Claim(
                "At most 500 tokens, 501 are refused",
                (_ENDPOINTS, "reported: 2026-05-28"),
                not_asked("a batch of 501 would burden the venue to learn nothing that is needed"),
            ),
        ),
    ),
    Question(
        "Is there a market websocket?",
        "By the documentation `wss://ws-subscriptions-clob.polymarket.com/ws/market`; "
        "this project does not use it.",
        (),
        (
            Claim(
                "It takes a list of token ids and sends books and changes",
                (_CHANNEL, "recorded: 2026-09-21"),
                not_asked(f"{_OTHER_HOST}; a websocket is neither GET nor POST"),
            ),
        ),
    ),
    Question(
        "How are trades fetched?",
        "By the documentation `GET https://data-api.polymarket.com/trades`; "
        "a book names the last trade's price.",
        (),
        (
            Claim("`/trades` answers a market's trades", ("venue docs: data API",), not_asked(_OTHER_HOST)),
            Claim(
                "A book carries `last_trade_price`, empty before the first",
                (_GLOSSARY, _BOOK_DOCS),
                books.last_trade,
            ),
        ),
    ),
    Question(
        "Which rate limits hold?",
        "Documented per IP and ten seconds: `/book` 1,500, `/books` 500, `/events` 500; "
        "above them answers are delayed, then refused.",
        (*steps.LISTINGS, *steps.ONE_BOOK, *steps.BATCHES),
        (
            Claim("At this probe's pace nothing is refused", (_COLLECTOR, _LIMITS), books.none_refused),
            Claim("Reads carry no headers about limits", (_CLIENT,), books.no_limit_headers),
            Claim(
                "Above the limit answers are delayed before any is refused",
                (_COLLECTOR, _LIMITS),
                not_asked("to reach a limit would burden the venue"),
            ),
        ),
    ),
    Question(
        "Which fields are returned?",
        f"Of a book {', '.join(books.BOOK_KEYS)}; of a Gamma market some 80, of which the collector reads "
        f"{len(markets.MARKET_FIELDS)}, some absent when empty; all names stand below.",
        (steps.LISTING, steps.SEVERAL, *steps.ONE_BOOK, *steps.BATCHES),
        (
            Claim("A book has ten keys in the order of its hash", (_BOOK, _BOOK_DOCS), books.book_fields),
            Claim(
                "Its numbers are text, plain decimals without trailing zeros",
                (_BOOK, _BOOKS_RECORDED),
                books.texts,
            ),
            Claim(
                "An open market has every field that the collector reads",
                (_MARKET, _584),
                markets.market_fields,
            ),
        ),
    ),
    Question(
        "Which timestamps are there?",
        "Of a window `eventStartTime` and `endDate`; of a book `timestamp`, the ms of its last change; "
        "and `GET /time`.",
        (steps.TIME, steps.LISTING, *steps.SAME_BOOK, steps.ENDED_EVENT),
        (
            Claim(
                "`timestamp` is ms as text, and not after the answer",
                (_METHOD, _BOOK_DOCS),
                books.last_change,
            ),
            Claim(
                "The window's start stands in the slug, its end 300 s later, `startDate` is the listing",
                (_GLOSSARY, _584),
                markets.window_times,
            ),
            Claim("`GET /time` is the second of now", (_CLIENT,), books.venue_clock),
            Claim(
                "`closedTime` is seconds to minutes after the end (15 s to 316 s)",
                (_METHOD, _584),
                markets.closing_delay,
            ),
        ),
    ),
    Question(
        "What does nobody document?",
        "The collector assumes the sentences below where it must, and works either way.",
        (steps.SEVERAL, *steps.SAME_BOOK, *steps.BATCHES, steps.BOOKS_TWICE, *steps.ENDED),
        (
            Claim("`/book` is not served from the edge's cache", (_CONTRACT,), books.not_cached, open=True),
            Claim(
                "Several `series_id` combine in one call",
                (_ENDPOINTS, "other clients"),
                markets.several_series,
                open=True,
            ),
            Claim(
                "`/books` does not keep the request's order", (_ENDPOINTS,), books.another_order, open=True
            ),
            Claim(
                "`/books` answers a token that is asked for twice once",
                (_ENDPOINTS,),
                books.answered_once,
                open=True,
            ),
            Claim(
                "Markets of all five lengths are created 2 h before their window or more "
                "(`discovery.horizon_seconds`)",
                (_COLLECTOR, "one recorded hourly market"),
                markets.listed_in_time,
                open=True,
            ),
            Claim(
                "No market trades under position ids (protocol v2)",
                (_CLIENT,),
                markets.no_position_ids,
                open=True,
            ),
            Claim(
                "Between its end and its closing a market's book keeps its last state",
                (_METHOD,),
                markets.book_until_closing,
                open=True,
            ),
            Claim(
                "Once it is closed it is not in `closed=false` any more",
                (_METHOD,),
                markets.leaves_open_listing,
                open=True,
            ),
        ),
    ),
)
"""In the order of checkpoint 2 of ``ROADMAP.md``; last what nobody documents."""
