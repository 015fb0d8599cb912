"""The sandbox over real HTTP: routes, keyset traps, batches, and a real client."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import sys
import urllib.parse
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.clock import NS, SystemClock, iso_utc
from orderbooks_spider.sandbox.books import summary_hash
from orderbooks_spider.sandbox.child import SandboxChild

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Got:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


def fetch(
    url: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **query: Any
) -> Got:
    """GET, or POST when there is a body, on a connection of its own; header names in lower case."""
    place = urllib.parse.urlsplit(url)
    if query:
        path += "?" + urllib.parse.urlencode(query, doseq=True)
    with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)) as connection:
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def soon() -> str:
    """A time some minutes ahead: markets that end after it have their books while a test runs."""
    return iso_utc(SystemClock().wall_ns() + 180 * NS)


def live_tokens(url: str, count: int = 100, ending_after: str | None = None, slug: str = "") -> list[str]:
    """Tokens of the markets that end next but not at once, Up and Down in turn; *slug* begins theirs."""
    query = {"closed": "false", "limit": 500, "order": "endDate", "end_date_min": ending_after or soon()}
    events = fetch(url, "/events/keyset", None, None, **query).json["events"]
    markets = [event["markets"][0] for event in events if event["slug"].startswith(slug)]
    texts = [market.get("clobTokenIds", "[]") for market in markets]
    return [token for text in texts for token in json.loads(text)][:count]


def asked(tokens: list[str]) -> bytes:
    """The body of ``POST /books``."""
    return json.dumps([{"token_id": token} for token in tokens]).encode()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sandbox without faults."""
    with SandboxChild.start(["--seed", "5"]) as sandbox:
        yield sandbox.url


def test_every_answer_says_sandbox(url: str) -> None:
    """Right answers, errors and unknown routes all carry ``server: sandbox``."""
    for path in (
        "/ok",
        "/book?token_id=1",
        "/book",
        "/nothing/here",
        "/series/keyset",
        "/events/keyset?offset=1",
    ):
        assert fetch(url, path).headers["server"] == "sandbox"


def test_small_routes_answer_like_the_venue(url: str) -> None:
    """``/ok`` says OK, ``/time`` gives unix seconds, ``/midpoint`` the middle of the best prices."""
    assert fetch(url, "/ok").json == "OK"
    assert abs(int(fetch(url, "/time").body) - SystemClock().wall_ns() // NS) <= 60
    token = live_tokens(url, slug="btc-updown-5m-", count=40)[-1]  # far from its window, so its book is calm
    mid = fetch(url, "/midpoint", token_id=token).json["mid"]
    assert 0.4 < float(mid) < 0.6
    assert not mid.endswith("0")


def test_series_tell_their_ids(url: str) -> None:
    """The five series have the venue's ids, and ``slug`` picks one."""
    assert {row["id"] for row in fetch(url, "/series").json} == {"10684", "10192", "10114", "10331", "41"}
    one = fetch(url, "/series", slug="btc-up-or-down-15m").json
    assert [row["id"] for row in one] == ["10192"]


def test_unknown_slugs_are_not_found(url: str) -> None:
    """Unknown events and markets are 404 with Gamma's JSON."""
    for path in ("/events/slug/nothing", "/markets/slug/nothing"):
        got = fetch(url, path)
        assert got.status == 404
        assert got.json == {"type": "not found error", "error": "slug not found"}


def test_a_walk_by_after_cursor_sees_each_event_once(url: str) -> None:
    """Pages by ``after_cursor`` cover all open events without repeats; the last page has no cursor key."""
    seen: list[str] = []
    query: dict[str, Any] = {"closed": "false", "limit": 150}
    for _ in range(20):
        page = fetch(url, "/events/keyset", **query).json
        seen += [event["slug"] for event in page["events"]]
        if "next_cursor" not in page:
            break
        query["after_cursor"] = page["next_cursor"]
    else:
        pytest.fail("the list did not end")
    assert len(seen) == len(set(seen)) > 400


def test_a_crowd_is_listed_and_has_all_its_books() -> None:
    """Listed 72 hours ahead, more than 2,000 tokens are found by the pages, and each of them has a book."""
    with SandboxChild.start(["--listed-ahead-hours", "72"]) as sandbox:
        tokens: list[str] = []
        query: dict[str, Any] = {"closed": "false", "limit": 500, "end_date_min": soon()}
        page: dict[str, Any] = {"next_cursor": None}
        while "next_cursor" in page:
            page = fetch(sandbox.url, "/events/keyset", after_cursor=page["next_cursor"] or "", **query).json
            listed = [event["markets"][0] for event in page["events"]]
            tokens += [token for row in listed for token in json.loads(row.get("clobTokenIds", "[]"))]
        batches = [asked(tokens[start : start + 500]) for start in range(0, len(tokens), 500)]
        books = [book["asset_id"] for batch in batches for book in fetch(sandbox.url, "/books", batch).json]
    assert len(tokens) > 2000
    assert sorted(books) == sorted(tokens)


def test_cursor_is_ignored_so_page_one_repeats(url: str) -> None:
    """A client that sends ``cursor`` instead of ``after_cursor`` gets the first page again."""
    query: dict[str, Any] = {"closed": "true", "limit": 3}
    first = fetch(url, "/events/keyset", **query).json
    again = fetch(url, "/events/keyset", cursor=first["next_cursor"], **query).json
    assert [event["id"] for event in again["events"]] == [event["id"] for event in first["events"]]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/events/keyset", {"offset": "10"}),
        ("/events/keyset", {"limit": "0"}),
        ("/events/keyset", {"limit": "501"}),
        ("/events/keyset", {"limit": "many"}),
        ("/markets/keyset", {"limit": "101"}),
        ("/events/keyset", {"closed": "perhaps"}),
        ("/events/keyset", {"end_date_min": "yesterday"}),
        ("/events/keyset", {"order": "beauty"}),
        ("/events/keyset", {"after_cursor": "?"}),
        ("/markets/keyset", {"condition_ids": [f"0x{number}" for number in range(101)]}),
    ],
)
def test_bad_parameters_are_validation_errors(url: str, path: str, query: dict[str, Any]) -> None:
    """What the keyset endpoints cannot use is 422 with a validation error."""
    got = fetch(url, path, **query)
    assert got.status == 422
    assert got.json["type"] == "validation error"


