"""The examples of ``docs/TIME.md``, run as they stand there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.clock import NS
from orderbooks_spider.host_clock import CLOCK_QUALITY, ClockQuality
from tests.archives import START_NS, UP, Collector, event, poll

if TYPE_CHECKING:
    from collections.abc import Callable

    from orderbooks_spider.items import EventItem

PAGE = (Path(__file__).resolve().parents[1] / "docs/TIME.md").read_text("utf-8")
GOOD = ClockQuality(state="ok", synchronised=True, offset_ns=-50_000, max_error_ns=1_200_000, status=0)
BETTER = ClockQuality(state="ok", synchronised=True, offset_ns=0, max_error_ns=900_000, status=0)
LOST = ClockQuality(state="error", synchronised=False, offset_ns=0, max_error_ns=16 * NS, status=64)


def example(function: str) -> Callable[..., Any]:
    """The function of this name, from the page."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(block, names)
    found: Callable[..., Any] = names[function]
    return found


def reading(second: int, quality: ClockQuality) -> EventItem:
    return event(CLOCK_QUALITY, START_NS + second * NS, **msgspec.to_builtins(quality))


def bounded(root: Path, *events: EventItem, **changes: Any) -> tuple[int, int] | None:
    """What the example says of the poll of second 12 in an archive with these events."""
    collector = Collector(root)
    collector.open()
    observed = poll(UP, 12)
    collector.write(observed)
    for item in events:
        collector.write(item)
    asyncio.run(collector.close())
    within: tuple[int, int] | None = example("true_within")(root, msgspec.to_builtins(observed) | changes)
    return within


def test_worked_example_has_the_numbers_of_the_page(tmp_path: Path) -> None:
    """The interval that the page works out is the one that its code gives."""
    assert bounded(tmp_path, reading(0, GOOD), reading(60, BETTER)) == (
        START_NS + 12_343_552_500,
        START_NS + 12_402_447_500,
    )


def test_larger_second_bound_counts(tmp_path: Path) -> None:
    """An error that the daemon found only after the poll widens its interval too."""
    worse = msgspec.structs.replace(GOOD, max_error_ns=40_000_000, offset_ns=0)
    within = bounded(tmp_path, reading(0, GOOD), reading(60, worse))
    assert within == (START_NS + 12_311_000_000, START_NS + 12_435_000_000)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [reading(0, GOOD)],
        [reading(13, GOOD)],
        [reading(0, GOOD), reading(60, LOST)],
        [reading(0, LOST), reading(60, GOOD)],
        [reading(0, GOOD), event("clock_step", START_NS + 30 * NS, step_ns=-NS), reading(60, GOOD)],
    ],
    ids=["none", "none after", "none before", "lost after", "lost before", "step"],
)
def test_what_is_not_shown_is_none(events: list[EventItem], tmp_path: Path) -> None:
    """Without two readings that bound the clock, or across a step, no interval is given."""
    assert bounded(tmp_path, *events) is None


@pytest.mark.parametrize("changes", [{"run_id": "run2"}, {"headers": {"age": "3"}}])
def test_other_polls_are_not_bounded(changes: dict[str, Any], tmp_path: Path) -> None:
    """Readings bound only the polls of their own run, and no answer that a cache had kept."""
    assert bounded(tmp_path, reading(0, GOOD), reading(60, BETTER), **changes) is None


def test_page_names_every_key() -> None:
    """Each key of a reading and each state stands on the page."""
    named = set(re.findall(r"`(\w+)`", PAGE))
    states = msgspec.json.schema(ClockQuality)["$defs"]["ClockQuality"]["properties"]["state"]["enum"]
    assert {*ClockQuality.__struct_fields__, *states} - named == set()
