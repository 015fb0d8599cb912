"""An answer before it goes to the wire, and the venue's error bodies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

JSON_TYPE = "application/json"
HTML_TYPE = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers; for book routes also each book with its place among the two tokens.

    ``books`` holds (token id, token index, text) in the order of the answer; the body of a
    ``/books`` answer is the texts as a JSON array, nothing re-encoded.
    """

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    books: tuple[tuple[str, int, bytes], ...] | None = None
    batch: bool = False


def json_answer(value: Any, status: int = 200) -> Answer:
    """Encode *value*."""
    return Answer(status, json.dumps(value, separators=(",", ":")).encode())


def error_answer(status: int, text: str) -> Answer:
    """CLOB's form of an error (section 3.4 of the fact sheet)."""
    return json_answer({"error": text}, status)


def gamma_error(status: int, kind: str, text: str) -> Answer:
    """Gamma's form of an error."""
    return json_answer({"type": f"{kind} error", "error": text}, status)


def array_of(texts: list[bytes]) -> bytes:
    """Join JSON texts to a JSON array without touching them."""
    return b"[" + b",".join(texts) + b"]"
