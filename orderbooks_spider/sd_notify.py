"""The protocol in which a service tells its manager how it is (``sd_notify(3)``): datagrams to a socket."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from orderbooks_spider.clock import NS

if TYPE_CHECKING:
    from collections.abc import Mapping

READY = "READY=1"
WATCHDOG = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def status(text: str) -> str:
    """What ``systemctl status`` shows."""
    return "STATUS=" + " ".join(text.split())


def extend_timeout(seconds: float) -> str:
    """Ask for so long, from now, before the manager loses its patience with a start or a stop."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"


@dataclass(frozen=True)
class ServiceManager:
    """Where the manager listens, and how often it wants to hear that all is well."""

    address: str
    watchdog_ns: int | None
    """Silence of this length ends the process; ``None``: it may be silent for ever."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """Read ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``; ``None``: nobody listens.

        ``WATCHDOG_PID`` names another process where a wrapper is watched in our place.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        period = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = ours and period.isdecimal() and int(period) > 0
        return cls(address, int(period) * NS // 1_000_000 if watched else None)

    def send(self, *assignments: str) -> None:
        """Send one datagram; at once, or not at all where the manager does not read.

        Raises:
            OSError: it could not be sent.

        """
        # A leading @ stands for the zero byte of Linux's abstract socket names.
        target = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, target)
