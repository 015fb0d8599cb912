"""What a soak is to run and to break: a YAML file, typed, whose errors name the file and the key.

Times are seconds of the exchange's clock since the soak's start.

```yaml
seconds: 87000           # how long
speed: 30                # at most so many seconds of the exchange in a real one; 1: real time
begins: "23:50"          # UTC of the exchange's clock at the start, lately; left out: now
collector: {}            # the collector's config, without the addresses and the archive's root
faults:                  # in order, and none during another, but for upload_outage
- {kind: kill, at: 3600}
- {kind: outage, at: 7200, seconds: 600}
- {kind: throttle, at: 14400, seconds: 120, answer: {kind: status, status: 429}}
- {kind: clock_step, at: 30000, seconds: 600, step_seconds: 40}
```
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from orderbooks_spider.clock import NS
from orderbooks_spider.config import PositiveSeconds, Seconds, parse
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox import plan as sandbox
from orderbooks_spider.simulated_clock import FASTEST

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * NS


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: an unknown key is an error."""


class _Planned(_Strict, frozen=True, kw_only=True, tag_field="kind"):
    """Base: the kind names the fault."""

    at: Seconds


class _Spell(_Planned, frozen=True, kw_only=True):
    """A fault that lasts."""

    seconds: PositiveSeconds


class Kill(_Planned, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL to the collector, which is started again as systemd would."""


class Outage(_Spell, frozen=True, kw_only=True, tag="outage"):
    """The whole venue gives the *answer* of the sandbox's fault plans to everything."""

    answer: sandbox.Fault = sandbox.Reset()


class Throttle(_Spell, frozen=True, kw_only=True, tag="throttle"):
    """The order-book host refuses every request."""

    answer: sandbox.Fault = sandbox.Status(status=429)


class Slow(_Spell, frozen=True, kw_only=True, tag="slow"):
    """The order-book host answers late."""

    answer: sandbox.Fault = sandbox.Delay(seconds=1.5)


class ClockStep(_Spell, frozen=True, kw_only=True, tag="clock_step"):
    """The wall clock of the collector's host is off by *step_seconds*, then right again."""

    step_seconds: Annotated[float, Meta(ge=-3600, le=3600)]


class DiskFull(_Spell, frozen=True, kw_only=True, tag="disk_full"):
    """A ballast file takes the free space down below the collector's ``archive.min_free_bytes``."""


class UploadOutage(_Spell, frozen=True, kw_only=True, tag="upload_outage"):
    """The remote store is not there."""


PlannedFault = Kill | Outage | Throttle | Slow | ClockStep | DiskFull | UploadOutage
VenueFault = Outage | Throttle | Slow


class SoakPlan(_Strict, frozen=True, kw_only=True):
    """The whole file."""

    seconds: PositiveSeconds
    speed: Annotated[float, Meta(ge=1, le=FASTEST)] = 1.0
    begins: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d\Z")] | None = None
    seed: int = 1
    """What the exchange's markets and books follow from."""
    sample_seconds: PositiveSeconds = 60.0
    upload_seconds: PositiveSeconds | None = 3600.0
    """How often sealed segments are sent to the remote store; null: never."""
    room_bytes: Annotated[int, Meta(ge=1_000_000)] = 4_000_000_000
    """The archive may take so much of the disk before ``archive.min_free_bytes`` is reached."""
    collector: dict[str, Any] = {}
    faults: list[PlannedFault] = []

    def begin_ns(self, now_ns: int) -> int:
        """Where the exchange's clock starts: so that even its end lies before *now_ns*, or now."""
        if self.begins is None:
            return now_ns
        hours, minutes = map(int, self.begins.split(":"))
        since_midnight_ns = (hours * 60 + minutes) * 60 * NS
        latest_ns = now_ns - round(self.seconds * NS)
        return (latest_ns - since_midnight_ns) // DAY_NS * DAY_NS + since_midnight_ns


def read_plan(path: Path) -> SoakPlan:
    """Read the file at *path*.

    Raises:
        ConfigError: it cannot be read, or a key is wrong; the text names file, key and what was seen.

    """
    try:
        plan = msgspec.yaml.decode(path.read_bytes(), type=SoakPlan)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the soak's plan: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    _check(plan, str(path))
    return plan


def touches_slots(fault: PlannedFault) -> bool:
    """Whether the fault can cost polls; what happens to the remote store cannot."""
    return not isinstance(fault, UploadOutage)


def end_seconds(fault: PlannedFault) -> float:
    """When the fault is over."""
    return fault.at + (0.0 if isinstance(fault, Kill) else fault.seconds)


def _check(plan: SoakPlan, source: str) -> None:
    parse({"environment": "sandbox", **plan.collector}, source=f"{source}: collector")
    for key, reason in (("environment", "is sandbox"), ("venue", "is the soak's own exchange")):
        if key in plan.collector:
            raise ConfigError(f"{source}: collector.{key}: {reason}; leave the key out")
    for key in ("root", "min_free_bytes"):
        if key in plan.collector.get("archive", {}):
            raise ConfigError(f"{source}: collector.archive.{key}: is chosen by the soak; leave the key out")
    if plan.begins is not None and plan.speed == 1:
        raise ConfigError(f"{source}: begins: at speed 1 the clock is the host's; leave the key out")
    _check_times(plan, source)


def _check_times(plan: SoakPlan, source: str) -> None:
    for number, fault in enumerate(plan.faults):
        if end_seconds(fault) > plan.seconds:
            raise ConfigError(
                f"{source}: faults[{number}]: expected to end by {plan.seconds:g}, the end of the soak; "
                f"saw {end_seconds(fault):g}"
            )
    for kind in (True, False):
        alike = [(number, fault) for number, fault in enumerate(plan.faults) if touches_slots(fault) is kind]
        for (_, before), (number, after) in itertools.pairwise(alike):
            if after.at <= end_seconds(before):
                raise ConfigError(
                    f"{source}: faults[{number}].at: expected more than {end_seconds(before):g}, "
                    f"the end of the fault before; saw {after.at:g}"
                )
