"""The samples that the repository keeps: whole, labelled, and made again byte by byte."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orderbooks_spider.archive.verify import verify
from orderbooks_spider.normalize.manifest import versions
from orderbooks_spider.normalize.run import normalise_archives
from orderbooks_spider.normalize.tables import TABLES
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PATIENCE_SECONDS, Collector
from tests.dataset import Tables

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT / "data"
ARCHIVE, DATASET = DATA / "live_sample", DATA / "normalized_sample"
COLLECTOR_PAGE = DATA / "manifests/orderbook_collector_sample_manifest.json"
LISTING_PAGE = DATA / "discovery/polymarket_btc_markets_manifest.json"
DATASET_PAGE = DATA / "manifests/orderbook_normalization_sample_manifest.json"


def kept() -> list[str]:
    """The sample files of the repository; produced ones beside them and the kept probe do not count."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout, so nothing tells the samples from produced files")
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "data", ":!data/probes"]
    listing = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listing.split("\0") if name)


def page_of(path: Path) -> dict[str, Any]:
    """A manifest."""
    page: dict[str, Any] = json.loads(path.read_bytes())
    return page


def sha256(path: Path) -> str:
    """Digest of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows() -> list[dict[str, Any]]:
    """Every raw row of the sample."""
    files = sorted((ARCHIVE / "raw").rglob("*.gz"))
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def test_raw_sample_verifies() -> None:
    """The kept segments pass every rung of the verifier, and every row says where it comes from."""
    done = subprocess.run(
        [sys.executable, "scripts/verify_archive.py", str(ARCHIVE)],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    environment = (ARCHIVE / "state/environment").read_text("ascii").strip()
    assert {row["environment"] for row in rows()} == {environment}
    assert {page_of(page)["environment"] for page in (COLLECTOR_PAGE, DATASET_PAGE)} == {environment}
    assert all(environment in (folder / "README.md").read_text("utf-8") for folder in (ARCHIVE, DATASET))


def test_collector_manifest_describes_the_raw_sample() -> None:
    """Its files are those that are kept, with their digests; its counts are those of the rows."""
    page = page_of(COLLECTOR_PAGE)
    files = {name.removeprefix("data/live_sample/") for name in kept() if name.endswith(".jsonl.gz")}
    assert {file["file"] for file in page["files"]} == files
    for file in page["files"]:
        assert file["sha256"] == sha256(ARCHIVE / file["file"])
        manifest = file["file"].replace("raw/", "manifests/", 1).replace(".jsonl.gz", ".manifest.json")
        assert file["manifest_sha256"] == sha256(ARCHIVE / manifest)
    polls = [row for row in rows() if row["schema"] == "orderbooks.poll/1"]
    assert page["poll_rows"] == page["slots_planned"] == len(polls) > 200
    assert page["venue_hash"]["agrees"] == sum(row["result"] == "ok" for row in polls)
    assert page["verify_problems"] == 0


def test_dataset_manifest_names_inputs_and_outputs() -> None:
    """Inputs are the segments of the raw sample, outputs the kept files, each with its digest."""
    page = page_of(DATASET_PAGE)
    assert DATASET_PAGE.read_bytes() == (DATASET / "manifests/normalization.json").read_bytes()
    for done in page["segments"]:
        assert done["input"]["sha256"] == sha256(ARCHIVE / done["input"]["file"])
    outputs = [output for part in page["segments"] + page["derived"] for output in part["outputs"]]
    assert all(output["sha256"] == sha256(DATASET / output["file"]) for output in outputs)
    tables = {output["file"] for output in outputs if output["table"] in TABLES}
    assert tables == {
        name.removeprefix("data/normalized_sample/") for name in kept() if name.endswith(".parquet")
    }
    assert page["tables"].keys() == TABLES.keys()
    assert page["errors"] == []


def test_raw_sample_gives_the_dataset_again(tmp_path: Path) -> None:
    """Normalised anew the raw sample has the kept rows; with the same library versions, the kept bytes."""
    made = normalise_archives([ARCHIVE], tmp_path / "out", workers=1)
    assert made.errors == []
    fresh, sample = Tables(tmp_path / "out"), Tables(DATASET)
    assert all(fresh.read(table).equals(sample.read(table)) for table in TABLES)
    if page_of(DATASET_PAGE)["versions"] == versions():
        assert fresh.digests() == sample.digests()
        assert (fresh.out / "manifests/normalization.json").read_bytes() == DATASET_PAGE.read_bytes()


def test_discovery_sample_is_whole_and_labelled() -> None:
    """The kept list, its page and its manifest agree, and each says where the markets come from."""
    page = page_of(LISTING_PAGE)
    listing = page_of(LISTING_PAGE.with_name("polymarket_btc_markets_latest.json"))
    assert [file["sha256"] for file in page["files"]] == [
        sha256(LISTING_PAGE.with_name(file["file"])) for file in page["files"]
    ]
    assert page["environment"] == listing["environment"] == "sandbox"
    assert "\nEnvironment: sandbox.\n" in LISTING_PAGE.with_name("polymarket_btc_markets.md").read_text(
        "utf-8"
    )
    markets = listing["markets"]
    assert page["markets"] == len(markets) > 20
    assert all(len(set(market["token_ids"])) == 2 and market["condition_id"] for market in markets)


def test_samples_are_small_and_whole() -> None:
    """All artefacts of the samples are kept, and together they are no burden to a clone."""
    names = kept()
    pages = (LISTING_PAGE, COLLECTOR_PAGE, DATASET_PAGE)
    assert {str(page.relative_to(PROJECT)) for page in pages} <= set(names)
    assert sum((PROJECT / name).stat().st_size for name in names) < 500_000
    folders = ("data/discovery/polymarket_btc_markets", "data/live_sample/", "data/normalized_sample/",
               "data/manifests/orderbook_")  # fmt: skip
    assert all(name.startswith(folders) for name in names)


def test_command_makes_samples_and_keeps_old_ones(tmp_path: Path) -> None:
    """One command makes archive, dataset and both manifests; where samples are it changes nothing."""
    with SandboxChild.start() as sandbox:
        collector = Collector(tmp_path, sandbox.url)
        first, second = (
            subprocess.run(
                [sys.executable, "scripts/make_samples.py", "--config", str(collector.config_file),
                 "--seconds", "3"],
                cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
            )
            for _ in range(2)
        )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert verify(collector.root / "live_sample").problems == []
    page = page_of(collector.root / "manifests" / DATASET_PAGE.name)
    assert (
        page["tables"]["books"]["rows"] == len(Tables(collector.root / "normalized_sample").read("books")) > 0
    )
    assert page_of(collector.root / "manifests" / COLLECTOR_PAGE.name)["slots_answered"] > 0
    assert second.returncode == 78
    assert "a sample is there already" in second.stderr
