"""The sandbox over https: who can read it, and what is said of certificates that cannot be used."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bench.certificates import Certificates, make_certificates
from orderbooks_spider.errors import EXIT_CONFIG
from orderbooks_spider.sandbox.child import SandboxChild
from tests.test_sandbox_child import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all tests of this file."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def trust(certificates: Certificates) -> ssl.SSLContext:
    """What a client that trusts the authority connects with."""
    return ssl.create_default_context(cafile=str(certificates.authority))


@pytest.fixture(scope="module")
def sandbox(certificates: Certificates) -> Iterator[SandboxChild]:
    """One https sandbox."""
    with SandboxChild.start(certificates.arguments) as child:
        yield child


def fetch(url: str, trust: ssl.SSLContext, body: bytes | None = None) -> Any:
    """GET, or POST when there is a body; the decoded answer."""
    with urllib.request.urlopen(url, body, timeout=20, context=trust) as answer:
        return json.loads(answer.read())


def test_the_printed_url_is_https_and_serves(sandbox: SandboxChild, trust: ssl.SSLContext) -> None:
    """Who trusts the authority reads it under the URL that it prints, and under ``localhost``."""
    assert sandbox.url == f"https://127.0.0.1:{sandbox.port}"
    assert fetch(f"{sandbox.url}/ok", trust) == "OK"
    assert fetch(f"https://localhost:{sandbox.port}/ok", trust) == "OK"


def test_who_does_not_trust_the_authority_reads_nothing(sandbox: SandboxChild) -> None:
    """A client with the platform's roots refuses the certificate."""
    with pytest.raises(URLError) as caught:
        fetch(f"{sandbox.url}/ok", ssl.create_default_context())
    assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)


def test_plain_http_is_not_served(sandbox: SandboxChild) -> None:
    """The port speaks TLS alone."""
    with pytest.raises((ConnectionResetError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://127.0.0.1:{sandbox.port}/ok", timeout=20)


@pytest.mark.parametrize(
    ("kind", "seen"), [("reset", ConnectionResetError), ("truncate", http.client.IncompleteRead)]
)
def test_a_broken_connection_breaks_over_tls_too(
    kind: str, seen: type[Exception], sandbox: SandboxChild, trust: ssl.SSLContext
) -> None:
    """Faults that go past the HTTP server reach the client as over plain http."""
    rules = [{"match": {"path": "/time"}, "fault": {"kind": kind}}]
    fetch(f"{sandbox.url}/_sandbox/faults", trust, json.dumps(rules).encode())
    with pytest.raises(seen):
        fetch(f"{sandbox.url}/time", trust)


def test_certificates_that_cannot_be_used_are_one_line_and_exit_78(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Missing, not PEM, of another key, or locked: the line names option and file, and nobody is asked."""
    foreign = make_certificates(tmp_path)
    not_pem, locked = tmp_path / "text.pem", tmp_path / "locked.key"
    not_pem.write_text("no certificate", encoding="ascii")
    key = load_pem_private_key(certificates.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    for cert, key_file, named in (
        (tmp_path / "absent.pem", certificates.key, "--tls-cert"),
        (certificates.server, tmp_path / "absent.key", "--tls-key"),
        (not_pem, certificates.key, "text.pem"),
        (certificates.server, foreign.key, "server.key"),
        (certificates.server, locked, "locked.key"),
    ):
        done = run("--tls-cert", str(cert), "--tls-key", str(key_file))
        assert (done.returncode, done.stdout) == (EXIT_CONFIG, "")
        assert done.stderr.count("\n") == 1
        assert named in done.stderr


def test_a_certificate_needs_its_key(certificates: Certificates) -> None:
    """One option without the other is an error of the command line."""
    done = run("--tls-cert", str(certificates.server))
    assert done.returncode == 2
    assert "--tls-key" in done.stderr
