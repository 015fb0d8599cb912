"""Every kind of fault, as a client sees it over real HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import typing
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.sandbox.books import summary_hash
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.plan import Fault
from tests.test_sandbox_routes import Got, asked, fetch, live_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Broken:
    """A sandbox whose plan each test sets; ``up`` and ``down`` are tokens of one calm market."""

    def __init__(self, sandbox: SandboxChild) -> None:
        self.url = sandbox.url
        self.port = sandbox.port
        # A market that opens in hours: its book is calm, and nothing of it ends during the tests.
        events = fetch(self.url, "/events/keyset", closed="false", limit=60, series_id="10192").json["events"]
        self.up, self.down = json.loads(events[-1]["markets"][0]["clobTokenIds"])

    def plan(self, fault: dict[str, Any], **rule: Any) -> None:
        """Let one rule hold for ``/book`` and ``/books`` from now on."""
        rules = [{"match": {"path": "/book*"}, **rule, "fault": fault}]
        got = fetch(self.url, "/_sandbox/faults", json.dumps({"faults": rules}).encode())
        assert got.json == {"rules": 1}

    def book(self, index: int = 0) -> Got:
        """GET the book of one token."""
        return fetch(self.url, "/book", token_id=(self.up, self.down)[index])

    def raw(self, seconds: float = 20) -> bytes:
        """All bytes of an answer until the connection ends, or until *seconds* bring nothing."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as sock:
            sock.sendall(f"GET /book?token_id={self.up} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
            got = b""
            try:
                while piece := sock.recv(65_536):
                    got += piece
            except TimeoutError:
                got += b"...waiting"
            return got


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """One sandbox for all faults."""
    with SandboxChild.start() as sandbox:
        yield Broken(sandbox)


def test_every_kind_of_fault_has_a_test_here() -> None:
    """No kind can be added to the plan without standing in this file."""
    with open(__file__, encoding="utf-8") as stream:  # noqa: PTH123 - this file reads itself
        text = stream.read()
    kinds = [str(fault.__struct_config__.tag) for fault in typing.get_args(Fault)]
    assert len(kinds) > 20
    assert [kind for kind in kinds if f'"{kind}"' not in text] == []


def test_status_brings_code_body_and_headers(broken: Broken) -> None:
    """Any status can be sent with any body and headers, marked as the sandbox's."""
    broken.plan(
        {"kind": "status", "status": 503, "body": '{"code":1}', "headers": {"X-Why": "test", "Age": 3}}
    )
    got = broken.book()
    assert (got.status, got.body) == (503, b'{"code":1}')
    assert (got.headers["x-why"], got.headers["age"], got.headers["server"]) == ("test", "3", "sandbox")


def test_retry_after_comes_in_both_forms(broken: Broken) -> None:
    """429 can tell its pause in seconds or as a date."""
    broken.plan({"kind": "status", "status": 429, "retry_after": {"seconds": 2}})
    got = broken.book()
    assert (got.status, got.json, got.headers["retry-after"]) == (429, {"error": "Too Many Requests"}, "2")
    broken.plan({"kind": "status", "status": 429, "retry_after": {"date_in": 600}})
    moment = parsedate_to_datetime(broken.book().headers["retry-after"])
    assert 500 < moment.timestamp() - SystemClock().wall_ns() / NS <= 600


@pytest.mark.parametrize("status", [403, 429, 502, 503, 520])
def test_the_edge_answers_html(broken: Broken, status: int) -> None:
    """Edge errors are HTML pages, still marked as the sandbox's."""
    broken.plan({"kind": "edge_html", "status": status})
    got = broken.book()
    assert got.status == status
    assert got.headers["content-type"].startswith("text/html")
    assert got.headers["server"] == "sandbox"
    assert got.body.startswith(b"<!DOCTYPE html>")


def test_a_redirect_names_its_place(broken: Broken) -> None:
    """302 with the location given."""
    broken.plan({"kind": "redirect", "location": "http://127.0.0.1:9/elsewhere"})
    got = broken.book()
    assert (got.status, got.headers["location"]) == (302, "http://127.0.0.1:9/elsewhere")


def test_bodies_that_are_no_json(broken: Broken) -> None:
    """Empty, plain text, not UTF-8, a bare NaN, and nesting too deep to parse are all status 200."""
    broken.plan({"kind": "empty_body"})
    assert (broken.book().status, broken.book().body) == (200, b"")
    broken.plan({"kind": "not_json"})
    with pytest.raises(ValueError, match="Expecting value"):
        _ = broken.book().json
    broken.plan({"kind": "not_utf8"})
    got = broken.book()
    assert got.status == 200
    with pytest.raises(UnicodeDecodeError):
        got.body.decode()
    broken.plan({"kind": "nan"})
    assert b'"size":NaN' in broken.book().body
    broken.plan({"kind": "deep_json"})
    assert broken.book().body == b"[" * 100_000 + b"]" * 100_000


def test_duplicate_keys(broken: Broken) -> None:
    """The first key of the book stands there twice with different values."""
    broken.plan({"kind": "duplicate_keys"})
    pairs: list[str] = []
    json.loads(broken.book().body, object_pairs_hook=lambda row: pairs.extend(key for key, _ in row))
    assert pairs.count("market") == 2


def test_large_answers_and_gzip_bombs(broken: Broken) -> None:
    """A large answer has the size asked for; a bomb is small on the wire and large after decoding."""
    broken.plan({"kind": "large", "megabytes": 3})
    got = broken.book()
    assert len(got.body) == 3_000_000
    assert set(got.json) == {"padding"}
    broken.plan({"kind": "gzip_bomb", "megabytes": 20})
    got = broken.book()
    assert got.headers["content-encoding"] == "gzip"
    assert len(got.body) < 100_000
    assert len(gzip.decompress(got.body)) == 20_000_000


def test_books_with_an_empty_side_keep_a_right_hash(broken: Broken) -> None:
    """Either side or both can be empty; the hash fits what is sent."""
    for side, empty in (("asks", ["asks"]), ("bids", ["bids"]), ("both", ["bids", "asks"])):
        broken.plan({"kind": "empty_side", "side": side})
        book = broken.book().json
        assert [name for name in ("bids", "asks") if not book[name]] == empty
        assert book["hash"] == summary_hash(book)


def test_one_sided_and_ghost_books_keep_a_right_hash(broken: Broken) -> None:
    """A one-sided book bids up to 0.99, a ghost has 0.01 and 0.99 alone."""
    broken.plan({"kind": "one_sided"})
    book = broken.book().json
    assert (len(book["bids"]), book["bids"][-1]["price"], book["asks"]) == (99, "0.99", [])
    assert book["hash"] == summary_hash(book)
    broken.plan({"kind": "ghost"})
    book = broken.book().json
    assert [[level["price"] for level in book[side]] for side in ("bids", "asks")] == [["0.01"], ["0.99"]]
    assert book["hash"] == summary_hash(book)


def test_clock_skew_moves_the_venues_time_and_keeps_the_hash_right(broken: Broken) -> None:
    """Book times are off by what the plan says."""
    broken.plan({"kind": "clock_skew", "ms": 3_600_000})
    book = broken.book().json
    assert int(book["timestamp"]) * 1_000_000 - SystemClock().wall_ns() > 3000 * NS
    assert book["hash"] == summary_hash(book)


def test_a_fault_can_be_meant_for_one_token(broken: Broken) -> None:
    """With ``token_index`` the other token is served rightly, alone and in a batch."""
    broken.plan({"kind": "ghost"}, match={"path": "/book*", "token_index": 1})
    assert len(broken.book(0).json["bids"]) > 10
    assert len(broken.book(1).json["bids"]) == 1
    batch = fetch(broken.url, "/books", asked([broken.up, broken.down])).json
    assert {book["asset_id"]: len(book["bids"]) == 1 for book in batch} == {
        broken.up: False,
        broken.down: True,
    }


def test_a_truncated_answer_ends_before_its_length(broken: Broken) -> None:
    """Fewer bytes than ``Content-Length`` come, then the connection ends."""
    broken.plan({"kind": "truncate", "bytes": 100})
    with pytest.raises(http.client.IncompleteRead) as caught:
        broken.book()
    assert len(caught.value.partial) == 100
    head, _, body = broken.raw().partition(b"\r\n\r\n")
    assert b"Server: sandbox" in head
    assert len(body) == 100


def test_a_wrong_length_can_be_too_small_or_too_large(broken: Broken) -> None:
    """Too small, the client sees a cut body; too large, it waits for bytes that never come."""
    broken.plan({"kind": "wrong_length", "by": -50})
    with pytest.raises(ValueError, match=r".+"):
        _ = broken.book().json
    assert b'"last_trade_price"' in broken.raw()[-60:]
    broken.plan({"kind": "wrong_length", "by": 50})
    assert broken.raw(seconds=0.3).endswith(b"}...waiting")


def test_a_reset_is_a_reset(broken: Broken) -> None:
    """The client gets RST and no byte of an answer."""
    broken.plan({"kind": "reset"})
    with pytest.raises(ConnectionResetError):
        broken.raw()


def test_a_reused_connection_can_be_cut_at_its_next_request(broken: Broken) -> None:
    """The first answer of a connection comes, the second request ends it; a fresh connection works."""
    broken.plan({"kind": "reset_after_reuse"})
    path = f"/book?token_id={broken.up}"
    with closing(http.client.HTTPConnection("127.0.0.1", broken.port, timeout=20)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().read()
        connection.request("GET", path)
        with pytest.raises(ConnectionError):
            connection.getresponse()
    assert broken.book().status == 200


def test_a_hang_sends_nothing_and_ends_with_the_client(broken: Broken) -> None:
    """No byte comes; when the client leaves, the server forgets the connection."""
    broken.plan({"kind": "hang"})
    assert broken.raw(seconds=0.3) == b"...waiting"
    for _ in range(100):
        stats = fetch(broken.url, "/_sandbox/stats").json
        if stats["connections"]["open"] == 1:  # the one that asks
            break
    else:
        pytest.fail(f"connections stay open: {stats}")
    assert stats["unanswered"]["/book"] >= 1


def test_a_slow_drip_brings_the_whole_answer_in_pieces(broken: Broken) -> None:
    """The answer is right and complete, but comes in many small pieces."""
    broken.plan({"kind": "slow_drip", "bytes_per_second": 20_000})
    with closing(http.client.HTTPConnection("127.0.0.1", broken.port, timeout=20)) as connection:
        connection.request("GET", f"/book?token_id={broken.up}")
        answer = connection.getresponse()
        pieces = []
        while piece := answer.read1():
            pieces.append(piece)
    book = json.loads(b"".join(pieces))
    assert len(pieces) > 1
    assert book["hash"] == summary_hash(book)


def test_a_delay_waits_and_then_answers(broken: Broken) -> None:
    """A delayed answer is still the right one."""
    broken.plan({"kind": "delay", "seconds": 0.2})
    before = SystemClock().monotonic_ns()
    assert broken.book().status == 200
    assert SystemClock().monotonic_ns() - before >= 0.2 * NS


def test_a_throttle_ends_in_429(broken: Broken) -> None:
    """Sustained overshoot is first delayed and then refused."""
    broken.plan(
        {"kind": "throttle", "requests": 2, "refuse_above": 4, "delay_seconds": 0.01, "per_seconds": 60}
    )
    assert [broken.book().status for _ in range(6)] == [200, 200, 200, 200, 429, 429]


def test_rules_fire_by_count_and_stats_tell_them(broken: Broken) -> None:
    """``every`` picks requests, and the control route counts what fired."""
    broken.plan({"kind": "status", "status": 500}, every=2)
    assert [broken.book().status for _ in range(4)] == [200, 500, 200, 500]
    assert fetch(broken.url, "/_sandbox/stats").json["faults"] == {"status": 2}


def test_a_bad_plan_is_refused_and_changes_nothing(broken: Broken) -> None:
    """The control route names the wrong key, and the plan in force stays."""
    broken.plan({"kind": "status", "status": 500})
    got = fetch(broken.url, "/_sandbox/faults", b"faults: [{fault: {kind: nothing}}]")
    assert got.status == 400
    assert "faults[0].fault.kind" in got.json["error"]
    assert broken.book().status == 500


def test_gamma_can_be_faulty_too(broken: Broken) -> None:
    """Faults of texts work on lists as well, and faults of books leave them alone."""
    match = {"path": "/events/keyset"}
    broken.plan({"kind": "not_utf8"}, match=match)
    with pytest.raises(UnicodeDecodeError):
        fetch(broken.url, "/events/keyset", closed="false").body.decode()
    broken.plan({"kind": "ghost"}, match=match)
    assert len(fetch(broken.url, "/events/keyset", closed="false").json["events"]) == 20


def test_a_plan_file_holds_from_the_start(tmp_path: Path) -> None:
    """``--faults`` sets the plan and the hydration gap before the first request."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "hydration_gap: {until_before_start_seconds: -100000}\n"
        "faults: [{match: {path: /ok}, fault: {kind: not_json}}]\n",
        encoding="utf-8",
    )
    with SandboxChild.start(["--faults", str(plan)]) as sandbox:
        assert live_tokens(sandbox.url) == []
        assert fetch(sandbox.url, "/ok").body.startswith(b"upstream")
