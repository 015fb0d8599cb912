"""A throw-away certificate authority, and a certificate of it for a server on loopback.

Clients trust it through ``SSL_CERT_FILE``, which OpenSSL reads in place of the platform's own file of roots.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LIFE = timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""As strict clients ask of an authority: Python's default context from 3.13 on."""


@dataclass(frozen=True)
class Certificates:
    """Three PEM files: the authority's certificate, and a server's certificate and key."""

    authority: Path
    server: Path
    key: Path

    @property
    def arguments(self) -> list[str]:
        """The sandbox's options to serve with them."""
        return ["--tls-cert", str(self.server), "--tls-key", str(self.key)]

    @property
    def trusted(self) -> dict[str, str]:
        """The environment in which a client trusts the authority."""
        return {"SSL_CERT_FILE": str(self.authority)}


def make_certificates(
    folder: Path, *, host: str = "127.0.0.1", names: Sequence[str] = ("localhost",)
) -> Certificates:
    """Make an authority and a server's certificate for the address *host* and the *names* of hosts."""
    root_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    subjects = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address(host))]
    root = (
        _builder("throw-away authority", "throw-away authority", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    server = (
        _builder("localhost", "throw-away authority", server_key)
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(issuer, critical=False)
    )
    return Certificates(
        _write(folder / "authority.pem", root.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)),
        _write(folder / "server.pem", server.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)),
        _write(
            folder / "server.key",
            server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ),
    )


def make_self_signed(folder: Path, *, ended: bool = False) -> Certificates:
    """Make a certificate of ``127.0.0.1`` that is its own authority; *ended*: until a day ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = -3 * _LIFE if ended else -_LIFE
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        _builder("127.0.0.1", "127.0.0.1", key, begins)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = _write(folder / "self.pem", made.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificates(pem, pem, _write(folder / "self.key", secret))


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, begins: timedelta = -_LIFE
) -> x509.CertificateBuilder:
    """Valid for two days from *begins*, counted from now."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + begins + 2 * _LIFE)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(path: Path, pem: bytes) -> Path:
    path.write_bytes(pem)
    return path
