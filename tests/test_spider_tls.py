"""The collector against an https venue: which certificates it believes, and what it does otherwise."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Self

import pytest

from bench.certificates import Certificates, make_certificates, make_self_signed
from orderbooks_spider.polymarket.book import book_hash_state
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector
from tests.slots import planned_slots, recorded_slots
from tests.test_sandbox_routes import fetch

if TYPE_CHECKING:
    from pathlib import Path


class Wiretap:
    """A relay on loopback in front of *port*: hands bytes on, and keeps what clients send."""

    def __init__(self, port: int) -> None:
        self.heard: defaultdict[int, bytes] = defaultdict(bytes)
        self._far = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end of the server socket
            while True:
                near, _ = self._server.accept()
                pair = threading.Thread(target=self._relay, args=(near, len(self._threads)))
                self._threads.append(pair)
                pair.start()

    def _relay(self, near: socket.socket, number: int) -> None:
        with near, socket.create_connection(self._far) as far:
            answers = threading.Thread(target=_pump, args=(far, near))
            answers.start()
            with contextlib.suppress(OSError):
                while piece := near.recv(65_536):
                    self.heard[number] += piece
                    far.sendall(piece)
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            answers.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_RDWR)


def is_tls(stream: bytes) -> bool:
    """Whether *stream* is TLS records and nothing else (RFC 8446, section 5.1); the last may be cut."""
    while stream:
        if not 20 <= stream[0] <= 23 or stream[1:2] not in {b"\x03", b""}:
            return False
        stream = stream[5 + int.from_bytes(stream[3:5], "big") :]
    return True


def test_a_trusted_venue_is_recorded_over_https(tmp_path: Path) -> None:
    """With ``SSL_CERT_FILE`` set to the authority each slot is answered, and all that is sent is TLS."""
    certificates = make_certificates(tmp_path)
    with SandboxChild.start(certificates.arguments) as venue, Wiretap(venue.port) as tap:
        collector = Collector(tmp_path, tap.url, variables=certificates.trusted)
        ended = collector.run(3)
    assert ended.returncode == 0, ended.stderr
    assert recorded_slots(collector) == planned_slots(collector)
    rows = collector.rows("books")
    assert len(rows) > 10
    assert set(collector.results()) == {("ok", None)}
    assert {book_hash_state(row["body"]) for row in rows} == {"agrees"}
    assert {row["url"] for row in rows} == {f"{tap.url}/book"}
    assert tap.heard
    assert all(map(is_tls, tap.heard.values()))
    assert collector.verify().returncode == 0


def unbelievable(fault: str, folder: Path) -> tuple[Certificates, dict[str, str]]:
    """A server's certificate with one fault, and the environment of a client that finds no other."""
    match fault:
        case "untrusted authority":
            return make_certificates(folder), {}
        case "another host's certificate":
            made = make_certificates(folder, host="127.0.0.2")
        case "self-signed":
            return make_self_signed(folder), {}
        case _:
            made = make_self_signed(folder, ended=True)
    return made, made.trusted


def test_only_its_end_is_wrong_with_the_ended_certificate(tmp_path: Path) -> None:
    """The same self-signed certificate is believed while it is valid, by who trusts it."""
    certificates = make_self_signed(tmp_path)
    with SandboxChild.start(certificates.arguments) as venue:
        collector = Collector(tmp_path, venue.url, variables=certificates.trusted)
        assert collector.run(2).returncode == 0
    assert set(collector.results()) == {("ok", None)}


@pytest.mark.parametrize(
    "fault", ["untrusted authority", "another host's certificate", "self-signed", "ended"]
)
def test_a_venue_that_cannot_be_believed_is_told_nothing(fault: str, tmp_path: Path) -> None:
    """Each poll is a row ``connection`` that names the certificate, no request leaves, the run goes on."""
    certificates, variables = unbelievable(fault, tmp_path)
    with (
        SandboxChild.start() as gamma,  # plain, so that there are markets to poll
        SandboxChild.start(certificates.arguments) as clob,
        Wiretap(clob.port) as tap,
    ):
        collector = Collector(tmp_path, gamma.url, {"venue": {"gamma_url": gamma.url, "clob_url": tap.url}})
        collector.variables = variables
        ended = collector.run(3)
        asked_in_plain = fetch(gamma.url, "/_sandbox/stats").json["requests"]
    assert ended.returncode == 0, ended.stderr
    assert recorded_slots(collector) == planned_slots(collector)
    assert sum(recorded_slots(collector).values()) > 10
    assert {result for result, _ in collector.results()} == {"connection"}
    assert all("cert" in str(reason).lower() for _, reason in collector.results())
    assert "/book" not in asked_in_plain
    assert tap.heard
    assert all(map(is_tls, tap.heard.values()))
    assert collector.verify().returncode == 0


def test_a_gamma_that_cannot_be_believed_leaves_the_run_going(tmp_path: Path) -> None:
    """Discovery keeps each failure as a row, finds no market, and the run ends only when its time is up."""
    certificates = make_certificates(tmp_path)
    with SandboxChild.start(certificates.arguments) as venue:
        collector = Collector(tmp_path, venue.url)
        ended = collector.run(3)
    assert ended.returncode == 0, ended.stderr
    answers = collector.rows("markets")
    assert {(row["kind"], row["result"], row["body"]) for row in answers} == {("answer", "connection", None)}
    assert all("cert" in row["reason"].lower() for row in answers)
    assert collector.events("universe_empty")
    assert collector.rows("books") == []


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", True),
        (b"\x16\x03\x01\x00\x02ab\x17\x03\x03\x00\x01c", True),
        (b"\x16\x03\x01\x00\x02abGET /book", False),
        (b"GET /book?token_id=1 HTTP/1.1\r\n", False),
    ],
)
def test_plain_bytes_would_be_noticed(stream: bytes, expected: bool) -> None:
    """The check of what was sent tells TLS from plain requests, at the start and behind it."""
    assert is_tls(stream) is expected
