"""The errors a user can meet, and the exit codes of the commands.

Every error here carries one clear line: what was read, what was expected, what was seen.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_PROBLEMS = 1
"""Problems were found (verify), inputs failed (normalise), or a claim does not hold (probe)."""
EXIT_CANNOT_CHECK = 2
EXIT_REMOTE = 69
"""``EX_UNAVAILABLE``: the remote store cannot be reached, refuses, or is full; nothing is lost, try again."""
EXIT_INTERNAL = 70
"""``EX_SOFTWARE`` of sysexits.h: the loop ended by itself, or a bug."""
EXIT_STORAGE = 74
"""``EX_IOERR``: storage failed for good."""
EXIT_LOCKED = 75
"""``EX_TEMPFAIL``: another process holds the archive's lock."""
EXIT_CONFIG = 78
"""``EX_CONFIG``: systemd units stop restarting on this one."""
EXIT_INTERRUPTED = 130
"""As a shell says it of Ctrl-C."""


class OrderbooksError(Exception):
    """Root of all errors of this project; its text is one line for a user."""

    exit_code = EXIT_INTERNAL


class ConfigError(OrderbooksError):
    """The config file cannot be used; the text names the file and the key."""

    exit_code = EXIT_CONFIG


class LockedError(OrderbooksError):
    """Another process writes to this archive root with this collector id."""

    exit_code = EXIT_LOCKED


class StorageError(OrderbooksError):
    """The archive root cannot be written, read or made durable."""

    exit_code = EXIT_STORAGE


class RemoteError(OrderbooksError):
    """The remote store did not do what was asked; the text has rclone's exit code and words."""

    exit_code = EXIT_REMOTE


class ArchiveError(OrderbooksError):
    """A stored file is not what its name or its manifest says."""

    exit_code = EXIT_CANNOT_CHECK


class VenueError(OrderbooksError):
    """An answer of the venue cannot be used; the text says what was expected and seen."""


class ClaimError(OrderbooksError):
    """What was observed of the venue contradicts what our pages say; the text says where it is listed."""

    exit_code = EXIT_PROBLEMS
