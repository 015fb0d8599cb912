from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.items import RESULTS
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.answers import (
    Answer,
    kept,
    result_of,
    result_of_book,
    split_books,
    text_of,
)
from orderbooks_spider.polymarket.endpoints import Ask
from tests import payloads

CLOB, GAMMA = "https://clob.polymarket.com", "https://gamma-api.polymarket.com"
HTML = b"<!DOCTYPE html>\n<title>Attention Required! | Cloudflare</title>"
START_NS = 1_776_323_400_000_000_000


def answer(status: int | None = 200, body: bytes = b"{}", **fields: Any) -> Answer:
    """An answer of the order-book host."""
    return Answer(ask=Ask(f"{CLOB}/book"), request_id="r", status=status, body=body, **fields)


def book(token_id: str = "7", **changes: Any) -> bytes:
    """The text of a small book."""
    fields = {"market": "0xab", "asset_id": token_id, "timestamp": "1", "hash": "x", "bids": [], "asks": []}
    return json.dumps(fields | changes).encode()


EXPECTED_OF_RECORDED = {
    ("GET /book", 404): ("no_book", "not_found"),
    ("GET /book", 400): ("http_error", "venue_error"),
    ("POST /books", 400): ("http_error", "venue_error"),
    ("GET /book", 500): ("http_error", "venue_error"),
    ("order endpoints", 425): ("http_error", "venue_error"),
    ("any", 429): ("throttled", "venue_error"),
    ("POST /auth/api-key", 403): ("http_error", "edge_html"),
    ("GET /events/keyset?offset=..", 422): ("http_error", "venue_error"),
    ("GET /events/keyset", 500): ("http_error", "venue_error"),
}


def test_recorded_errors_have_their_results() -> None:
    """Every recorded error, of the application and of the edge, gets its result and reason."""
    rows = json.loads(payloads.recorded(payloads.ERROR_BODIES).read_bytes())
    assert len(rows) == 10
    for row in rows:
        body = json.dumps(row["body"]) if "body" in row else row["body_start"]
        seen = result_of(answer(row["status"], body.encode()))
        assert seen == EXPECTED_OF_RECORDED[row["endpoint"], row["status"]]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"anything", ("ok", None)),
        (404, HTML, ("http_error", "edge_html")),
        (404, b"", ("http_error", "no_error_body")),
        (404, b'{"error": 5}', ("http_error", "no_error_body")),
        (404, b'["error"]', ("http_error", "no_error_body")),
        (404, b"[" * 100_000, ("http_error", "no_error_body")),
        (429, b" \n" + HTML, ("throttled", "edge_html")),
        (429, b"", ("throttled", "no_error_body")),
        (302, b"", ("http_error", "redirect")),
        (502, b"\xff\xfe", ("http_error", "no_error_body")),
    ],
)
def test_result_by_status(status: int, body: bytes, expected: tuple[str, str | None]) -> None:
    """Only the application's own 404 means that there is no book; the edge's pages are errors."""
    assert result_of(answer(status, body)) == expected


def test_truncated_answer_is_invalid() -> None:
    """An answer that broke off is invalid whatever its status, and is not usable."""
    for status in (200, 404, 500):
        broken = answer(status, book(), truncated=True)
        assert (result_of(broken), broken.usable) == (("invalid_body", "truncated"), False)


def test_failure_names_itself() -> None:
    """Where no answer came, the result is that of the failure."""
    failed = answer(None, b"", failure=("timeout", "TimeoutError"))
    assert (result_of(failed), failed.usable) == (("timeout", "TimeoutError"), False)


