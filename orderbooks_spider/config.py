"""The collector's configuration: typed, with an error that names the file and the key.

The YAML keys and their defaults are those of ``config/polymarket_collector.example.yaml``.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta

from orderbooks_spider import yaml_file
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT_VARIABLE = "ORDERBOOKS_CONFIG"
DEFAULT_FILE = "config/polymarket_collector.example.yaml"

EMBEDDED_SANDBOX = "sandbox"
"""As ``venue`` URL: start the sandbox exchange as a child process and use its address."""

NOT_KEPT = "(not kept)"
"""What manifests hold in place of a setting that may be a secret."""

Window = Literal["5m", "15m", "1h", "4h", "1d"]
Seconds = Annotated[float, Meta(ge=0, le=31_622_400)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=31_622_400)]
"""At most a year, which also keeps ``.inf`` out.  Defaults are floats, as read ones are: one digest."""
Count = Annotated[int, Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; an unknown key is an error."""


class Venue(_Section, frozen=True):
    """Where the venue is, and who we say we are."""

    gamma_url: str = "https://gamma-api.polymarket.com"
    clob_url: str = "https://clob.polymarket.com"
    user_agent: str = "orderbooks-archive/0.1 (+contact)"

    @property
    def embedded(self) -> bool:
        """Whether the sandbox exchange is started by the collector itself."""
        return self.gamma_url == EMBEDDED_SANDBOX


class Discovery(_Section, frozen=True):
    """Which markets to look for, how often and how far ahead."""

    interval_seconds: PositiveSeconds = 60.0
    horizon_seconds: PositiveSeconds = 7200.0
    windows: Annotated[tuple[Window, ...], Meta(min_length=1)] = ("5m", "15m", "1h", "4h", "1d")


class Polling(_Section, frozen=True):
    """The cadence."""

    mode: Literal["book", "books"] = "book"
    interval_seconds: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    lead_seconds: Seconds | dict[Window, Seconds] = 60.0
    linger_seconds: Seconds = 30.0
    timeout_seconds: PositiveSeconds = 5.0
    budget_fraction: Annotated[float, Meta(gt=0, le=1000)] = 0.5
    batch_tokens: Annotated[int, Meta(ge=1, le=500)] = 100
    phase_buckets: Annotated[int, Meta(ge=1, le=1000)] = 20

    @property
    def interval_ns(self) -> int:
        """The grid's step."""
        return round(self.interval_seconds * NS)

    @property
    def linger_ns(self) -> int:
        """How long a token is polled after its window's end."""
        return round(self.linger_seconds * NS)

    def lead_ns(self, window: str) -> int:
        """How long before the window's start its tokens are polled; 60 s where a table lacks it."""
        lead = self.lead_seconds
        seconds = lead.get(window, 60) if isinstance(lead, dict) else lead  # type: ignore[call-overload]
        return round(seconds * NS)


class Archive(_Section, frozen=True):
    """Where rows are stored, and how soon they are durable."""

    root: str = "data"
    collector_id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")] = "c0"
    fsync_seconds: PositiveSeconds = 1.0
    block_seconds: PositiveSeconds = 60.0
    block_bytes: Count = 64_000_000
    rotate_seconds: PositiveSeconds = 3600.0
    min_free_bytes: Annotated[int, Meta(ge=0)] = 1_000_000_000


class Shard(_Section, frozen=True):
    """Which part of the markets this collector takes, when several share them."""

    index: Annotated[int, Meta(ge=0)] = 0
    count: Count = 1


class Health(_Section, frozen=True):
    """Who is told that the collector is well."""

    ping_url: str | None = None
    """May be a secret: it stands in no row, manifest or log line (:meth:`Config.told`)."""

    @property
    def host(self) -> str | None:
        """Who is pinged, without what may be secret."""
        return None if self.ping_url is None else urlsplit(self.ping_url).hostname


class Offload(_Section, frozen=True):
    """When local copies of files proven remote may go."""

    keep_local_days: Annotated[float, Meta(ge=0, le=36_600)] = 7.0


class Config(_Section, frozen=True):
    """The whole file."""

    environment: Literal["live", "sandbox"] = "live"
    venue: Venue = Venue()
    discovery: Discovery = Discovery()
    polling: Polling = Polling()
    archive: Archive = Archive()
    shard: Shard = Shard()
    health: Health = Health()
    offload: Offload = Offload()

    @property
    def hosts(self) -> frozenset[str]:
        """``host[:port]`` of every server that may be asked anything."""
        return frozenset(urlsplit(url).netloc for url in (self.venue.gamma_url, self.venue.clob_url))

    @property
    def on_loopback(self) -> bool:
        """Whether both venue URLs name this machine by its loopback address."""
        urls = (self.venue.gamma_url, self.venue.clob_url)
        return all(urlsplit(url).hostname == "127.0.0.1" for url in urls)

    def told(self) -> dict[str, Any]:
        """The effective settings as manifests keep them: of a ping URL only that there is one."""
        settings: dict[str, Any] = msgspec.to_builtins(self)
        if self.health.ping_url is not None:
            settings["health"]["ping_url"] = NOT_KEPT
        return settings

    def sha256(self) -> str:
        """Digest of the settings as told, defaults included."""
        return hashlib.sha256(msgspec.json.encode(self.told(), order="sorted")).hexdigest()


