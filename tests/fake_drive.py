"""A stand-in for Google Drive on loopback, for rclone's real ``drive`` backend.

rclone has no option for the address of the API, but it obeys ``HTTPS_PROXY`` and ``RCLONE_CA_CERT``.  So
this is a proxy that answers ``CONNECT`` by ending TLS itself, as ``www.googleapis.com`` and with a throw-away
authority, and that speaks what rclone asks of Drive v3: listing, folders, uploads, downloads.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "www.googleapis.com"
FOLDER = "application/vnd.google-apps.folder"
ROOT = "ROOT"
SECRET = "ya29.the-access-token-of-the-fake-drive"
"""Made up, so that tests can look for it where it must not be."""
_MADE = "2026-01-01T00:00:00.000Z"


@dataclass
class StoredFile:
    """A file or folder, as Drive has them: by id, so that two may have one name."""

    file_id: str
    meta: dict[str, Any]
    content: bytes | None = None

    @property
    def is_trashed(self) -> bool:
        """Whether it was deleted: the API has a bin, and rclone uses it."""
        return bool(self.meta.get("trashed"))

    @property
    def is_file(self) -> bool:
        """Whether it is a file that can be seen."""
        return self.content is not None and not self.is_trashed

    def shown(self) -> dict[str, Any]:
        """What the API says of it."""
        said = {"id": self.file_id, **self.meta}
        if self.content is not None:
            said["size"] = str(len(self.content))
            for kind in ("md5", "sha1", "sha256"):
                said[f"{kind}Checksum"] = hashlib.new(kind, self.content).hexdigest()
        return said


@dataclass
class Fault:
    """What happens to the next *times* requests whose ``METHOD /path`` matches *where*."""

    where: str
    does: Literal["error", "drop", "flip", "hold"]
    times: int = 1
    status: int = 503
    reason: str = "backendError"
    message: str = "made up by the test"
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when the fault has struck."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """What a request that is held waits for."""


@dataclass
class Answer:
    """Status, body and further headers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        """JSON."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})


@dataclass
class Request:
    """What a handler needs of a request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    flip: bool = False
    """Whether a bit of the content changes on its way."""


class FakeDrive:
    """The store and its API; thread-safe."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {
            ROOT: StoredFile(ROOT, {"name": "My Drive", "mimeType": FOLDER, "parents": []})
        }
        self.faults: list[Fault] = []
        self.log: list[str] = []
        """``METHOD /path`` of every request of the API."""
        self._uploads: dict[str, tuple[str | None, dict[str, Any], bytearray]] = {}
        self._numbers = itertools.count(1)
        self._busy = threading.RLock()

    # What a test does to it.

    def fault(self, where: str, does: Literal["error", "drop", "flip", "hold"], **more: Any) -> Fault:
        """Add a fault."""
        made = Fault(where, does, **more)
        self.faults.append(made)
        return made

    def paths(self) -> list[str]:
        """Every file by its path; a name that occurs twice stands here twice."""
        return sorted(self._path(item) for item in self.files.values() if item.is_file)

    def find(self, end: str) -> StoredFile:
        """The one file whose path ends so."""
        (found,) = [item for item in self.files.values() if item.is_file and self._path(item).endswith(end)]
        return found

    def flip(self, end: str) -> None:
        """Change one bit of a stored file."""
        stored = self.find(end)
        assert stored.content is not None
        stored.content = _flipped(stored.content)

    def duplicate(self, end: str) -> None:
        """Add a second file of the same name in the same folder."""
        stored = self.find(end)
        self._make(dict(stored.meta), stored.content)

    def remove(self, end: str) -> None:
        """Lose a file."""
        del self.files[self.find(end).file_id]

    def _path(self, item: StoredFile) -> str:
        parts = [item.meta["name"]]
        while (parent := item.meta["parents"][0]) != ROOT:
            item = self.files[parent]
            parts.append(item.meta["name"])
        return "/".join(reversed(parts))

    # What rclone asks of it.

    def answer(self, request: Request) -> Answer | None:
        """Serve one request; ``None``: the connection breaks."""
        line = f"{request.method} {request.path}"
        struck = None
        with self._busy:
            self.log.append(line)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.where, line):
                    fault.times -= 1
                    struck = fault
                    break
        if struck is not None:
            struck.reached.set()
            if struck.does == "drop":
                return None
            if struck.does == "error":
                return _error(struck.status, struck.reason, struck.message)
            if struck.does == "flip":
                request.flip = True
            elif not struck.go_on.wait(60):
                return None
        with self._busy:
            return self._route(request)

    def _route(self, request: Request) -> Answer:
        if request.path.startswith("/upload/drive/v3/files"):
            return self._upload(request)
        if (one := re.fullmatch(r"/drive/v3/files/([^/]+)", request.path)) is not None:
            return self._one(request, ROOT if one[1] == "root" else one[1])
        match request.method, request.path:
            case _, "/token":
                said: Any = {"access_token": SECRET, "token_type": "Bearer", "expires_in": 3600}
            case _, "/drive/v3/about":
                said = {"storageQuota": {"limit": "16106127360", "usage": "0"}, "user": {}}
            case "POST", "/drive/v3/files":
                said = self._make(json.loads(request.body)).shown()
            case "GET", "/drive/v3/files":
                said = {"files": list(self._listed(request.query.get("q", "")))}
            case _:
                return _error(404, "notFound")
        return Answer.of(said)

    def _one(self, request: Request, file_id: str) -> Answer:
        stored = self.files.get(file_id)
        if stored is None:
            return _error(404, "notFound")
        if request.method == "DELETE":
            del self.files[file_id]
            return Answer(204)
        if request.method == "PATCH":
            stored.meta |= json.loads(request.body or b"{}")
        elif request.query.get("alt") == "media":
            return _content(stored, request.headers.get("range", ""))
        return Answer.of(stored.shown())

    def _listed(self, query: str) -> Iterator[dict[str, Any]]:
        """The part of Drive's query language that rclone uses."""
        parents = {ROOT if name == "root" else name for name in re.findall(r"'([^']+)' in parents", query)}
        names = {name.replace("\\'", "'") for name in re.findall(r"name='((?:[^'\\]|\\.)*)'", query)}
        only_folders = f"mimeType='{FOLDER}'" in query and "or mimeType" not in query
        no_folders = f"mimeType!='{FOLDER}'" in query
        for stored in list(self.files.values()):
            is_folder = stored.meta["mimeType"] == FOLDER
            if (
                stored.file_id == ROOT
                or ("trashed=false" in query and stored.is_trashed)
                or (parents and not parents & set(stored.meta["parents"]))
                or (names and stored.meta["name"] not in names)
                or (only_folders and not is_folder)
                or (no_folders and is_folder)
            ):
                continue
            yield stored.shown()

    def _upload(self, request: Request) -> Answer:
        target = request.path.partition("/files/")[2] or None
        if "upload_id" in request.query:
            return self._chunk(request, request.query["upload_id"])
        if request.query.get("uploadType") == "resumable":
            key = f"upload{next(self._numbers)}"
            self._uploads[key] = (target, json.loads(request.body or b"{}"), bytearray())
            where = f"https://{HOST}{request.path}?uploadType=resumable&upload_id={key}"
            return Answer(200, headers={"Location": where})
        meta, content = _two_parts(request)
        content = _flipped(content) if request.flip else content
        return Answer.of(self._store(target, meta, content).shown())

    def _chunk(self, request: Request, key: str) -> Answer:
        target, meta, held = self._uploads[key]
        held += _flipped(request.body) if request.flip else request.body
        total = request.headers.get("content-range", "*/*").rpartition("/")[2]
        if total == "*" or len(held) < int(total):
            return Answer(308, headers={"Range": f"bytes=0-{len(held) - 1}"} if held else {})
        return Answer.of(self._store(target, meta, bytes(held)).shown())

    def _store(self, target: str | None, meta: dict[str, Any], content: bytes) -> StoredFile:
        if target is None:
            return self._make(meta, content)
        stored = self.files[target]
        stored.meta |= meta
        stored.content = content
        return stored

    def _make(self, meta: dict[str, Any], content: bytes | None = None) -> StoredFile:
        parents = [ROOT if name == "root" else name for name in meta.get("parents", [ROOT])]
        file_id = f"id{next(self._numbers):06d}"
        known = {
            "trashed": False,
            "capabilities": {"canDownload": True},
            "createdTime": _MADE,
            "modifiedTime": _MADE,
            "mimeType": "application/octet-stream",
        }
        made = StoredFile(file_id, known | meta | {"parents": parents}, content)
        self.files[file_id] = made
        return made


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _error(status: int, reason: str, message: str = "") -> Answer:
    said = {"domain": "usageLimits", "reason": reason, "message": message or reason}
    return Answer.of({"error": {"code": status, "message": message or reason, "errors": [said]}}, status)