@pytest.mark.parametrize(("status", "usable"), [(200, True), (204, False), (404, False), (500, False)])
def test_only_a_whole_200_is_usable(status: int, usable: bool) -> None:
    """Discovery reads answers with status 200 alone."""
    assert answer(status).usable == usable


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (book(), ("ok", None)),
        (b"\n " + book() + b"\n", ("ok", None)),
        (book(event_type="book", extra=[1]), ("ok", None)),
        (b'{"asset_id": "8", ' + book()[1:], ("ok", None)),
        (book()[:-1] + b', "asset_id": "8"}', ("invalid_body", "wrong_token")),
        (book("8"), ("invalid_body", "wrong_token")),
        (b"", ("invalid_body", "empty_body")),
        (b"   ", ("invalid_body", "not_json")),
        (HTML, ("invalid_body", "html")),
        (b"\n\t<html>", ("invalid_body", "html")),
        (b"OK", ("invalid_body", "not_json")),
        (book()[:40], ("invalid_body", "not_json")),
        (book() + book(), ("invalid_body", "not_json")),
        (book(timestamp=float("nan")), ("invalid_body", "not_json")),
        (b"\xef\xbb\xbf" + book(), ("invalid_body", "not_json")),
        (b"\x1f\x8b\x08\x00", ("invalid_body", "not_utf8")),
        (book("7").replace(b"0xab", b"\xff\xfe"), ("invalid_body", "not_utf8")),
        (b"[]", ("invalid_body", "not_a_book")),
        (b"null", ("invalid_body", "not_a_book")),
        (b'{"error": "No orderbook exists"}', ("invalid_body", "not_a_book")),
        (book(bids=[{"price": 0.5, "size": 1}]), ("invalid_body", "not_a_book")),
        (book(bids=None), ("invalid_body", "not_a_book")),
        (book()[:-1] + b', "deep": ' + b"[" * 100_000, ("invalid_body", "too_deep")),
        (b"[" * 100_000, ("invalid_body", "not_a_book")),
    ],
)
def test_result_of_a_200_body(body: bytes, expected: tuple[str, str | None]) -> None:
    """Each way in which a body can be no book of the token asked for has one result and reason."""
    assert result_of_book(body, "7") == expected


@given(body=st.binary() | st.text().map(str.encode), status=st.integers(100, 599) | st.none())
def test_any_answer_has_a_result(body: bytes, status: int | None) -> None:
    """Whatever bytes come under whatever status, the row gets a known result and no exception."""
    assert result_of(answer(status, body))[0] in RESULTS
    assert result_of_book(body, "7")[0] in RESULTS
    assert result_of_book(msgspec.Raw(body), "7") == result_of_book(body, "7")


@given(cut=st.integers(0, len(book()) - 1))
def test_cut_book_is_invalid(cut: int) -> None:
    """A book cut anywhere is never taken for a whole one."""
    assert result_of_book(book()[:cut], "7")[0] == "invalid_body"


def test_recorded_books_are_ok() -> None:
    """Every recorded book is an answer to the question for its token."""
    texts = payloads.books()
    results = {result_of_book(text, msgspec.json.decode(text)["asset_id"]) for text in texts}
    assert results == {("ok", None)}


@given(body=st.binary(min_size=1) | st.text(min_size=1).map(str.encode))
def test_body_round_trip(body: bytes) -> None:
    """A row's body gives back the bytes that came, as text where they are text."""
    text, encoding = text_of(body)
    assert text is not None
    assert (base64.b64decode(text) if encoding == "base64" else text.encode()) == body
    assert (encoding is None) == (body.decode("utf-8", "replace").encode() == body)


def test_body_of_nothing() -> None:
    """An answer without a body has none on its row."""
    assert text_of(b"") == (None, None)


SPACE = st.text(" \t\r\n", max_size=3)
TOKENS = st.from_regex(r"[0-9]{1,78}", fullmatch=True)


@st.composite
def laid_out(draw: st.DrawFn, token_id: str) -> str:
    """The text of one book, with odd spaces, escapes and further keys in any order."""
    members = [
        f'"asset_id"{draw(SPACE)}:{draw(SPACE)}{json.dumps(token_id)}',
        f'"market"{draw(SPACE)}: {json.dumps(draw(st.text()), ensure_ascii=draw(st.booleans()))}',
        '"bids":[{"price":"0.10","size":"\\u0031"}]',
        '"x":{"asset_id":"0","y":[1E5,-0.0,"]},{\\"\\\\"]}',
    ]
    inner = f"{draw(SPACE)},{draw(SPACE)}".join(draw(st.permutations(members)))
    return f"{{{draw(SPACE)}{inner}{draw(SPACE)}}}"


