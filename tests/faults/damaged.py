"""A copy of an archive that can be damaged, and made to fit again as far as a forger likes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import describe, digest, encode
from orderbooks_spider.archive.members import MemberScan, encode_member
from orderbooks_spider.archive.venue_check import hash_state
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.items import MarketItem, PollItem
from tests.archives import CONDITION, SLUG, START_NS, Collector, ManualClock, collect, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

Members = list[list[bytes]]
"""The lines of each gzip member."""


def busy_archive(root: Path) -> None:
    """Two finished runs of one collector: several segments of each feed, several members each."""
    root.mkdir(parents=True)
    for run, moments in ((1, 25), (2, 23)):
        clock = ManualClock(START_NS + (run - 1) * 40 * NS)
        collector = Collector(root, f"run{run}", clock)
        asyncio.run(collect(collector, moments, change=_talkative(collector)))


def _talkative(collector: Collector) -> Callable[[PollItem], PollItem]:
    """Rows of the two other feeds between the polls, so that they fill segments of their own."""

    def change(item: PollItem) -> PollItem:
        now = collector.clock.now_ns
        market = MarketItem(kind="refused", observed_ns=now, observed_at=iso_utc(now), reason="closed")
        market.market_slug, market.condition_id, market.url = SLUG, CONDITION, f"http://127.0.0.1/{now}"
        collector.write(market)
        collector.write(event("clock_quality", now, offset_us=now % 997))
        return item

    return change


@dataclass
class Damaged:
    """One copy, and the seeded randomness of its damage."""

    root: Path
    random: Random

    def chain(self, feed: str) -> list[layout.Segment]:
        """The sealed segments of *feed*, oldest first."""
        found = [item.segment for item in layout.walk_raw(self.root) if item.kind == "sealed"]
        named = [names for names in found if names is not None and names.feed == feed]
        return sorted(named, key=lambda names: int(self.manifest(names)["seq"]["first"]))

    def any_segment(self, *feeds: str, last: bool = True) -> layout.Segment:
        """One segment of *feeds* (default: of any), without *last* never the newest of its chain."""
        feed = self.random.choice(feeds or ("books", "events", "markets"))
        chain = self.chain(feed)
        return self.random.choice(chain if last else chain[:-1])

    def manifest(self, names: layout.Segment) -> dict[str, Any]:
        """Its manifest, as JSON."""
        return dict(json.loads(names.manifest.read_bytes()))

    def edit(self, path: Path, change: Callable[[bytearray], object]) -> None:
        """Change the bytes of a file; it does become another."""
        before = path.read_bytes()
        content = bytearray(before)
        change(content)
        assert bytes(content) != before
        path.write_bytes(content)

    def flip(self, path: Path) -> None:
        """Turn one bit of a file over."""
        content = path.read_bytes()
        at = self.random.randrange(len(content))
        self.edit(path, lambda data: data.__setitem__(at, data[at] ^ (1 << self.random.randrange(8))))

    def cut(self, path: Path) -> None:
        """Take some bytes from the end of a file, sometimes all."""
        keep = self.random.randrange(path.stat().st_size)
        self.edit(path, lambda data: data.__delitem__(slice(keep, None)))

    def append(self, path: Path, content: bytes) -> None:
        """Put bytes behind a file's end."""
        self.edit(path, lambda data: data.extend(content))

    def swap(self, one: Path, other: Path) -> None:
        """Let two files have each other's bytes."""
        first, second = one.read_bytes(), other.read_bytes()
        assert first != second
        one.write_bytes(second)
        other.write_bytes(first)

    def edit_json(self, path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the values in a JSON file."""
        value = json.loads(path.read_bytes())
        before = json.dumps(value)
        change(value)
        assert json.dumps(value) != before
        path.write_bytes(encode(value))

    def members(self, names: layout.Segment) -> Members:
        """The lines of a segment, member by member."""
        members: Members = []
        for line in MemberScan(names.sealed).lines():
            if line.number == 0:
                members.append([])
            members[-1].append(line.text)
        return members

    def write(self, names: layout.Segment, members: Members, level: int = 6) -> None:
        """Compress a segment anew."""
        content = b"".join(encode_member(lines, level) for lines in members)
        assert content != names.sealed.read_bytes()
        names.sealed.write_bytes(content)

    def change_row(self, names: layout.Segment, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the values of one row and compress the segment anew."""
        members = self.members(names)
        lines = self.random.choice(members)
        at = self.random.randrange(len(lines))
        row = msgspec.json.decode(lines[at], type=dict[str, Any])
        change(row)
        lines[at] = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        self.write(names, members)

    def fit_digests(self, names: layout.Segment) -> None:
        """Let manifest and sums tell the digests and members of the file that lies there now."""
        content = names.sealed.read_bytes()
        scan = MemberScan(names.sealed)
        for _ in scan.lines():
            pass
        spans = [{"offset": s.offset, "length": s.length, "rows": s.rows} for s in scan.spans]
        value = self.manifest(names)
        value |= {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "members": [{"first_ns": 0, "last_ns": 0} | span for span in spans],
        }
        names.manifest.write_bytes(encode(value))
        self.fit_sums()

    def fit(self, names: layout.Segment) -> None:
        """Let manifest and sums tell all that the file says now; run manifest and chain stay."""
        described = msgspec.to_builtins(describe(names.sealed, hash_state))
        counted = described.pop("counts")
        own = {key: described[key] for key in ("bytes", "sha256", "md5", "members")}
        names.manifest.write_bytes(encode(self.manifest(names) | own | counted))
        self.fit_sums()

    def fit_sums(self) -> None:
        """Write every ``SHA256SUMS`` anew from the manifests that are here."""
        sums: dict[Path, list[str]] = {}
        for path in (self.root / "raw").rglob("SHA256SUMS.*"):
            path.unlink()
        for _, names in layout.walk_manifests(self.root):
            assert names is not None
            line = f"{self.manifest(names)['sha256']}  {names.name_in_sums}\n"
            sums.setdefault(names.sums, []).append(line)
        for path, lines in sums.items():
            path.write_text("".join(sorted(lines, key=lambda line: line[66:])))

    def fit_runs(self) -> None:
        """Let the run manifests name exactly the manifests that are here; one without any goes."""
        for path in layout.runs_folder(self.root).iterdir():
            value = json.loads(path.read_bytes())
            entries = []
            for entry in value["segments"]:
                names = layout.parse_stem(
                    self.root, entry["file"].rsplit("/", 1)[-1].removesuffix(".jsonl.gz")
                )
                assert names is not None
                with contextlib.suppress(FileNotFoundError):
                    content = names.manifest.read_bytes()
                    said = json.loads(content)
                    fresh = {"manifest_sha256": digest(content)}
                    entries.append(entry | fresh | {key: said[key] for key in ("rows", "sha256")})
            path.write_bytes(encode(value | {"segments": entries}))
            if not entries:
                path.unlink()

    def fit_chains(self) -> None:
        """The owner's own work: link every manifest anew, then sums and run manifests."""
        for feed in ("books", "events", "markets"):
            before = None
            for names in self.chain(feed):
                value = self.manifest(names) | {"previous_manifest_sha256": before}
                names.manifest.write_bytes(encode(value))
                before = digest(names.manifest.read_bytes())
        self.fit_sums()
        self.fit_runs()

    def drop(self, names: layout.Segment) -> None:
        """Remove a segment and its manifest."""
        names.sealed.unlink()
        names.manifest.unlink()
