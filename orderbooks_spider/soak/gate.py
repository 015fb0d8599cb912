"""The gate of a soak: small named rules over its numbers, and the verdict that follows from them alone.

Pure.  The same rules stand in ``docs/METHODOLOGY.md``, and ``tests/test_soak_gate.py`` holds page and code
together.  A rule whose evidence is missing says NOT SHOWN, which is no pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from orderbooks_spider.clock import NS
from orderbooks_spider.soak.samples import LEAST_SAMPLES, LEAST_SECONDS, WARM_UP_SECONDS
from orderbooks_spider.soak.schedule import RESTART_SECONDS
from orderbooks_spider.soak.stored import UPLOAD_LATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orderbooks_spider.soak.numbers import Process, Soak

Status = Literal["PASS", "FAIL", "NOT SHOWN"]

LIVE_SECONDS: Final = 86_400.0
EDGE_SECONDS: Final = 120.0
"""Begin and end of a soak for which the dataset may hold no slot; real seconds."""
HOLE_SECONDS: Final = 300.0
"""Longest time without a sample, real seconds."""
OURS_SHARE: Final = 0.001
COVERAGE: Final = 0.99
GROWTH_MB: Final = 4.0
"""Noise of a fit, whatever its length."""
GROWTH_MB_PER_DAY: Final = 12.0
FILES_GROWTH: Final = 10.0
CPU_SHARE: Final = 0.5
LATENESS_MS: Final = 100.0
LAG_MS: Final = 500.0
DISK_DAYS: Final = 2.0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says of a soak."""

    rule: str
    limit: str
    measured: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    limit: str
    """When it passes."""
    needs: str
    """Without which it says NOT SHOWN."""
    judge: Callable[[Soak], tuple[str, bool | None, str]]
    """Measured value, whether it passes (``None``: not shown), and the reason."""


Answer = tuple[str, "bool | None", str]
_NOTHING: Final = "nothing"


def _duration(soak: Soak) -> Answer:
    seconds, hours = soak.seconds, f"{soak.seconds / 3600:.2f} h"
    if soak.environment != "live":
        return hours, True, "simulated: no length of it shows more than the sandbox can"
    if soak.speed != 1:
        return hours, False, f"at {soak.speed:g} times real time: only a day in real time counts"
    return hours, seconds >= LIVE_SECONDS, "at the real venue, in real time"


def _whole(soak: Soak) -> Answer:
    if soak.first_due_ns is None or soak.last_due_ns is None:
        return _NOTHING, None, "the dataset holds no slot of the soak"
    before = (soak.first_due_ns - soak.begin_ns) / NS / soak.speed
    behind = (soak.end_ns - soak.last_due_ns) / NS / soak.speed
    measured = f"{before:.1f} s before the first slot, {behind:.1f} s behind the last"
    if max(before, behind) <= EDGE_SECONDS:
        return measured, True, "the dataset tells of the whole soak"
    return (
        measured,
        None,
        "normalise again when the segment of the soak's end is sealed, by the next full hour",
    )


def _evidence(soak: Soak) -> Answer:
    problems = len(soak.problems)
    reason = soak.problems[0] if problems else "every segment of the soak was used"
    return f"{problems:,}", problems == 0, reason


def _verify(soak: Soak) -> Answer:
    problems, proof = len(soak.proof.problems), soak.proof
    if not proof.rows:
        return _NOTHING, None, "verify read no row"
    reason = proof.problems[0] if problems else f"{proof.segments:,} segments, {proof.rows:,} rows read"
    return f"{problems:,}", problems == 0, reason


