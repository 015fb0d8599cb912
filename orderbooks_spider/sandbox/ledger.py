"""What the sandbox has served: counts for ``/_sandbox/stats``, and the served log."""

from __future__ import annotations

import json
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox.wire import sha256_hex

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.sandbox.answers import Answer


class Ledger:
    """Counts by path and status; one log line for each answered ``/book`` or ``/books``.

    A line is ``{"t_recv_ns","t_send_ns","path","token_id","status","sha256"}``. Digests are over the
    body before content coding. For ``/books`` ``token_id`` is the list asked for, and ``sha256`` of a
    whole answer is a list of ``[token, digest]`` in the order served.
    A request that got no byte back (hang, reset) has no line.
    """

    def __init__(self, log: Path | None) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.unanswered: Counter[str] = Counter()
        self._log = _opened(log) if log else None

    def count(self, path: str, status: int) -> None:
        """Count an answer."""
        self.statuses[path, status] += 1

    def note(self, asked: dict[str, Any], answer: Answer, sent: bytes) -> None:
        """Write the log line of a book answer; *asked* holds the keys known from the request."""
        if self._log is None:
            return
        whole = answer.books is not None and answer.batch and len(sent) == len(answer.body)
        digest: Any = sha256_hex(sent)
        if whole and answer.books is not None:
            digest = [[token, sha256_hex(text)] for token, _, text in answer.books]
        self._log.write(json.dumps(asked | {"status": answer.status, "sha256": digest}) + "\n")
        self._log.flush()

    def by_path(self) -> dict[str, dict[str, int]]:
        """Give counts as ``{path: {status: n}}``."""
        found: dict[str, dict[str, int]] = {}
        for (path, status), count in sorted(self.statuses.items()):
            found.setdefault(path, {})[str(status)] = count
        return found

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--served-log {path}: {error.strerror}") from error
