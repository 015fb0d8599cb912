from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from orderbooks_spider.clock import NS
from orderbooks_spider.config import Config, load, parse
from orderbooks_spider.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[1] / "config"
EXAMPLE = FOLDER / "polymarket_collector.example.yaml"
SANDBOX = FOLDER / "polymarket_collector.sandbox.yaml"

PROMISED: dict[str, Any] = {
    "environment": "live",
    "venue": {
        "gamma_url": "https://gamma-api.polymarket.com",
        "clob_url": "https://clob.polymarket.com",
        "user_agent": "orderbooks-archive/0.1 (+contact)",
    },
    "discovery": {
        "interval_seconds": 60,
        "horizon_seconds": 7200,
        "windows": ["5m", "15m", "1h", "4h", "1d"],
    },
    "polling": {
        "mode": "book",
        "interval_seconds": 1.0,
        "lead_seconds": 60,
        "linger_seconds": 30,
        "timeout_seconds": 5,
        "budget_fraction": 0.5,
        "batch_tokens": 100,
        "phase_buckets": 20,
    },
    "archive": {
        "root": "data",
        "collector_id": "c0",
        "fsync_seconds": 1,
        "block_seconds": 60,
        "block_bytes": 64_000_000,
        "rotate_seconds": 3600,
        "min_free_bytes": 1_000_000_000,
    },
    "shard": {"index": 0, "count": 1},
    "health": {"ping_url": None},
    "offload": {"keep_local_days": 7},
}
"""Every key that operators were promised, with its default."""


def leaves(tree: dict[str, Any], *at: str) -> list[tuple[tuple[str, ...], Any]]:
    """Every key of a nested mapping with its value."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in tree.items():
        found += leaves(value, *at, key) if isinstance(value, dict) else [((*at, key), value)]
    return found


def nested(at: tuple[str, ...], value: Any) -> Any:
    """A mapping that holds *value* alone."""
    for key in reversed(at):
        value = {key: value}
    return value


def told(raw: Any) -> str:
    """The one line that a user is told about a file holding *raw*."""
    with pytest.raises(ConfigError) as caught:
        parse(raw, source="my.yaml")
    return str(caught.value)


def test_example_holds_every_default() -> None:
    """The example file shows each promised key once, at the default that an empty file gives."""
    assert yaml.safe_load(EXAMPLE.read_text("utf-8")) == PROMISED
    assert load(EXAMPLE) == Config()


def test_no_setting_is_undocumented() -> None:
    """The settings are the promised ones, no more and no fewer, with the promised values."""
    assert msgspec.json.decode(msgspec.json.encode(Config())) == PROMISED


@pytest.mark.parametrize(("at", "value"), leaves(PROMISED), ids=str)
def test_each_key_loads_alone(at: tuple[str, ...], value: Any) -> None:
    """Each key may stand alone in a file, the others keeping their defaults."""
    assert parse(nested(at, value), source="my.yaml") == Config()


def test_sandbox_file_loads() -> None:
    """The quick start's file is a sandbox that the collector starts itself, in a root of its own."""
    config = load(SANDBOX)
    assert (config.environment, config.venue.embedded) == ("sandbox", True)
    assert config.archive.root != Config().archive.root
    assert config.polling.lead_ns("1h") == 3600 * NS


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """A file that says nothing asks for the defaults."""
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load(path) == Config()


def test_derived_values() -> None:
    """Times are given to the grid in whole nanoseconds, and only the two hosts may be asked."""
    config = parse({"polling": {"interval_seconds": 0.1, "linger_seconds": 2.5}}, source="my.yaml")
    assert (config.polling.interval_ns, config.polling.linger_ns) == (100_000_000, 2_500_000_000)
    assert config.hosts == {"gamma-api.polymarket.com", "clob.polymarket.com"}
    assert not config.venue.embedded