def _unexplained(soak: Soak) -> Answer:
    if not soak.slots.planned:
        return _NOTHING, None, "no slot was planned"
    lost = soak.slots.planned - soak.slots.answered
    measured = f"{soak.unexplained:,} of {lost:,} unanswered slots"
    if soak.unexplained and soak.unexplained_examples:
        first = soak.unexplained_examples[0]
        return (
            measured,
            False,
            f"such as {first.slots:,} of {first.market_slug} {first.outcome}: {first.cause}",
        )
    what = "the schedule, the planned start and stop" if soak.scheduled else "a cause in the archive"
    return measured, soak.unexplained == 0, f"all others have {what}" if lost else "every slot was answered"


def _ours(soak: Soak) -> Answer:
    if not soak.slots.planned:
        return _NOTHING, None, "no slot was planned"
    share = soak.ours / soak.slots.planned
    return f"{soak.ours:,} slots, {share:.4%}", share <= OURS_SHARE, "our fault, and no part of a schedule"


def _coverage(soak: Soak) -> Answer:
    base = soak.slots.planned - soak.explained
    if base <= 0:
        return _NOTHING, None, "no slot was planned outside the schedule"
    share = soak.slots.answered / base
    return (
        f"{share:.4%}",
        share >= COVERAGE,
        f"{soak.slots.answered:,} of {base:,} slots outside the schedule",
    )


def _injected(soak: Soak) -> Answer:
    if not soak.scheduled:
        return "none planned", True, "nothing was broken on purpose"
    if soak.not_injected:
        return f"{len(soak.not_injected):,}", None, soak.not_injected[0]
    return "0", True, "every fault of the schedule was made"


def _windows(soak: Soak) -> Answer:
    known = [cover for cover in soak.windows if cover.demanded]
    if not known:
        return _NOTHING, None, "the calendar demands no window within the soak"
    absent = [slug for cover in known for slug in cover.absent]
    demanded = sum(cover.demanded or 0 for cover in known)
    reason = f"such as {absent[0]}" if absent else "each has its slots"
    return f"{len(absent):,} of {demanded:,}", not absent, reason


def _hash(soak: Soak) -> Answer:
    found = next((check for check in soak.checks if check.check == "hash"), None)
    if found is None or not found.counted:
        return _NOTHING, None, "no book's hash could be computed"
    reason = f"of {found.counted:,} books; {found.unverifiable:,} more could not be checked"
    return f"{found.flagged:,}", found.flagged == 0, reason


def _deaths(soak: Soak) -> Answer:
    if not soak.processes:
        return _NOTHING, None, "no start of the collector is recorded"
    found = [restart for restart in soak.restarts if not restart.scheduled]
    planned = len(soak.restarts) - len(found)
    reason = f"{planned:,} more by the schedule" if planned else "nobody had it killed"
    if found:
        reason = f"the first ended with {found[0].exit_status}"
    return f"{len(found):,}", not found, reason


def _restart(soak: Soak) -> Answer:
    if not soak.processes:
        return _NOTHING, None, "no start of the collector is recorded"
    if not soak.restarts:
        return "no death", True, "nothing had to come back"
    seconds = [restart.real_seconds for restart in soak.restarts]
    known = [each for each in seconds if each is not None]
    if len(known) < len(seconds):
        return (
            "no answer",
            False,
            f"{len(seconds) - len(known)} of {len(seconds)} deaths have no answer behind",
        )
    measured = f"{max(known):.1f} s"
    return measured, max(known) <= RESTART_SECONDS, f"the slowest of {len(known)}; real seconds"


def _sampled(soak: Soak) -> Answer:
    hole = soak.sampling.real_longest_hole_seconds
    if hole is None:
        return _NOTHING, None, "there are no samples"
    measured = f"{hole:.0f} s"
    if hole > HOLE_SECONDS:
        return measured, None, "nobody looked for so long"
    return measured, True, f"{soak.sampling.samples:,} samples; real seconds"


def _fitted(soak: Soak) -> list[Process]:
    return [process for process in soak.processes if process.fitted_seconds is not None]


def _too_short(soak: Soak) -> str:
    return "there are no samples" if not soak.sampling.samples else "no process was sampled for long enough"


