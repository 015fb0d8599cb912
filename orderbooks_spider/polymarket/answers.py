"""What became of a request, and what result that gives a row.

The text of an answer is kept whatever it is; this module only names it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from orderbooks_spider.polymarket.book import Book

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.endpoints import Ask

KEPT_HEADERS = frozenset({
    "age", "cache-control", "cf-cache-status", "content-encoding", "content-length", "content-type",
    "date", "etag", "last-modified", "location", "retry-after", "server", "x-cache",
})  # fmt: skip
"""Headers that tell of caches, throttling and the form of the body; ``poly-ratelimit-*`` are kept too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request and its end.  Times are ns; ``failure`` is (result, reason) where no answer came."""

    ask: Ask
    request_id: str
    sent_ns: int | None = None
    received_ns: int | None = None
    elapsed_ns: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False
    failure: tuple[str, str] | None = None

    @property
    def usable(self) -> bool:
        """Whether it is a whole answer with status 200."""
        return self.failure is None and self.status == 200 and not self.truncated


def kept(headers: dict[str, str]) -> dict[str, str]:
    """Those of *headers* (lower-case names) that a row keeps."""
    return {
        name: value
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith("poly-ratelimit")
    }


def text_of(body: bytes) -> tuple[str | None, str | None]:
    """(body, body_encoding) of a row: the text, or base64 where the bytes are not UTF-8."""
    if not body:
        return None, None
    try:
        return body.decode("utf-8"), None
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), "base64"


def result_of(answer: Answer) -> tuple[str, str | None]:
    """(result, reason) by everything but a 200's body: that is :func:`result_of_book`'s."""
    if answer.failure is not None:
        return answer.failure
    if answer.truncated:
        return "invalid_body", "truncated"
    if answer.status == 200:
        return "ok", None
    if answer.status == 404 and _error_text(answer.body) is not None:
        return "no_book", "not_found"
    return "throttled" if answer.status == 429 else "http_error", _kind_of_error(answer)


def result_of_book(body: bytes | msgspec.Raw, token_id: str) -> tuple[str, str | None]:
    """(result, reason) of one book's text that came with status 200."""
    if not body:
        return "invalid_body", "empty_body"
    try:
        bytes(body).decode("utf-8")
        book = _book_decoder.decode(body)
    except UnicodeDecodeError:
        return "invalid_body", "not_utf8"
    except msgspec.ValidationError:
        return "invalid_body", "not_a_book"
    except msgspec.DecodeError:
        return "invalid_body", "html" if _is_html(bytes(body)) else "not_json"
    except RecursionError:
        return "invalid_body", "too_deep"
    return ("ok", None) if book.asset_id == token_id else ("invalid_body", "wrong_token")


class _Named(msgspec.Struct):
    asset_id: str


class BookPart(NamedTuple):
    """One book of a ``/books`` answer: its verbatim text, and what result that gives its row."""

    text: bytes
    result: str
    reason: str | None


def split_books(body: bytes) -> dict[str, BookPart]:
    """The books in an answer of ``POST /books`` by token id; they come in any order.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: the answer is no list of named objects.

    """
    body.decode("utf-8")  # msgspec.Raw would let other bytes through
    parts: dict[str, BookPart] = {}
    for raw in _list_decoder.decode(body):
        text = bytes(raw)
        try:
            parts[_book_decoder.decode(text).asset_id] = BookPart(text, "ok", None)
        except (msgspec.MsgspecError, RecursionError):
            token_id = _named_decoder.decode(text).asset_id
            parts[token_id] = BookPart(text, *result_of_book(text, token_id))
    return parts


_book_decoder = msgspec.json.Decoder(Book)
_named_decoder = msgspec.json.Decoder(_Named)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _error_text(body: bytes) -> str | None:
    """The venue's ``{"error": ...}``, which only the application sends, never the edge."""
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error if isinstance(error, str) else None


def _kind_of_error(answer: Answer) -> str:
    if answer.status is not None and 300 <= answer.status < 400:
        return "redirect"  # never followed, whoever it points to
    if _error_text(answer.body) is not None:
        return "venue_error"
    return "edge_html" if _is_html(answer.body) else "no_error_body"
