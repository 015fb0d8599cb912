"""What the fault suite counted: one line per kind of fault, as text and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field

HEAD = """\
# Faults: what was tried against the archive, and what was lost

Made by `sh scripts/test.sh --full tests/faults --fault-table docs/FAULTS.md`; do not edit by hand.

| column | meaning |
| --- | --- |
| kind | the fault, and how it is brought about |
| tried | times it was brought about |
| rows | rows that rule A2 of `DATA_CONTRACT.md` promises to keep; after a power loss, at each cut |
| lost | such rows that did not come back byte for byte and once each; 0 is the promise |
| damaged | archives at fault for verify after recovery, or whose sealed files had changed; 0 is the promise |

A row is promised once its write has returned; before a power loss, once its flush was due and done.
Rows *not flushed* by then may be lost by the same rule: in their lines `lost` is a measurement.

"""
COLUMNS = ("kind", "tried", "rows", "lost", "damaged")


@dataclass
class Counted:
    """One kind of fault."""

    tried: int = 0
    acknowledged: int = 0
    lost: int = 0
    damaged: int = 0

    def cells(self, kind: str) -> tuple[str, ...]:
        """One line of the table."""
        return kind, *(f"{count:,}" for count in (self.tried, self.acknowledged, self.lost, self.damaged))


@dataclass
class FaultTable:
    """Counts per kind, in the order in which the kinds were first met."""

    kinds: dict[str, Counted] = field(default_factory=dict)

    def record(self, kind: str, tried: int, acknowledged: int, lost: int, damaged: int) -> None:
        """Add to the line *kind*; call it before the test asserts, so that a failure shows too."""
        line = self.kinds.setdefault(kind, Counted())
        line.tried += tried
        line.acknowledged += acknowledged
        line.lost += lost
        line.damaged += damaged

    def text(self) -> list[str]:
        """The table for a terminal."""
        rows = [COLUMNS, *(line.cells(kind) for kind, line in self.kinds.items())]
        widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
        return [
            "  ".join(
                cell.rjust(width) if index else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]

    def markdown(self) -> str:
        """The file that ``--fault-table`` writes."""
        head = f"| {' | '.join(COLUMNS)} |\n| --- | ---: | ---: | ---: | ---: |\n"
        body = "".join(f"| {' | '.join(line.cells(kind))} |\n" for kind, line in self.kinds.items())
        return HEAD + head + body