def load(path: str | Path) -> Config:
    """Read the YAML file at *path*.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or a key is unknown, stands twice, is of
            the wrong type or contradicts another; the text names file, key, expectation and what was seen.

    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the config file: {error}") from error
    try:
        raw = yaml_file.read(text)
    except yaml_file.DuplicateKeyError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: such as a 13th month
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return parse({} if raw is None else raw, source=str(path))


def read_config(path: str | None) -> Config:
    """Load *path*, or the file that ``ORDERBOOKS_CONFIG`` names, or the live example.

    Under scrapyd no ``config/`` lies beside the egg, and who runs a command as another user may stand in a
    folder that this one cannot enter, such as root's home: then the defaults are the live example's.

    Raises:
        ConfigError: see :func:`load`.

    """
    chosen = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return load(chosen)
    return load(DEFAULT_FILE) if os.access(DEFAULT_FILE, os.R_OK) else Config()


def parse(raw: Any, *, source: str) -> Config:
    """Check the value *raw* of a config file; *source* names it in errors.

    Raises:
        ConfigError: see :func:`load`.

    """
    _refuse_unknown_keys(raw, Config, (), source)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_name_the_key(str(error), raw)}") from error
    if config.health.ping_url is not None and not _is_ping_url(config.health.ping_url):
        # What was seen may be a secret with a slip of the pen in it, so it is not repeated.
        raise ConfigError(f"{source}: health.ping_url: expected null or http(s)://HOST[:PORT][/PATH][?QUERY]")
    _check_together(config, source)
    return config


class SecondsError(argparse.ArgumentTypeError, ValueError):
    """An argument is no duration; argparse shows the text of its own kind of error only."""


def positive_seconds(text: str) -> float:
    """How long a bounded run takes, as an argument says it.

    Raises:
        SecondsError: *text* is not a finite number above zero.

    """
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise SecondsError(f"expected a positive number, saw {text!r}")
    return value


def _refuse_unknown_keys(raw: Any, section: type[_Section], at: tuple[str, ...], source: str) -> None:
    if not isinstance(raw, dict):
        key = ".".join(at) or "the file"
        raise ConfigError(f"{source}: {key}: expected a mapping of keys, saw {raw!r}")
    known = {item.name: item.type for item in msgspec.structs.fields(section)}
    for key, value in raw.items():
        name = ".".join((*at, str(key)))
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"{source}: {name}: unknown key; {hint}")
        expected = known[key]
        if isinstance(expected, type) and issubclass(expected, _Section):
            _refuse_unknown_keys(value, expected, (*at, str(key)), source)


def _name_the_key(message: str, raw: Any) -> str:
    """Turn msgspec's ``... - at `$.polling.mode``` into ``polling.mode: ... (saw 'x')``."""
    matched = re.fullmatch(r"(?P<what>.*) - at (`key` in )?`\$\.(?P<path>.*)`", message)
    if matched is None:
        return message
    seen = raw
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", matched["path"]):
        seen = seen[int(index)] if index else seen[key]
    what = matched["what"]
    if what.startswith("Invalid enum value"):  # msgspec does not say which are valid
        what = f"Expected one of {', '.join(_choices(matched['path']))}"
    return f"{matched['path']}: {what} (saw {seen!r})"


def _choices(path: str) -> list[str]:
    """The texts that the setting at *path*, such as ``discovery.windows[1]``, is chosen from."""
    kind: Any = Config
    for key in path.partition("[")[0].split("."):
        kind = next(item.type for item in msgspec.structs.fields(kind) if item.name == key)
    return list(_literals(kind))


def _literals(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for part in get_args(kind):
            yield from _literals(part)


def _check_together(config: Config, source: str) -> None:
    """Rules over more than one key."""
    sandbox = config.environment == "sandbox"
    for key in ("gamma_url", "clob_url"):
        url = getattr(config.venue, key)
        if url == EMBEDDED_SANDBOX:
            continue
        if not _is_address(url):
            raise ConfigError(f"{source}: venue.{key}: expected http(s)://HOST[:PORT], saw {url!r}")
    embedded = {config.venue.gamma_url == EMBEDDED_SANDBOX, config.venue.clob_url == EMBEDDED_SANDBOX}
    if embedded == {True, False}:
        raise ConfigError(f"{source}: venue: either both URLs are {EMBEDDED_SANDBOX!r} or neither")
    if True in embedded and not sandbox:
        raise ConfigError(f"{source}: venue.gamma_url: {EMBEDDED_SANDBOX!r} needs environment: sandbox")
    if config.archive.root.startswith("~"):
        raise ConfigError(f"{source}: archive.root: expected a path without ~, saw {config.archive.root!r}")
    windows = config.discovery.windows
    if len(set(windows)) < len(windows):
        raise ConfigError(f"{source}: discovery.windows: expected each once, saw {', '.join(windows)}")
    if config.shard.index >= config.shard.count:
        raise ConfigError(
            f"{source}: shard.index: expected 0 to {config.shard.count - 1} "
            f"(shard.count is {config.shard.count}), saw {config.shard.index}"
        )
    if config.polling.budget_fraction > 1 and not sandbox:
        raise ConfigError(
            f"{source}: polling.budget_fraction: at most 1 of the documented limit unless "
            f"environment: sandbox (saw {config.polling.budget_fraction})"
        )


def _is_ping_url(url: str) -> bool:
    """Whether *url* can be asked, and more can be put behind its query; plain ASCII, nothing to escape."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url and "#" not in url
    return has_host and plain and parts.scheme in {"http", "https"}


def _is_address(url: str) -> bool:
    """Whether *url* is scheme and host alone, so that a path can be put after it."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as half an IPv6 address, or a port of letters
        return False
    return has_host and url in {f"http://{parts.netloc}", f"https://{parts.netloc}"}