def test_without_limit_a_page_has_twenty(url: str) -> None:
    """The default page holds 20 events."""
    assert len(fetch(url, "/events/keyset", closed="false").json["events"]) == 20


def test_without_closed_only_closed_events_come(url: str) -> None:
    """The trap of the older endpoints: open events must be asked for."""
    assert all(event["closed"] for event in fetch(url, "/events/keyset").json["events"])


def test_filters_choose_by_series_slug_and_time(url: str) -> None:
    """Series ids and slugs may be repeated, and times bound the lists."""
    both = fetch(url, "/events/keyset", closed="false", limit=500, series_id=["10331", "41"]).json["events"]
    assert {event["series"][0]["id"] for event in both} == {"10331", "41"}
    slugs = [event["slug"] for event in both[:2]]
    found = fetch(url, "/events/keyset", closed="false", slug=slugs).json["events"]
    assert {event["slug"] for event in found} == set(slugs)
    bound = both[1]["endDate"]
    later = fetch(url, "/events/keyset", closed="false", limit=500, end_date_min=bound).json["events"]
    assert later
    assert all(event["endDate"] >= bound for event in later)
    earlier = fetch(url, "/events/keyset", closed="false", limit=500, start_time_max=bound).json["events"]
    assert earlier
    assert all(event["startTime"] <= bound for event in earlier)


def test_order_and_ascending_sort_the_list(url: str) -> None:
    """``order=endDate`` sorts both ways, and pages go on in that order."""
    query: dict[str, Any] = {"closed": "false", "limit": 30, "order": "endDate", "ascending": "false"}
    first = fetch(url, "/events/keyset", **query).json
    second = fetch(url, "/events/keyset", after_cursor=first["next_cursor"], **query).json
    ends = [event["endDate"] for event in first["events"] + second["events"]]
    assert ends == sorted(ends, reverse=True)


def test_markets_can_be_found_by_condition_and_token(url: str) -> None:
    """``/markets/keyset`` finds by condition id and by token id; the CLOB by condition id."""
    token = live_tokens(url, 60)[-1]
    by_token = fetch(url, "/markets/keyset", closed="false", clob_token_ids=token).json["markets"]
    condition_id = by_token[0]["conditionId"]
    by_condition = fetch(url, "/markets/keyset", closed="false", condition_ids=condition_id).json["markets"]
    assert [market["id"] for market in by_condition] == [market["id"] for market in by_token]
    clob = fetch(url, f"/markets/{condition_id}").json
    assert token in [row["token_id"] for row in clob["tokens"]]


def test_a_batch_is_shuffled_and_repeatable(url: str) -> None:
    """``/books`` never keeps the order asked in; the same request has the same order."""
    tokens = live_tokens(url, 60)
    orders = [[book["asset_id"] for book in fetch(url, "/books", asked(tokens)).json] for _ in range(2)]
    assert orders[0] == orders[1]
    assert set(orders[0]) == set(tokens)
    assert orders[0] != tokens
    pair = [book["asset_id"] for book in fetch(url, "/books", asked(tokens[:2])).json]
    assert pair == [tokens[1], tokens[0]]