def _content(stored: StoredFile, wanted: str) -> Answer:
    assert stored.content is not None
    kind = {"Content-Type": "application/octet-stream"}
    if (found := re.match(r"bytes=(\d+)-(\d*)", wanted)) is None:
        return Answer(200, stored.content, kind)
    end = int(found[2]) + 1 if found[2] else None
    return Answer(206, stored.content[int(found[1]) : end], kind)


def _two_parts(request: Request) -> tuple[dict[str, Any], bytes]:
    """Metadata and content of an ``uploadType=multipart``."""
    found = re.search(r'boundary="?([^";]+)', request.headers["content-type"])
    assert found is not None
    _, first, second, _ = request.body.split(b"--" + found[1].encode())
    meta = json.loads(first.split(b"\r\n\r\n", 1)[1])
    return meta, second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive, before and inside the tunnel."""

    protocol_version = "HTTP/1.1"
    drive: FakeDrive
    tls: ssl.SSLContext

    def do_CONNECT(self) -> None:
        """Pretend to tunnel, and end TLS here."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        """Every method but CONNECT is one question to the store."""
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        answer = self.drive.answer(Request(self.command, parts.path, query, headers, self._body(headers)))
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that the base class asks for

    def finish(self) -> None:
        """Close what :meth:`do_CONNECT` put in the place of the plain socket."""
        super().finish()
        self.connection.close()

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", "0")))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed or hung up is part of the tests; anything else is shown."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[FakeDrive, dict[str, str]]]:
    """A fake Drive and the environment in which rclone's remote ``gd:`` is it."""
    certificates = make_certificates(folder, names=(HOST,))
    drive = FakeDrive()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server, certificates.key)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"drive": drive, "tls": tls}))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    account = folder / "service-account.json"
    account.write_text(json.dumps(_service_account(f"{address}/token")), encoding="ascii")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield (
            drive,
            {
                "HTTPS_PROXY": address,
                "RCLONE_CA_CERT": str(certificates.authority),
                "RCLONE_CONFIG": "/dev/null",
                "RCLONE_CONFIG_GD_TYPE": "drive",
                "RCLONE_CONFIG_GD_SCOPE": "drive.file",
                "RCLONE_CONFIG_GD_SERVICE_ACCOUNT_FILE": str(account),
            },
        )
    finally:
        for fault in drive.faults:
            fault.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _service_account(token_uri: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "private_key": pem,
        "private_key_id": "k",
        "client_email": "sandbox@example.org",
        "client_id": "1",
        "token_uri": token_uri,
    }
