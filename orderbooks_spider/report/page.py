"""The page: one HTML text with everything in it, no script and nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from orderbooks_spider.report.page_tables import made_from, tables
from orderbooks_spider.report.texts import clock, percent, time
from orderbooks_spider.report.words import ENVIRONMENTS, NOT_SHOWN, PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orderbooks_spider.report.numbers import DayReport

_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A browser then refuses scripts and everything from elsewhere, whatever a venue's text might hold."""
_CSS: Final = """
:root { color-scheme: light }
body { margin: 0 auto; max-width: 1120px; padding: 20px 24px 60px; background: #fff; color: #1c1c1c;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
h1 { font-size: 26px; margin: 0 0 4px }
h1 span { white-space: nowrap }
h2 { font-size: 18px; margin: 36px 0 2px }
p { margin: 4px 0; max-width: 86ch }
.soft, figcaption { color: #555 }
.badge { display: inline-block; border-radius: 4px; padding: 1px 9px; font-size: 14px; font-weight: 600;
  vertical-align: 4px; margin-left: 10px; color: #fff; background: #0072b2 }
h2 .badge { font-size: 12px; padding: 0 7px; vertical-align: 2px }
.badge.sandbox { background: #e69f00; color: #000 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 18px 0 8px }
.tiles div { border: 1px solid #ddd; border-radius: 6px; padding: 8px 12px }
.tiles b { display: block; font-size: 21px; line-height: 1.25; white-space: nowrap }
.tiles span { font-size: 13px; color: #555 }
.problems { border-left: 4px solid #d55e00; background: #fdf1e9; padding: 8px 14px; margin: 16px 0 }
figure { margin: 0; overflow-x: auto }
figcaption { font-size: 14px; max-width: 100ch; margin-bottom: 8px }
svg { display: block; width: 100%; min-width: 820px; height: auto }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr));
  gap: 4px 40px; align-items: start }
section { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
  margin-top: 6px }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #e8e8e8; vertical-align: top }
th, th.code { font: inherit; font-weight: 600; color: #444 }
.right { text-align: right }
code, .code { font: 13px ui-monospace, Menlo, Consolas, monospace; white-space: nowrap }
details { margin-top: 8px }
summary { cursor: pointer }
@media print { body { max-width: none } svg { min-width: 0 } figure, section { break-inside: avoid } }
"""


def render(report: DayReport, pictures: Mapping[str, str]) -> str:
    """The HTML text; *pictures* are ``<svg>`` elements by name."""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{report.date}, {escape(report.environment)}: what was recorded</title>",
        f"<style>{_CSS}</style>",
        "</head>",
        "<body>",
        *_head(report),
        *_tiles(report),
        *_problems(report),
        *_figures(report, pictures),
        *tables(report),
        *_not_shown(),
        *made_from(report),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _head(report: DayReport) -> Iterator[str]:
    yield f"<h1>What was recorded on <span>{report.date}{_badge(report)}</span></h1>"
    yield f"<p>{ENVIRONMENTS.get(report.environment, 'Nobody says in which environment.')}</p>"
    who = escape(" and ".join(report.collectors))
    runs = "1 run" if len(report.runs) == 1 else f"{len(report.runs)} runs"
    yield '<p class="soft">Order books of Polymarket\'s BTC up/down markets, polled by collector '
    yield f"{who} in {runs}; slots due from {clock(report.first_due_ns)} to {clock(report.last_due_ns)}."
    yield "All times are UTC.</p>"


def _badge(report: DayReport) -> str:
    """The environment; at every picture, for a picture travels alone."""
    kind = escape(report.environment)
    return f'<span class="badge {kind}">{kind}</span>'


def _tiles(report: DayReport) -> Iterator[str]:
    tiles = {
        "of planned slots answered": percent(report.slots),
        "slots planned": f"{report.slots.planned:,}",
        f"markets, {report.tokens:,} tokens": f"{report.markets:,}",
        "gaps": f"{report.gaps:,}",
        f"of {report.books:,} books disagree with the venue's hash": f"{report.hash.get('disagrees', 0):,}",
        "lateness p99": time(report.lateness.p99_ns),
        "latency p99": time(report.latency.p99_ns),
    }
    yield '<div class="tiles">'
    yield from (f"<div><b>{value}</b><span>{label}</span></div>" for label, value in tiles.items())
    yield "</div>"


def _problems(report: DayReport) -> Iterator[str]:
    if report.problems:
        yield '<div class="problems"><b>What follows is without this, or misses it</b><ul>'
        yield from (f"<li>{escape(line)}</li>" for line in report.problems)
        yield "</ul></div>"


def _figures(report: DayReport, pictures: Mapping[str, str]) -> Iterator[str]:
    for name, words in PICTURES.items():
        yield f'<h2 id="{name}">{words.question}{_badge(report)}</h2>'
        if name in pictures:
            about = ""
            if name == "depth" and report.busiest is not None:
                about = f"<code>{escape(report.busiest.market_slug)}</code>. "
            svg = pictures[name].replace("<svg", f'<svg role="img" aria-label="{words.question}"', 1)
            yield f"<figure><figcaption>{about}{words.caption}</figcaption>"
            yield f"{svg}</figure>"
        elif name == "gaps" and not report.unanswered:
            yield "<p>Every planned slot was answered.</p>"
        else:
            yield '<p class="soft">Nothing to draw: no row of this day says anything of it.</p>'


def _not_shown() -> Iterator[str]:
    yield '<h2 id="not-shown">Not shown</h2>'
    yield "<ul>"
    yield from (f"<li>{line}</li>" for line in NOT_SHOWN)
    yield "</ul>"
