"""Where files go: a remote of rclone's configuration by its name, or a folder of this host.

What is not one of those is refused without being shown: ``:drive,token=…:`` and its like hold secrets, and
a destination is written into records, logs and messages.
"""

from __future__ import annotations

import re
from pathlib import Path

from orderbooks_spider.errors import ConfigError

VARIABLE = "ORDERBOOKS_RCLONE_DEST"

_REMOTE = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.+-]*):(?P<folder>(?!/)[A-Za-z0-9_.+ /-]*)")
"""rclone's remote names (without the blanks and ``@`` that it also allows), and plain folder names."""
_FORM = "expected REMOTE:FOLDER (a remote of your rclone.conf, a folder in it) or an absolute path"


def read_destination(text: str | None, root: Path) -> str:
    """Check a destination, for the archive at *root*.

    Raises:
        ConfigError: it is missing, of another form, or inside the archive.

    """
    if not text:
        raise ConfigError(f"{VARIABLE}: {_FORM}, saw nothing; docs/GOOGLE_DRIVE_OFFLOAD.md tells how")
    if text.startswith("/"):
        return _local(text, root)
    matched = _REMOTE.fullmatch(text)
    if matched is None or ".." in matched["folder"].split("/"):
        raise ConfigError(f"{VARIABLE}: {_FORM}; what is there is not shown, it could hold a secret")
    return f"{matched['name']}:{matched['folder'].rstrip('/')}"


def _local(text: str, root: Path) -> str:
    path, archive = Path(text).resolve(), root.resolve()
    if path.is_relative_to(archive) or archive.is_relative_to(path):
        raise ConfigError(f"{VARIABLE}: expected a folder apart from the archive {root}, saw {text}")
    return str(path)