def allowed_growth_mb(seconds: float) -> float:
    """What a process may grow by in so many seconds of the archive's clock."""
    return GROWTH_MB + GROWTH_MB_PER_DAY * seconds / LIVE_SECONDS


def _memory(soak: Soak) -> Answer:
    fitted = [(each, each.growth_mb, each.fitted_seconds) for each in _fitted(soak)]
    known = [
        (growth - allowed_growth_mb(seconds), growth, seconds, each)
        for each, growth, seconds in fitted
        if growth is not None and seconds is not None
    ]
    if not known:
        return _NOTHING, None, _too_short(soak)
    over, growth, seconds, worst = max(known, key=lambda item: item[0])
    measured = f"{growth:+.1f} MB in {seconds / 3600:.1f} h"
    reason = f"process {worst.pid}, the worst of {len(known)}; {allowed_growth_mb(seconds):.1f} MB allowed"
    return measured, over <= 0, reason


def _files(soak: Soak) -> Answer:
    known = [each.files_growth for each in _fitted(soak) if each.files_growth is not None]
    if not known:
        return _NOTHING, None, _too_short(soak)
    largest = max(process.largest_files or 0 for process in soak.processes)
    return f"{max(known):+.1f}", max(known) <= FILES_GROWTH, f"at most {largest:,} at a time"


def _sockets(soak: Soak) -> Answer:
    known = [each.sockets_growth for each in _fitted(soak) if each.sockets_growth is not None]
    if not known:
        return _NOTHING, None, _too_short(soak)
    if soak.tokens_at_once is None:
        return f"{max(known):+.1f}", None, "no manifest says on which grid it polled"
    allowed = FILES_GROWTH + soak.tokens_at_once
    largest = max(process.largest_sockets or 0 for process in soak.processes)
    reason = f"at most {largest:,} at a time; {allowed:.1f} allowed"
    return f"{max(known):+.1f}", max(known) <= allowed, reason


def _cpu(soak: Soak) -> Answer:
    known = [process.cpu_share for process in soak.processes if process.cpu_share is not None]
    if not known:
        return _NOTHING, None, _too_short(soak)
    return f"{max(known):.3f}", max(known) <= CPU_SHARE, "seconds of CPU per second of the archive's clock"


def _lateness(soak: Soak) -> Answer:
    p99_ns = soak.lateness.p99_ns
    if p99_ns is None:
        return _NOTHING, None, "nothing was sent"
    real_ms = p99_ns / 1e6 / soak.speed
    return f"{real_ms:.1f} ms", real_ms <= LATENESS_MS, f"over {soak.lateness.polls:,} polls; real time"


def _lag(soak: Soak) -> Answer:
    p99 = soak.loop_lag.p99_ms
    if p99 is None:
        return _NOTHING, None, "no sample holds it"
    return f"{p99:.1f} ms", p99 <= LAG_MS, f"over {soak.loop_lag.samples:,} samples; real time"


def _upload(soak: Soak) -> Answer:
    uploads = soak.uploads
    if not uploads.runs:
        return _NOTHING, None, "no uploader ran during the soak"
    if not uploads.due:
        return _NOTHING, None, "no segment was sealed before the last upload began"
    measured = f"{len(uploads.overdue):,} of {uploads.due:,}"
    reason = f"such as {uploads.overdue[0]}" if uploads.overdue else "each has its receipt"
    return measured, not uploads.overdue, reason


def _disk(soak: Soak) -> Answer:
    days = soak.disk.days_left
    if days is None:
        return _NOTHING, None, "free space or growth is not known"
    reason = f"{(soak.disk.sealed_per_day or 0) / 1e6:,.1f} MB a day of the archive's clock"
    return f"{days:,.1f} days", days >= DISK_DAYS, reason


