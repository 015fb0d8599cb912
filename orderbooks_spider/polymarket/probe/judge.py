"""A claim, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orderbooks_spider.polymarket.probe.seen import NOT_ASKED, Finding, NotShownError, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

Agree = Literal["yes", "no", "not shown", "not shown (sandbox)"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that can be held against what was seen; ``open``: nobody documents it, it is assumed."""

    text: str
    sources: tuple[str, ...]
    check: Callable[[Seen], Finding]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the checkpoint, its answer in a sentence, and what is asked and claimed about it."""

    text: str
    answer: str
    asked: tuple[str, ...]
    """Steps of the survey."""
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim after the probe."""

    claim: Claim
    observed: str
    agree: Agree


def judge(claim: Claim, seen: Seen) -> Verdict:
    """Hold a claim against what was seen; what the sandbox had to invent shows nothing about the venue."""
    try:
        finding = claim.check(seen)
    except NotShownError as error:
        return Verdict(claim, str(error), "not shown")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What was not foreseen is a finding too, and must not cost the rest of the page.
        finding = Finding(f"an unforeseen shape ({type(error).__name__}: {error})", agree=False)
    if claim.open and seen.environment == "sandbox":
        return Verdict(claim, f"the double: {finding.observed}", "not shown (sandbox)")
    return Verdict(claim, finding.observed, "yes" if finding.agree else "no")


def not_asked(why: str) -> Callable[[Seen], Finding]:
    """The check of a claim that this probe does not put to the venue."""

    def check(_: Seen) -> Finding:
        raise NotShownError(f"{NOT_ASKED}: {why}")

    return check
