"""What the page says besides numbers: what it is about, how to read each picture, what it does not show."""

from __future__ import annotations

from typing import Final, NamedTuple

ENVIRONMENTS: Final = {
    "sandbox": "Simulated by the sandbox exchange: this shows how recording works, not what the market did.",
    "live": "Recorded from the live venue.",
}


class Words(NamedTuple):
    """A picture's heading and the lines above it."""

    question: str
    caption: str


PICTURES: Final = {
    "coverage": Words(
        "Was every planned slot answered?",
        "A row is a token; markets of one window length follow each other in it, and a white mark begins the "
        "next. A single lost slot already colours its place; the fuller the colour, the larger the share "
        "lost. Nothing was planned where it is white.",
    ),
    "gaps": Words(
        "Why not, and whose fault?",
        "Left: slots without an answer by cause. Right: unbroken runs of them, by how many slots they have, "
        "coloured by the fault of most of their slots. A gap is cut at midnight.",
    ),
    "times": Words(
        "How late were we, how slow was the venue?",
        "Both axes are logarithmic, so that the few slowest polls are seen. Lateness is our doing; latency "
        "is that of venue and network together.",
    ),
    "mids": Words(
        "What did the price do, and do the two tokens agree?",
        "Per window length, inside the windows: the last mid in each column. The two books of a market show "
        "the same orders, so the black line lies in the blue one. Where they part, the book moved between "
        "the two polls, or they disagree: the last row shows by how much, over all markets.",
    ),
    "spreads": Words(
        "How wide was the spread?",
        "Over the books inside their windows, by window length, in cents of a dollar on a logarithmic scale. "
        "A spread of zero or below is drawn at the lower edge.",
    ),
    "depth": Words(
        "What did one book look like?",
        "The Up token of the market whose books changed most often for the length of its window. In each "
        "column the last book: blue bids, orange asks, the darker the more shares (logarithmic). Below, the "
        "mids of both its tokens; dashed lines where its window begins and ends.",
    ),
    "stored": Words(
        "How much was stored?",
        "Compressed bytes and rows of sealed segments, by the hour in which a block begins.",
    ),
}
"""By name, in the order of the page."""

NOT_SHOWN: Final = (
    "What a book did between two polls: this samples, it does not stream.",
    "Anything inside a gap: lines break there, and nothing is filled in.",
    "Whether a book could have been traded against, and what others were shown.",
    "Markets that no record names: a window that discovery never saw had no slots here.",
    "Times better than the host's clock, whose quality is in the table above.",
    "The books of the other markets: one market's depth is drawn, all are in the dataset.",
    "Rows that were not sealed when the page was made.",
    "That the archive is whole and unaltered: verify proves that.",
)
"""What nobody should read out of the page."""
