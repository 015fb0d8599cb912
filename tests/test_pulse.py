"""What a collector remembers of the rows that pass: tokens, minutes and problems."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.pulse import MINUTE_NS, MINUTES, Pulse, TokenPulse, percentile_ms
from orderbooks_spider.tally import percentile
from tests.archives import DOWN, START_NS, UP, event, poll

SLOTS = st.lists(st.booleans(), min_size=1, max_size=30)


@given(answers=SLOTS)
def test_gap_begins_at_the_first_slot_after_the_last_answer(answers: list[bool]) -> None:
    """In time order a token's gap is the run of unanswered slots at its end, with its first slot's cause."""
    token = TokenPulse("m", "Up")
    for slot, answered in enumerate(answers, 1):
        token.add(slot, f"cause {slot}", answered=answered)
    last = max((slot for slot, answered in enumerate(answers, 1) if answered), default=0)
    open_gap = last < len(answers)
    assert token.due_ns == len(answers)
    assert token.answered_ns == (last or None)
    assert token.gap_from_ns == (last + 1 if open_gap else None)
    assert token.gap_cause == (f"cause {last + 1}" if open_gap else None)


def test_late_row_is_the_cause_of_the_skips_before_it() -> None:
    """A timeout whose row comes after those of the slots it blocked still gives the gap its cause."""
    token = TokenPulse("m", "Up")
    token.add(1, "ok", answered=True)
    for slot in (3, 4):
        token.add(slot, "skipped/in_flight", answered=False)
    token.add(2, "timeout/DownloadTimeoutError", answered=False)
    assert (token.gap_from_ns, token.gap_cause) == (2, "timeout/DownloadTimeoutError")


def test_late_answer_does_not_close_a_gap_behind_it() -> None:
    """A slow answer of an earlier slot leaves the later slots unanswered."""
    token = TokenPulse("m", "Up")
    token.add(3, "skipped/in_flight", answered=False)
    token.add(2, "ok", answered=True)
    assert (token.answered_ns, token.gap_from_ns) == (2, 3)


def test_minutes_count_what_was_due_in_them() -> None:
    """Slots count for the minute in which they were due, and only the last minutes are kept."""
    pulse = Pulse()
    for moment in range(0, 600, 20):
        pulse.add(poll(UP, moment))
        pulse.add(poll(DOWN, moment, result="throttled", reason=None, sent_ns=None))
    now_ns = START_NS + 600 * NS
    minutes = pulse.last_minutes(now_ns)
    assert len(minutes) == MINUTES - 1
    assert {minute.from_ns % MINUTE_NS for minute in minutes} == {0}
    for minute in minutes:
        assert (minute.answered, minute.results) == (3, Counter(ok=3, throttled=3))
        assert minute.lateness_ms == Counter({1: 3})
    assert pulse.last_minutes(now_ns + 3600 * NS) == []


def test_tokens_whose_markets_are_over_are_forgotten() -> None:
    """A token stays as long as it has slots."""
    pulse = Pulse()
    pulse.add(poll(UP, 0))
    pulse.add(poll(DOWN, 30))
    pulse.drop_before(START_NS + 10 * NS)
    assert list(pulse.tokens) == [DOWN]


@pytest.mark.parametrize(
    ("opens", "detail", "closes"),
    [
        ("storage_paused", {"reason": "no room"}, "storage_resumed"),
        ("universe_empty", {"asked": 5}, "universe_found"),
        ("budget_exceeded", {"requests_needed": 9}, "budget_suffices"),
        ("throttle_suspected", {"median_ns": 9}, "throttle_over"),
        ("discovery_failed", {"error": "E"}, "discovered"),
    ],
)
def test_problem_lasts_from_its_row_to_the_one_that_ends_it(
    opens: str, detail: dict[str, int | str], closes: str
) -> None:
    """An event that begins a problem shows it, with what it said first, until its counterpart comes."""
    pulse = Pulse()
    pulse.add(event(opens, 1, **detail))
    pulse.add(event(opens, 2, **dict.fromkeys(detail, "later")))
    ((key, value),) = detail.items()
    assert {name: (it.since_ns, it.text) for name, it in pulse.problems.items()} == {
        opens: (1, f"{key} {value}")
    }
    pulse.add(event(closes, 3))
    assert pulse.problems == {}


def test_a_seal_ends_the_problems_of_its_feed_alone() -> None:
    """What failed in one feed is not mended by another's seal; a seal also moves that chain's head."""
    pulse = Pulse()
    for feed in ("books", "events"):
        pulse.add(event("seal_failed", 1, feed=feed, error="E"))
    pulse.add(event("segment_sealed", 2, feed="books", manifest_sha256="ab"))
    assert list(pulse.problems) == ["seal_failed events"]
    assert pulse.heads == {"books": "ab"}


@given(values=st.lists(st.integers(-5, 500)), fraction=st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_counted_percentile_is_the_nearest_rank(values: list[int], fraction: float) -> None:
    """Counted by milliseconds, a percentile is that of the list."""
    assert percentile_ms(Counter(values), fraction) == percentile(sorted(values), fraction)