@given(data=st.data(), tokens=st.lists(TOKENS, unique=True, max_size=6))
def test_batch_is_split_verbatim(data: st.DataObject, tokens: list[str]) -> None:
    """Each book of a batch keeps its text to the byte, whatever the layout and in any order."""
    texts = {token: data.draw(laid_out(token)) for token in tokens}
    space = data.draw(SPACE)
    batch = f"{space}[{space}" + f"{space},{space}".join(texts.values()) + f"{space}]{space}"
    found = {token: part.text for token, part in split_books(batch.encode()).items()}
    assert found == {token: text.encode() for token, text in texts.items()}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        book(),
        b"[" + book() + b",",
        b"[" + book() + b", 5]",
        b'[{"token_id": "7"}]',
        b'[{"asset_id": 7}]',
        b'[{"asset_id": "7", "x": NaN}]',
        b'[{"asset_id": "7", "x": "\xff"}]',
        b"[" * 100_000,
        b'[{"asset_id": "7", "x": ' + b"[" * 100_000,
    ],
)
def test_batch_that_is_none_is_refused(body: bytes) -> None:
    """An answer that is no list of named books is refused by one of the documented errors."""
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)):
        split_books(body)


@given(body=st.binary() | st.text().map(str.encode))
def test_random_bytes_are_no_batch(body: bytes) -> None:
    """Random bytes are refused by one of the documented errors, and by no other."""
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)):
        split_books(body + b"x")


def test_kept_headers() -> None:
    """Headers that tell of caches and throttling are kept; cookies and the like are not."""
    headers = {"age": "3", "retry-after": "7", "poly-ratelimit-remaining": "1", "set-cookie": "x", "via": "y"}
    assert kept(headers) == {"age": "3", "retry-after": "7", "poly-ratelimit-remaining": "1"}


def test_book_requests() -> None:
    """A book is asked for by its token; a batch is one read-only POST that names each token."""
    batch = endpoints.books(CLOB, ["1", "2"])
    assert endpoints.book(CLOB, "1") == Ask(f"{CLOB}/book", {"token_id": "1"}, "GET", b"")
    assert (batch.url, batch.method, batch.params) == (f"{CLOB}/books", "POST", {})
    assert json.loads(batch.body) == [{"token_id": "1"}, {"token_id": "2"}]


def test_listing_requests() -> None:
    """Listings name series and state, dates in whole seconds, and the page by ``after_cursor``."""
    fixed = {"series_id": "10684", "limit": "500"}
    listing = endpoints.open_events(GAMMA, "10684", (START_NS, START_NS + 1))
    dates = {"end_date_min": "2026-04-16T07:10:00Z", "start_time_max": "2026-04-16T07:10:00Z"}
    assert listing == Ask(f"{GAMMA}/events/keyset", fixed | {"closed": "false"} | dates)
    assert endpoints.open_events(GAMMA, "10684", None).params == fixed | {"closed": "false"}
    ended = endpoints.ended_events(GAMMA, "10684", (START_NS, START_NS + 1), closed=True)
    around = {"end_date_min": "2026-04-16T07:09:59Z", "end_date_max": "2026-04-16T07:10:01Z"}
    assert ended.params == fixed | {"closed": "true"} | around
    assert endpoints.after(listing, "abc").params == listing.params | {"after_cursor": "abc"}
    assert endpoints.event_by_slug(GAMMA, "x").url == f"{GAMMA}/events/slug/x"
    assert endpoints.series_by_slug(GAMMA, "x") == Ask(f"{GAMMA}/series", {"slug": "x"})
