"""The fault plan: what goes wrong, for which requests, and when. Typed, so that errors name the key.

```yaml
compress: true                                  # gzip for clients that accept it; off by default
hydration_gap: {until_before_start_seconds: 20} # token ids and books come so late
faults:
- match: {path: /book, token_index: 1}
  from_seconds: 5                               # since the server's start
  until_seconds: 10
  every: 3                                      # each third matching request; or `times: N`
  fault: {kind: status, status: 429, retry_after: {seconds: 2}}
```
A plan may also be the bare list of rules. The first rule that applies wins; `delay` and `throttle`
let the later rules speak as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: a key that is not known is an error."""


class _Fault(_Strict, frozen=True, tag_field="kind"):
    """Base: the kind names the fault."""


class RetryAfter(_Strict, frozen=True):
    """``Retry-After``: a number of *seconds*, or the HTTP date so many seconds ahead (*date_in*)."""

    seconds: int | None = None
    date_in: int | None = None


class Status(_Fault, frozen=True, tag="status"):
    """Any status; the body is the venue's error text for 429, else empty JSON, unless given."""

    status: int
    body: str | None = None
    content_type: str = "application/json"
    headers: dict[str, str | int] = {}
    retry_after: RetryAfter | None = None


class EdgeHtml(_Fault, frozen=True, tag="edge_html"):
    """A page of the edge: 403 (attention required), 429 (error 1015), 502, 503, 520 and so on."""

    status: int = 502


class Redirect(_Fault, frozen=True, tag="redirect"):
    """302 to *location*."""

    location: str


class EmptyBody(_Fault, frozen=True, tag="empty_body"):
    """200 with nothing in it."""


class NotJson(_Fault, frozen=True, tag="not_json"):
    """200 and a content type of JSON over text that is none."""


class DeepJson(_Fault, frozen=True, tag="deep_json"):
    """Arrays nested so deeply that parsers give up."""

    depth: int = 100_000


class Large(_Fault, frozen=True, tag="large"):
    """A valid JSON object of so many megabytes."""

    megabytes: float = 8


class GzipBomb(_Fault, frozen=True, tag="gzip_bomb"):
    """A small gzip answer that decodes to so many megabytes of JSON."""

    megabytes: float = 64


class NotUtf8(_Fault, frozen=True, tag="not_utf8"):
    """Two bytes that are not UTF-8 inside the first string of each text."""


class Nan(_Fault, frozen=True, tag="nan"):
    """A bare ``NaN`` where a size should be."""


class DuplicateKeys(_Fault, frozen=True, tag="duplicate_keys"):
    """The key ``market`` twice, the wrong one first."""


class EmptySide(_Fault, frozen=True, tag="empty_side"):
    """One side of the book is ``[]``, or both; the hash is right."""

    side: Literal["bids", "asks", "both"] = "asks"


class OneSided(_Fault, frozen=True, tag="one_sided"):
    """A book as at a certain outcome: bids at every price up to 0.99, no asks; the hash is right."""


class Ghost(_Fault, frozen=True, tag="ghost"):
    """The 0.01 / 0.99 book that users reported; the hash is right."""


class ClockSkew(_Fault, frozen=True, tag="clock_skew"):
    """The venue's clock is off by *ms*; book times move, the hash is right."""

    ms: int


class Delay(_Fault, frozen=True, tag="delay"):
    """Wait before the later rules and the answer."""

    seconds: float


class Throttle(_Fault, frozen=True, tag="throttle"):
    """Delay requests above *requests* per *per_seconds* (sliding), refuse with 429 above *refuse_above*."""

    requests: int
    refuse_above: int
    per_seconds: float = 10
    delay_seconds: float = 1
    retry_after: RetryAfter | None = None


class Hang(_Fault, frozen=True, tag="hang"):
    """Nothing is ever sent; ends when the client leaves."""


