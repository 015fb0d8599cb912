"""The data contract page names what the code writes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from orderbooks_spider.archive.findings import RULES
from orderbooks_spider.archive.manifest import Grid, Manifest, Member
from orderbooks_spider.items import RESULTS, SKIP_REASONS, EventItem, MarketItem, PollItem

PAGE = (Path(__file__).resolve().parents[1] / "docs/DATA_CONTRACT.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [PollItem, MarketItem, EventItem])
def test_row_keys_stand_in_their_order(kind: type) -> None:
    """Each feed's keys are listed in the order in which they are written."""
    keys = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
    assert f"Keys in order: {keys}." in PAGE


def test_manifest_keys_and_vocabularies_are_named() -> None:
    """Every key of a manifest and every word of a row's result stands on the page."""
    words = {*Manifest.__struct_fields__, *Member.__struct_fields__, *Grid.__struct_fields__}
    named = set(re.findall(r"`([^`\s]+)`", PAGE))
    assert {*words, *RESULTS, *SKIP_REASONS} - named == set()


def test_every_rule_that_verify_cites_is_written_down() -> None:
    """A rule number in a report can be looked up."""
    assert {rule for rule, _ in RULES.values()} <= set(re.findall(r"^\| (A\d+) \|", PAGE, re.MULTILINE))