def test_a_batch_leaves_out_what_has_no_book(url: str) -> None:
    """Unknown tokens are missing without a word, and a duplicate is answered once."""
    tokens = live_tokens(url, 4)
    books = fetch(url, "/books", asked([tokens[2], "123", tokens[3], tokens[2]])).json
    assert sorted(book["asset_id"] for book in books) == sorted(tokens[2:])
    assert fetch(url, "/books", asked(["1"])).json == []


def test_a_batch_has_at_most_500_tokens(url: str) -> None:
    """500 tokens are answered, 501 refused, and a body that is no list of tokens is invalid."""
    numbers = [str(number) for number in range(501)]
    assert fetch(url, "/books", asked(numbers[:500])).status == 200
    assert fetch(url, "/books", asked(numbers)).json == {"error": "Payload exceeds the limit"}
    for body in (b"", b"{}", b'["1"]', b"\xff", b"[" * 100_000):
        got = fetch(url, "/books", body)
        assert (got.status, got.json) == (400, {"error": "Invalid payload"})


@pytest.mark.parametrize("token", ["", "abc", "0x12", "-1", "1.5", "\u0663"])
def test_a_bad_token_id_is_refused(url: str, token: str) -> None:
    """A missing token, or one that is not decimal, is 400."""
    got = fetch(url, "/book", token_id=token)
    assert (got.status, got.json) == (400, {"error": "Invalid token id"})
    assert fetch(url, "/book").status == 400


def test_two_sandboxes_with_one_seed_tell_the_same_story(url: str) -> None:
    """Markets, tokens and order books agree between processes of one seed, and differ between seeds."""
    with SandboxChild.start(["--seed", "5"]) as same, SandboxChild.start(["--seed", "6"]) as other:
        after = soon()
        tokens = live_tokens(url, ending_after=after)
        assert live_tokens(same.url, ending_after=after) == tokens
        assert not set(live_tokens(other.url, ending_after=after)) & set(tokens)
        texts: dict[tuple[str, str], bytes] = {}
        both = 0
        for token in random.Random(0).sample(tokens, 20) * 3:
            for source in (url, same.url):
                got = fetch(source, "/book", token_id=token)
                assert got.status == 200
                key = (token, got.json["timestamp"])
                both += key in texts
                assert texts.setdefault(key, got.body) == got.body
        assert both


def test_compression_needs_both_plan_and_client(url: str) -> None:
    """Answers are gzip only when the plan says so and the client accepts it; the text is the same."""
    accept = {"Accept-Encoding": "gzip"}
    token = live_tokens(url, 200)[-1]
    assert "content-encoding" not in fetch(url, "/book", headers=accept, token_id=token).headers
    with SandboxChild.start() as sandbox:
        fetch(sandbox.url, "/_sandbox/faults", b"compress: true")
        token = live_tokens(sandbox.url, 200)[-1]
        assert "content-encoding" not in fetch(sandbox.url, "/book", token_id=token).headers
        got = fetch(sandbox.url, "/book", headers=accept, token_id=token)
        assert got.headers["content-encoding"] == "gzip"
        book = json.loads(gzip.decompress(got.body))
        assert book["hash"] == summary_hash(book)


def test_stats_count_answers_and_connections() -> None:
    """The control route counts answers by path and status, and connections."""
    with SandboxChild.start() as sandbox:
        fetch(sandbox.url, "/ok")
        fetch(sandbox.url, "/book", token_id="1")
        fetch(sandbox.url, "/events/slug/a")
        stats = fetch(sandbox.url, "/_sandbox/stats").json
    assert stats["requests"] == {
        "/ok": {"200": 1},
        "/book": {"404": 1},
        "/events/slug/{slug}": {"404": 1},
    }
    assert stats["connections"]["opened"] == 4


@pytest.fixture
def recursion_limit() -> Iterator[None]:
    """Put the interpreter's limit back: py_ecc, under the client, lifts it to 100,000 when it is imported.

    With that limit, JSON nested 100,000 deep overruns the C stack: whichever test reads such bytes next dies.
    """
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("recursion_limit")
def test_a_real_client_reads_books_and_agrees_on_the_hash(url: str) -> None:
    """The venue's own Python client reads single and batched books, and computes the hash they carry."""
    client_module = pytest.importorskip("py_clob_client.client", reason="py-clob-client is not installed")
    from py_clob_client.clob_types import BookParams

    client = client_module.ClobClient(url)
    tokens = live_tokens(url, 40)[20:]
    books = [client.get_order_book(tokens[0]), *client.get_order_books([BookParams(t) for t in tokens])]
    assert {book.asset_id for book in books} == set(tokens)
    for book in books:
        published = book.hash
        assert client.get_order_book_hash(book) == published
    assert client.get_ok() == "OK"
    assert isinstance(client.get_server_time(), int)
