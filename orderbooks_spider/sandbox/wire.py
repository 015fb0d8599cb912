"""Put answers on the wire: rightly, or in one of the ways a connection can fail."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

from orderbooks_spider.sandbox.plan import (
    Hang,
    Reset,
    ResetAfterReuse,
    SlowDrip,
    Truncate,
    WireFault,
    WrongLength,
)

if TYPE_CHECKING:
    from orderbooks_spider.sandbox.answers import Answer

SERVER = "sandbox"
"""The ``server`` header of every answer, so that no record of it can pass for the venue's."""

_DRIP_PAUSE_SECONDS = 0.05
_COMPRESS_FROM = 200
_LEVEL = 1  # the venue's is not known; this one costs a quarter of the usual 6 for four fifths of its ratio


def response_of(answer: Answer, *, compress: bool) -> web.Response:
    """Make the response; with *compress* its body is a gzip member."""
    headers = {"Server": SERVER, "Content-Type": answer.content_type, **answer.headers}
    body = answer.body
    if compress and len(body) >= _COMPRESS_FROM and "Content-Encoding" not in headers:
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return web.Response(status=answer.status, body=body, headers=headers)


def sent_part(fault: WireFault, body: bytes) -> bytes | None:
    """Give the bytes of *body* that go out under *fault*; None when there is no answer at all."""
    match fault:
        case Hang() | Reset() | ResetAfterReuse():
            return None
        case Truncate(bytes=count):
            return body[: len(body) // 2 if count is None else count]
        case _:
            return body


async def deliver_faulty(fault: WireFault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send *answer* the faulty way; for most faults this ends only when the connection does.

    Waiting for ever is safe: the server cancels a handler whose client has gone.
    """
    match fault:
        case SlowDrip(bytes_per_second=rate):
            return await _drip(request, answer, rate)
        case Reset() | ResetAfterReuse():
            _reset(request)
        case Truncate():
            _write_raw(request, answer, len(answer.body), sent_part(fault, answer.body) or b"")
            _close(request)
        case WrongLength(by=by):
            _write_raw(request, answer, max(0, len(answer.body) + by), answer.body)
            if by <= 0:
                _close(request)
        case Hang():
            pass
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


async def _drip(request: web.BaseRequest, answer: Answer, rate: int) -> web.StreamResponse:
    headers = {"Server": SERVER, "Content-Type": answer.content_type, **answer.headers}
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    piece = max(1, int(rate * _DRIP_PAUSE_SECONDS))
    for start in range(0, len(answer.body), piece):
        await response.write(answer.body[start : start + piece])
        await asyncio.sleep(piece / rate)
    await response.write_eof()
    return response


def _write_raw(request: web.BaseRequest, answer: Answer, length: int, body: bytes) -> None:
    """Write head and body past aiohttp, which would not let a wrong length out."""
    headers = {
        "Server": SERVER,
        "Content-Type": answer.content_type,
        **answer.headers,
        "Content-Length": length,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if request.transport is not None:
        request.transport.write(f"HTTP/1.1 {answer.status} Sandbox\r\n{lines}\r\n".encode() + body)


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.BaseRequest) -> None:
    """Close with SO_LINGER 0, which makes the kernel send RST instead of FIN."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def sha256_hex(body: bytes) -> str:
    """Digest of a body as the served log has it."""
    return hashlib.sha256(body).hexdigest()