def test_lead_by_window_has_a_default() -> None:
    """A table of leads counts for the windows it names, and 60 s for the others."""
    polling = parse({"polling": {"lead_seconds": {"5m": 30, "1h": 600}}}, source="my.yaml").polling
    assert [polling.lead_ns(window) // NS for window in ("5m", "1h", "4h")] == [30, 600, 60]


@pytest.mark.parametrize(
    "url",
    ["", "x.org/secret", "ftp://x.org/secret", "https:///secret", "https://x.org:port/secret",
     "https://x.org/sec ret", "https://x.org/secret#part", "https://x.org/s\u00e9cret", "file:///secret"],
)  # fmt: skip
def test_ping_url_that_cannot_be_asked_is_refused_unseen(url: str) -> None:
    """Only a plain http(s) URL is taken, and the one line about any other does not repeat it."""
    said = told({"health": {"ping_url": url}})
    assert said.startswith("my.yaml: health.ping_url: expected null or http(s)://")
    assert "cret" not in said


def test_ping_url_is_not_told() -> None:
    """Of a ping URL the settings that manifests keep, and their digest, only say that there is one."""
    urls = ("https://x.org/ping/secret", "http://user:word@10.0.0.1:8080/?key=1")
    configs = [parse({"health": {"ping_url": url}}, source="my.yaml") for url in urls]
    assert [config.health.ping_url for config in configs] == list(urls)
    assert [config.health.host for config in configs] == ["x.org", "10.0.0.1"]
    first, second = (config.told() for config in configs)
    assert first == second == Config().told() | {"health": {"ping_url": "(not kept)"}}
    assert configs[0].sha256() == configs[1].sha256() != Config().sha256()


def test_digest_tells_settings_apart() -> None:
    """The digest depends on the effective settings alone: not on how they were written, but on each value."""
    assert Config().sha256() == parse({}, source="a").sha256() == load(EXAMPLE).sha256()
    changed = {parse({"polling": {"batch_tokens": count}}, source="a").sha256() for count in (99, 100, 101)}
    assert len(changed) == 3


@pytest.mark.parametrize(
    ("raw", "key", "seen"),
    [
        ({"polling": {"mode": "fast"}}, "polling.mode", "'fast'"),
        ({"polling": {"interval_seconds": "1s"}}, "polling.interval_seconds", "'1s'"),
        ({"polling": {"interval_seconds": True}}, "polling.interval_seconds", "True"),
        ({"polling": {"interval_seconds": 0.01}}, "polling.interval_seconds", "0.01"),
        ({"polling": {"timeout_seconds": math.inf}}, "polling.timeout_seconds", "inf"),
        ({"polling": {"linger_seconds": math.nan}}, "polling.linger_seconds", "nan"),
        ({"polling": {"budget_fraction": 0}}, "polling.budget_fraction", "0"),
        ({"polling": {"budget_fraction": math.inf}}, "polling.budget_fraction", "inf"),
        ({"polling": {"batch_tokens": 501}}, "polling.batch_tokens", "501"),
        ({"polling": {"batch_tokens": 1.5}}, "polling.batch_tokens", "1.5"),
        ({"polling": {"phase_buckets": 0}}, "polling.phase_buckets", "0"),
        ({"polling": {"lead_seconds": {"2m": 60}}}, "polling.lead_seconds", "'2m'"),
        ({"polling": {"lead_seconds": {5: 60}}}, "polling.lead_seconds", "{5: 60}"),
        ({"polling": {"lead_seconds": {"5m": "soon"}}}, "polling.lead_seconds", "'soon'"),
        ({"polling": {"lead_seconds": {"5m": -1}}}, "polling.lead_seconds", "-1"),
        ({"polling": {"lead_seconds": [60]}}, "polling.lead_seconds", "[60]"),
        ({"discovery": {"windows": ["5m", "2m"]}}, "discovery.windows[1]", "'2m'"),
        ({"discovery": {"windows": ["5m", ["15m"]]}}, "discovery.windows[1]", "['15m']"),
        ({"discovery": {"windows": []}}, "discovery.windows", "[]"),
        ({"discovery": {"windows": "5m"}}, "discovery.windows", "'5m'"),
        ({"archive": {"collector_id": "C_0"}}, "archive.collector_id", "'C_0'"),
        ({"archive": {"collector_id": "c0\n"}}, "archive.collector_id", "'c0\\n'"),
        ({"archive": {"block_bytes": "64MB"}}, "archive.block_bytes", "'64MB'"),
        (
            {"environment": "sandbox", "polling": {"budget_fraction": math.inf}},
            "polling.budget_fraction",
            "inf",
        ),
        ({"environment": "test"}, "environment", "'test'"),
        ({"shard": {"index": -1, "count": 2}}, "shard.index", "-1"),
        ({"shard": {"index": 2, "count": 2}}, "shard.index", "2"),
        ({"shard": {"count": 0}}, "shard.count", "0"),
        ({"health": {"ping_url": 5}}, "health.ping_url", "5"),
        ({"offload": {"keep_local_days": math.inf}}, "offload.keep_local_days", "inf"),
        ({"polling": None}, "polling", "None"),
        ({"archive": ["data"]}, "archive", "['data']"),
        (["environment"], "the file", "['environment']"),
        ("live", "the file", "'live'"),
    ],
)
def test_wrong_value_is_named(raw: Any, key: str, seen: str) -> None:
    """A wrong value is told with file and key, what was expected and what was seen."""
    message = told(raw)
    assert message.startswith((f"my.yaml: {key}: ", f"my.yaml: {key}["))
    assert "xpected" in message or "nvalid" in message or "at most" in message
    assert seen in message.removeprefix(f"my.yaml: {key}: ")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"environment": "test"}, "environment: Expected one of live, sandbox (saw 'test')"),
        ({"polling": {"mode": "fast"}}, "polling.mode: Expected one of book, books (saw 'fast')"),
        (
            {"discovery": {"windows": ["5m", "2m"]}},
            "discovery.windows[1]: Expected one of 5m, 15m, 1h, 4h, 1d (saw '2m')",
        ),
        (
            {"polling": {"lead_seconds": {"2m": 60}}},
            "polling.lead_seconds: Expected one of 5m, 15m, 1h, 4h, 1d (saw {'2m': 60})",
        ),
    ],
)
def test_value_outside_a_choice_is_told_the_choice(raw: Any, expected: str) -> None:
    """Where a setting is one of a few texts, the line about another text lists them."""
    assert told(raw) == f"my.yaml: {expected}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("environment: live\n# so\nenvironment: sandbox\n", "environment: stands twice, in lines 1 and 3"),
        ("polling:\n  mode: book\n  'mode': books\n", "polling.mode: stands twice, in lines 2 and 3"),
        (
            "polling:\n  lead_seconds: {5m: 1, 1h: 2, 5m: 3}\n",
            "polling.lead_seconds.5m: stands twice, in lines 2 and 2",
        ),
        ("discovery: {windows: [{a: 1, a: 2}]}\n", "discovery.windows[0].a: stands twice, in lines 1 and 1"),
    ],
    ids=["top", "section", "table", "list"],
)
def test_key_that_stands_twice_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    """YAML's last of two equal keys never wins unsaid: the line names the key and where it stands."""
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {problem}; keep one"