RULES: Final = (
    Rule("duration",
         f"at the real venue {LIVE_SECONDS / 3600:.0f} h or more, in real time; in the sandbox any", "",
         _duration),
    Rule("whole", f"at most {EDGE_SECONDS:.0f} real seconds without a slot at either end",
         "slots up to the soak's end in the dataset", _whole),
    Rule("evidence", "0 segments, manifests or rows that could not be used", "", _evidence),
    Rule("verify", "0 problems of integrity", "a row that verify read", _verify),
    Rule("unexplained", "0 unanswered slots without an explanation", "a planned slot", _unexplained),
    Rule("ours", f"at most {OURS_SHARE:.1%} of the planned slots lost by our fault, the schedule aside",
         "a planned slot", _ours),
    Rule("injected", "0 planned faults that could not be made", "every fault of the schedule", _injected),
    Rule("coverage", f"at least {COVERAGE:.0%} of the planned slots answered, the schedule aside",
         "a planned slot", _coverage),
    Rule("windows", "0 windows that the calendar demands and that have no slot",
         "a window within the soak that the calendar demands", _windows),
    Rule("hash", "0 books that disagree with the venue's hash", "a book whose hash could be computed", _hash),
    Rule("deaths", "0 ends of the collector that nobody scheduled", "a recorded start", _deaths),
    Rule("restart", f"at most {RESTART_SECONDS:.0f} real seconds from each death to the first answered slot",
         "a recorded start", _restart),
    Rule("sampled", f"at most {HOLE_SECONDS:.0f} real seconds without a sample", "samples", _sampled),
    Rule("memory",
         f"each process grows by at most {GROWTH_MB:g} MB plus {GROWTH_MB_PER_DAY:g} MB a day",
         f"{LEAST_SAMPLES} samples over {LEAST_SECONDS / 60:.0f} minutes of one process, "
         f"{WARM_UP_SECONDS / 60:.0f} minutes behind its start", _memory),
    Rule("files", f"the open files of each process grow by at most {FILES_GROWTH:g}", "the same", _files),
    Rule("sockets",
         f"the sockets of each process grow by at most {FILES_GROWTH:g} and one for each token that is "
         "polled at a time", "the same, and the grid", _sockets),
    Rule("cpu", f"at most {CPU_SHARE:g} seconds of CPU per second of the archive's clock", "samples", _cpu),
    Rule("lateness", f"99 % of the polls leave at most {LATENESS_MS:g} real ms late", "a sent poll",
         _lateness),
    Rule("loop_lag", f"in 99 % of the samples the loop's worst minute is at most {LAG_MS:g} ms late",
         "samples with a loop lag", _lag),
    Rule("upload",
         "0 segments without a receipt that were sealed before the last upload, or "
         f"{UPLOAD_LATE_SECONDS / 3600:.0f} h before the end", "an upload, and a segment sealed before",
         _upload),
    Rule("disk", f"room for at least {DISK_DAYS:g} more days", "samples, and a sealed segment", _disk),
)  # fmt: skip
"""In the order of the page."""


def judge(soak: Soak) -> list[Judged]:
    """What every rule says."""
    judged = []
    for rule in RULES:
        measured, passes, reason = rule.judge(soak)
        status: Status = "NOT SHOWN" if passes is None else "PASS" if passes else "FAIL"
        judged.append(
            Judged(rule=rule.name, limit=rule.limit, measured=measured, status=status, reason=reason)
        )
    return judged


def status_of(judged: Sequence[Judged]) -> Status:
    """The worst: one FAIL fails, and what is not shown does not pass."""
    found = {each.status for each in judged}
    return next((status for status in ("FAIL", "NOT SHOWN") if status in found), "PASS")


def verdict(soak: Soak, judged: Sequence[Judged]) -> str:
    """``PASS (sandbox, accelerated 24x)`` and the like."""
    where = soak.environment
    if soak.speed != 1:
        where += f", accelerated {soak.speed:g}x"
    return f"{status_of(judged)} ({where})"