class SlowDrip(_Fault, frozen=True, tag="slow_drip"):
    """The right answer, at so many bytes a second."""

    bytes_per_second: int = 100


class Reset(_Fault, frozen=True, tag="reset"):
    """The connection is reset (RST) instead of an answer."""


class ResetAfterReuse(_Fault, frozen=True, tag="reset_after_reuse"):
    """As ``reset``, but only when the connection has already carried an answer."""


class Truncate(_Fault, frozen=True, tag="truncate"):
    """Right headers, the first *bytes* of the body (half of it unless given), then the end."""

    bytes: int | None = None


class WrongLength(_Fault, frozen=True, tag="wrong_length"):
    """``Content-Length`` is off by *by*: below zero too small, above zero the client waits for more."""

    by: int = -20


WireFault = Hang | SlowDrip | Reset | ResetAfterReuse | Truncate | WrongLength
BookFault = NotUtf8 | Nan | DuplicateKeys | EmptySide | OneSided | Ghost | ClockSkew
WholeFault = Status | EdgeHtml | Redirect | EmptyBody | NotJson | DeepJson | Large | GzipBomb
Fault = WireFault | BookFault | WholeFault | Delay | Throttle


class Match(_Strict, frozen=True):
    """Which requests; what is left out matches all.

    ``path`` is exact, or a beginning that ends in ``*``. ``token_index`` is 0 for Up, 1 for Down.
    ``host`` is the name in the Host header, without the port.
    """

    path: str | None = None
    method: str | None = None
    token_index: Literal[0, 1] | None = None
    host: str | None = None


class Rule(_Strict, frozen=True):
    """One fault with its conditions; times are seconds since the server's start."""

    fault: Fault
    match: Match = Match()
    from_seconds: float = 0
    until_seconds: float | None = None
    every: int | None = None
    times: int | None = None


class HydrationGap(_Strict, frozen=True):
    """Token ids and books stay away until so many seconds before the window (negative: after it began)."""

    until_before_start_seconds: float


class Plan(_Strict, frozen=True):
    """All that a plan file can say."""

    faults: list[Rule] = []
    compress: bool = False
    hydration_gap: HydrationGap | None = None


def parse_plan(text: bytes, name: str) -> Plan:
    """Read a plan from YAML or JSON.

    Raises:
        ConfigError: with *name* and the key that is wrong.

    """
    try:
        found: Plan | Sequence[Rule] | None = msgspec.yaml.decode(text, type=Plan | list[Rule] | None)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"fault plan {name}: {' '.join(str(error).split())}") from error
    plan = found if isinstance(found, Plan) else Plan(faults=list(found or ()))
    for number, rule in enumerate(plan.faults):
        _check(rule, f"fault plan {name}: faults[{number}]")
    return plan


def _check(rule: Rule, where: str) -> None:
    if rule.every is not None and rule.times is not None:
        raise ConfigError(f"{where}: `every` and `times` exclude each other")
    for key in ("every", "times"):
        count = getattr(rule, key)
        if count is not None and count < 1:
            raise ConfigError(f"{where}.{key}: expected 1 or more, saw {count}")
    if rule.until_seconds is not None and rule.until_seconds <= rule.from_seconds:
        raise ConfigError(f"{where}.until_seconds: expected more than from_seconds, saw {rule.until_seconds}")
    if isinstance(rule.fault, Status | Throttle) and rule.fault.retry_after is not None:
        when = rule.fault.retry_after
        if (when.seconds is None) is (when.date_in is None):
            raise ConfigError(f"{where}.fault.retry_after: expected either `seconds` or `date_in`")
    if isinstance(rule.fault, Status | EdgeHtml) and not 200 <= rule.fault.status <= 599:
        raise ConfigError(f"{where}.fault.status: expected 200 to 599, saw {rule.fault.status}")
    if isinstance(rule.fault, SlowDrip) and rule.fault.bytes_per_second < 1:
        raise ConfigError(f"{where}.fault.bytes_per_second: expected 1 or more")