def test_same_key_in_two_sections_is_no_duplicate(tmp_path: Path) -> None:
    """A key may stand in several sections, and an alias may repeat a whole value."""
    path = tmp_path / "my.yaml"
    path.write_text("discovery: {interval_seconds: &a 30}\npolling: {interval_seconds: *a}\n")
    config = load(path)
    assert (config.discovery.interval_seconds, config.polling.interval_seconds) == (30, 30)


@pytest.mark.parametrize(
    ("raw", "key", "hint"),
    [
        ({"polling": {"intervall_seconds": 1}}, "polling.intervall_seconds", "'interval_seconds'"),
        ({"poling": {}}, "poling", "'polling'"),
        ({"archive": {"rotate_second": 1}}, "archive.rotate_second", "'rotate_seconds'"),
        ({"shard": {"xyz": 1}}, "shard.xyz", "known keys: index, count"),
        ({5: 1}, "5", "known keys: environment, venue"),
    ],
)
def test_unknown_key_names_the_nearest(raw: Any, key: str, hint: str) -> None:
    """A key that does not exist is told with the one that was probably meant, or else with all."""
    message = told(raw)
    assert message.startswith(f"my.yaml: {key}: unknown key; ")
    assert hint in message


@pytest.mark.parametrize("key", ["gamma_url", "clob_url"])
@pytest.mark.parametrize(
    "url",
    [
        "clob.polymarket.com",
        "ftp://clob.polymarket.com",
        "https://",
        "https://x.org/",
        "https://x.org/api",
        "https://x.org?a=b",
        "http://[::1",
        "http://x.org:port",
        "",
    ],
)
def test_url_must_be_an_address(key: str, url: str) -> None:
    """A URL that paths cannot simply follow is refused with its key."""
    assert told({"venue": {key: url}}) == f"my.yaml: venue.{key}: expected http(s)://HOST[:PORT], saw {url!r}"


def test_url_of_one_s_own_sandbox() -> None:
    """A sandbox exchange that was started by hand is named by its address and is not embedded."""
    urls = {"gamma_url": "http://127.0.0.1:8080", "clob_url": "http://[::1]:8080"}
    config = parse({"environment": "sandbox", "venue": urls}, source="my.yaml")
    assert config.hosts == {"127.0.0.1:8080", "[::1]:8080"}
    assert not config.venue.embedded


def test_embedded_sandbox_is_never_live() -> None:
    """Simulated books can never be labelled live."""
    message = told({"venue": {"gamma_url": "sandbox", "clob_url": "sandbox"}})
    assert message.startswith("my.yaml: venue.gamma_url: ")
    assert "environment: sandbox" in message


@pytest.mark.parametrize("key", ["gamma_url", "clob_url"])
def test_embedded_sandbox_is_whole(key: str) -> None:
    """Half a sandbox, with the other half live, is refused."""
    assert "both" in told({"environment": "sandbox", "venue": {key: "sandbox"}})


def test_budget_above_the_limit_needs_the_sandbox() -> None:
    """More than the documented limit may be asked of the sandbox, never of the venue."""
    polling = {"budget_fraction": 1.01}
    assert "polling.budget_fraction" in told({"polling": polling})
    assert parse({"polling": {"budget_fraction": 1}}, source="my.yaml").polling.budget_fraction == 1
    config = parse({"environment": "sandbox", "polling": polling}, source="my.yaml")
    assert config.polling.budget_fraction == 1.01


@pytest.mark.parametrize(
    "text",
    [
        "polling: [",
        "a: b: c",
        "\x00",
        "since: 2026-13-01",
        "polling: !!int x",
        "[" * 1000,
        "x: !!python/name:os",
        "a: 1\n---\nb: 2",
    ],
    ids=["bracket", "colons", "control", "month", "integer", "deep", "tag", "two documents"],
)
def test_file_that_is_no_yaml(text: str, tmp_path: Path) -> None:
    """What YAML cannot read is one line with the file's name, whichever way YAML fails."""
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: not YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"environment: \xff"])
def test_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    """A missing file, and one that is not text, are told with their name."""
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: cannot read the config file: ")
