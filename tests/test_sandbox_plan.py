"""Fault plans: errors name the key, and rules apply when and as often as they say."""

from __future__ import annotations

import pytest

from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox.faults import Asked, RuleBook
from orderbooks_spider.sandbox.plan import Delay, Plan, RetryAfter, Status, parse_plan


def rules(text: str) -> RuleBook:
    """A plan ready to use."""
    return RuleBook(parse_plan(text.encode(), "plan.yaml"))


def asked(elapsed: float = 0.0, path: str = "/book", index: int = 0, *, reused: bool = False) -> Asked:
    """One request for a book."""
    return Asked(path, "GET", "127.0.0.1", frozenset({index}), reused, elapsed)


def fired(book: RuleBook, request: Asked) -> list[str]:
    """Kinds of the faults that apply to a request."""
    return [type(rule.fault).__name__ for rule, _ in book.select(request)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("faults: [{fault: {kind: status, stauts: 500}}]", "stauts"),
        ("faults: [{fault: {kind: explode}}]", "faults[0].fault.kind"),
        ("faults: [{fault: {kind: status}}]", "status"),
        ("faults: [{fault: {kind: status, status: high}}]", "faults[0].fault.status"),
        ("faults: [{fault: {kind: status, status: 42}}]", "faults[0].fault.status"),
        ("faults: [{match: {pth: /book}, fault: {kind: hang}}]", "pth"),
        ("- {match: {token_index: 2}, fault: {kind: hang}}", "[0].match.token_index"),
        ("faults: [{fault: {kind: hang}, every: 2, times: 1}]", "`every` and `times`"),
        ("- fault: {kind: status, status: 429, retry_after: {}}", "faults[0].fault.retry_after"),
        ("faults: [{fault: {kind: hang}, every: 0}]", "faults[0].every"),
        ("faults: [{fault: {kind: hang}, from_seconds: 5, until_seconds: 5}]", "until_seconds"),
        ("fautls: []", "fautls"),
        ("hydration_gap: {seconds: 3}", "seconds"),
        ("faults: [", "plan.yaml"),
        ("7", "plan.yaml"),
    ],
)
def test_an_error_in_a_plan_names_file_and_key(text: str, named: str) -> None:
    """A plan that cannot be used says where: file, and key or place; in one line."""
    with pytest.raises(ConfigError) as caught:
        parse_plan(text.encode(), "plan.yaml")
    message = str(caught.value)
    assert "plan.yaml" in message
    assert named in message
    assert "\n" not in message


def test_a_plan_may_be_a_list_or_empty() -> None:
    """The bare list of rules is a plan, and so is an empty file."""
    assert len(parse_plan(b"- fault: {kind: hang}", "p").faults) == 1
    assert parse_plan(b"", "p") == Plan()


def test_times_bound_a_rule() -> None:
    """A rule holds from its first second until just before its last."""
    book = rules("- {fault: {kind: hang}, from_seconds: 5, until_seconds: 10}")
    assert [bool(fired(book, asked(second))) for second in (4.9, 5, 9.9, 10)] == [False, True, True, False]


def test_every_and_times_count_matching_requests() -> None:
    """``every: 3`` takes each third matching request, ``times: 2`` the first two."""
    book = rules("- {fault: {kind: hang}, match: {path: /book}, every: 3}")
    hits = []
    for number in range(9):
        fired(book, asked(path="/ok"))
        hits.append(bool(fired(book, asked(float(number)))))
    assert hits == [False, False, True] * 3
    book = rules("- {fault: {kind: hang}, times: 2}")
    assert [bool(fired(book, asked())) for _ in range(4)] == [True, True, False, False]


def test_matches_look_at_path_token_host_and_method() -> None:
    """Each condition of a match can keep a request out."""
    assert fired(rules("- {fault: {kind: hang}, match: {path: '/boo*'}}"), asked())
    assert not fired(rules("- {fault: {kind: hang}, match: {path: /boo}}"), asked())
    assert fired(rules("- {fault: {kind: hang}, match: {token_index: 1}}"), asked(index=1))
    assert not fired(rules("- {fault: {kind: hang}, match: {token_index: 1}}"), asked(index=0))
    assert not fired(rules("- {fault: {kind: hang}, match: {host: localhost}}"), asked())
    assert not fired(rules("- {fault: {kind: hang}, match: {method: post}}"), asked())


def test_the_first_rule_that_answers_wins_and_delays_add() -> None:
    """Delays let later rules speak; any other fault ends the search."""
    book = rules("[{fault: {kind: delay, seconds: 2}}, {fault: {kind: hang}}, {fault: {kind: reset}}]")
    assert fired(book, asked()) == ["Delay", "Hang"]
    assert [wait for rule, wait in book.select(asked()) if isinstance(rule.fault, Delay)] == [2]


def test_reset_after_reuse_leaves_fresh_connections_alone() -> None:
    """Only a connection that has carried an answer is cut."""
    book = rules("- {fault: {kind: reset_after_reuse}, times: 1}")
    assert not fired(book, asked(reused=False))
    assert fired(book, asked(reused=True)) == ["ResetAfterReuse"]


def test_a_throttle_delays_before_it_refuses() -> None:
    """Above the limit requests wait, far above it they are refused, and a quiet time heals."""
    book = rules("- fault: {kind: throttle, requests: 2, refuse_above: 4, per_seconds: 10, delay_seconds: 3}")
    seen = [[(rule.fault, wait) for rule, wait in book.select(asked(number / 10))] for number in range(6)]
    assert seen[:2] == [[], []]
    assert [wait for row in seen[2:4] for _, wait in row] == [3, 3]
    assert all(isinstance(fault, Status) and fault.status == 429 for row in seen[4:] for fault, _ in row)
    assert len(seen[5]) == 1
    assert list(book.select(asked(60.0))) == []


def test_a_venue_that_slows_down_then_refuses_then_recovers() -> None:
    """Delays add, so a plan can raise the latency in steps at constant load, refuse for a while, and end."""
    book = rules(
        """
        - {match: {path: /book*}, from_seconds: 20, until_seconds: 50, fault: {kind: delay, seconds: 0.1}}
        - {match: {path: /book*}, from_seconds: 30, until_seconds: 50, fault: {kind: delay, seconds: 0.2}}
        - {match: {path: /book*}, from_seconds: 40, until_seconds: 50, fault: {kind: delay, seconds: 0.5}}
        - match: {path: /book*}
          from_seconds: 50
          until_seconds: 60
          fault: {kind: status, status: 429, retry_after: {seconds: 5}}
        """
    )
    seen = {second: list(book.select(asked(second))) for second in range(10, 71, 10)}
    waits = {second: round(sum(wait for _, wait in rows), 1) for second, rows in seen.items()}
    assert waits == {10: 0, 20: 0.1, 30: 0.3, 40: 0.8, 50: 0, 60: 0, 70: 0}
    (refusal,) = (rule.fault for rule, _ in seen[50])
    assert refusal == Status(429, retry_after=RetryAfter(seconds=5))
    assert seen[60] == []
