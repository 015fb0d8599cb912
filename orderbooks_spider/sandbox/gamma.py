"""Gamma's event, market and series objects, with the fields, types and size of real ones.

Field by field: section 2.4 of the venue's fact sheet. Texts are the sandbox's own words at the
length of the venue's, because pages of events are what a discovery pass has to cope with.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.sandbox.markets import PerMarket, hydrated_ns
from orderbooks_spider.sandbox.noise import mix, unit
from orderbooks_spider.sandbox.windows import SERIES, Series, iso_seconds

if TYPE_CHECKING:
    from orderbooks_spider.sandbox.books import BookSource
    from orderbooks_spider.sandbox.markets import Market
    from orderbooks_spider.sandbox.quotes import Quote

_NEAR_NS = 900 * NS
_IMAGE = "https://polymarket-upload.s3.us-east-2.amazonaws.com/BTC+fullsize.png"
_LISTED_AFTER_NS = 60 * NS  # startDate: about a minute after the row was created
_SWEEP_FROM = 4000  # texts in memory, 5.5 KB each


class GammaRows:
    """Objects of Gamma as they stand at an instant.

    Prices in a row are refreshed once a minute near the window and once an hour long before it.
    """

    def __init__(self, books: BookSource) -> None:
        self._books = books
        self._texts: PerMarket[tuple[tuple[object, ...], bytes]] = PerMarket(_SWEEP_FROM)

    def event_text(self, market: Market, now_ns: int, gap_ns: int | None) -> bytes:
        """Encode the event of *market* with its market inside; kept until something changes."""
        priced_ns = _priced_ns(market, now_ns)
        hydrated = now_ns >= hydrated_ns(market, gap_ns)
        resolved = now_ns >= market.life.resolved_ns
        state = (priced_ns, hydrated, resolved, now_ns >= market.start_ns)
        known = self._texts.get(market)
        if known is None or known[0] != state:
            text = json.dumps(self.event(market, now_ns, gap_ns), separators=(",", ":")).encode()
            known = state, text
            self._texts.put(market, known, now_ns)
        return known[1]

    def event(self, market: Market, now_ns: int, gap_ns: int | None) -> dict[str, Any]:
        """Give the event with its one market inside, as the ``/events`` routes do."""
        row = self._event(market, now_ns)
        row["markets"] = [self._market(market, now_ns, gap_ns)]
        return row

    def market(self, market: Market, now_ns: int, gap_ns: int | None) -> dict[str, Any]:
        """Give the market with its event inside, as the ``/markets`` routes do."""
        row = self._market(market, now_ns, gap_ns)
        row["events"] = [self._event(market, now_ns)]
        return row

    def _event(self, market: Market, now_ns: int) -> dict[str, Any]:
        resolved = now_ns >= market.life.resolved_ns
        liquidity, volume = _amounts(market, _priced_ns(market, now_ns))
        row = {
            "id": market.event_id,
            "ticker": market.slug,
            "slug": market.slug,
            "title": market.title,
            "description": _description(market),
            "resolutionSource": market.series.resolution_source,
            "startDate": iso_utc(market.life.created_ns + _LISTED_AFTER_NS),
            "creationDate": iso_utc(market.life.created_ns + _LISTED_AFTER_NS - 6000),
            "endDate": iso_seconds(market.end_ns // NS),
            "image": _IMAGE,
            "icon": _IMAGE,
            "active": True,
            "closed": resolved,
            "archived": False,
            "new": False,
            "featured": False,
            "restricted": True,
            "liquidity": liquidity,
            "volume": volume,
            "openInterest": 0,
            "createdAt": iso_utc(market.life.created_ns),
            "updatedAt": iso_utc(_updated_ns(market, now_ns)),
            "competitive": 0.9999750006249843,
            **dict.fromkeys(("volume24hr", "volume1wk", "volume1mo", "volume1yr"), volume),
            "enableOrderBook": True,
            "liquidityClob": liquidity,
            "negRisk": False,
            "commentCount": 0,
            "series": [series_row(market.series, now_ns)],
            "cyom": False,
            "showAllOutcomes": True,
            "showMarketImages": True,
            "enableNegRisk": False,
            "automaticallyActive": True,
            "startTime": iso_seconds(market.start_ns // NS),
            "seriesSlug": market.series.slug,
            "negRiskAugmented": False,
            "pendingDeployment": False,
            "deploying": False,
            "requiresTranslation": False,
        }
        metadata = self._metadata(market, now_ns)
        if metadata:
            row["eventMetadata"] = metadata
        if resolved:
            row["closedTime"] = iso_seconds(market.life.closed_ns // NS)
        return row

    def _metadata(self, market: Market, now_ns: int) -> dict[str, float]:
        if now_ns < market.start_ns:
            return {}
        settlement = self._books.settlement(market)
        metadata = {"priceToBeat": settlement.price_to_beat}
        if now_ns >= market.life.resolved_ns:
            metadata["finalPrice"] = settlement.final_price
        return metadata

    def _market(self, market: Market, now_ns: int, gap_ns: int | None) -> dict[str, Any]:
        hydrated = now_ns >= hydrated_ns(market, gap_ns)
        quote = self._books.quote(market, _priced_ns(market, now_ns)) if hydrated else None
        row = _identity(market) | _amount_fields(market, now_ns) | _fixed_fields(market)
        row["updatedAt"] = iso_utc(_updated_ns(market, now_ns))
        row["closed"] = False
        row["acceptingOrders"] = hydrated
        row["outcomePrices"] = _text_list("0.5", "0.5")
        row["orderPriceMinTickSize"] = 0.01
        if hydrated:
            row["clobTokenIds"] = _text_list(*market.token_ids)
            row["acceptingOrdersTimestamp"] = iso_seconds(market.life.accepting_ns // NS)
        if quote is not None:
            row |= _price_fields(quote)
        if now_ns >= market.life.resolved_ns:
            up_won = self._books.settlement(market).up_won
            row |= _resolved_fields(market, up_won=up_won)
        return row


def series_row(series: Series, now_ns: int) -> dict[str, Any]:
    """Give a series as it stands inside an event, and in ``/series``."""
    return {
        "id": series.id,
        "ticker": series.slug,
        "slug": series.slug,
        "title": series.title,
        "seriesType": "single",
        "recurrence": series.recurrence,
        "image": "",
        "icon": "",
        "active": True,
        "closed": False,
        "archived": False,
        "featured": False,
        "restricted": True,
        "createdAt": series.created,
        "updatedAt": iso_utc(now_ns - now_ns % (3600 * NS)),
        "volume24hr": 42805542.3676,
        "volume": 64234.192645,
        "liquidity": 6011579.0442,
        "commentCount": 27205,
        "requiresTranslation": False,
    }


def series_rows(slugs: list[str], now_ns: int) -> list[dict[str, Any]]:
    """Give the series with these slugs, or all."""
    return [series_row(series, now_ns) for series in SERIES if not slugs or series.slug in slugs]


def _priced_ns(market: Market, now_ns: int) -> int:
    """Give the instant whose prices a row shows: each market has its own phase, so that no burst comes."""
    if now_ns >= market.life.resolved_ns:
        return market.life.resolved_ns
    period = 60 * NS if now_ns > market.start_ns - _NEAR_NS else 3600 * NS
    return max(market.life.accepting_ns, now_ns - (now_ns + market.key % period) % period)


def _updated_ns(market: Market, now_ns: int) -> int:
    return max(market.life.created_ns, min(now_ns, _priced_ns(market, now_ns)))


def _description(market: Market) -> str:
    source = market.series.resolution_source
    return (
        f'A simulated market of the sandbox exchange: it resolves to "Up" if the simulated Bitcoin price at '
        f'the end of the time range in the title ("{market.title}") is greater than or equal to the price at '
        'the beginning of that range. Otherwise, it resolves to "Down".\nA market of this kind at the venue '
        f"names as its resolution source the data published at {source}, and no other source or spot market "
        "counts for it.\nNothing here is live: prices follow a seeded random path, so that two sandboxes "
        "with one seed tell the same story, and no order can be placed."
    )


def _text_list(*items: str) -> str:
    """Encode a list the way Gamma does: JSON text inside a string, with a space after the comma."""
    return json.dumps(list(items))


def _identity(market: Market) -> dict[str, Any]:
    return {
        "id": market.gamma_id,
        "question": market.title,
        "conditionId": market.condition_id,
        "slug": market.slug,
        "resolutionSource": market.series.resolution_source,
        "endDate": iso_seconds(market.end_ns // NS),
        "startDate": iso_utc(market.life.created_ns + _LISTED_AFTER_NS),
        "image": _IMAGE,
        "icon": _IMAGE,
        "description": _description(market),
        "outcomes": _text_list("Up", "Down"),
        "active": True,
        "marketMakerAddress": "",
        "createdAt": iso_utc(market.life.created_ns),
        "questionID": market.question_id,
        "endDateIso": iso_seconds(market.end_ns // NS)[:10],
        "startDateIso": iso_utc(market.life.created_ns + _LISTED_AFTER_NS)[:10],
        "eventStartTime": iso_seconds(market.start_ns // NS),
    }


def _amounts(market: Market, t_ns: int) -> tuple[float, float]:
    """Give (liquidity, volume) in dollars; volume grows through the window."""
    if t_ns >= market.life.resolved_ns:
        return 0.0, round(20_000 + 60_000 * unit(market.key, 31), 6)
    share = max(0.0, min(1.0, (t_ns - market.start_ns) / (market.end_ns - market.start_ns)))
    liquidity = round(15_000 + mix(market.key, 30) % 100_000_000 / 10_000, 4)
    return liquidity, round(9.999997 + share * (20_000 + 60_000 * unit(market.key, 31)), 6)


def _amount_fields(market: Market, now_ns: int) -> dict[str, Any]:
    liquidity, volume = _amounts(market, _priced_ns(market, now_ns))
    spans = ("24hr", "1wk", "1mo", "1yr")
    return {
        "liquidity": str(liquidity),
        "liquidityNum": liquidity,
        "liquidityClob": liquidity,
        "volume": str(volume),
        "volumeNum": volume,
        "volumeClob": volume,
        **{f"volume{span}": volume for span in spans},
        **{f"volume{span}Clob": volume for span in spans},
    }


def _fixed_fields(market: Market) -> dict[str, Any]:
    no = (
        "new featured archived negRisk ready funded cyom pagerDutyNotificationEnabled clearBookOnStart "
        "showGmpSeries showGmpOutcome manualActivation negRiskOther pendingDeployment deploying rfqEnabled "
        "holdingRewardsEnabled requiresTranslation"
    )
    yes = "restricted enableOrderBook hasReviewedDates approved automaticallyActive feesEnabled"
    row: dict[str, Any] = dict.fromkeys(no.split(), False) | dict.fromkeys(yes.split(), True)
    row |= {
        "groupItemThreshold": "0",
        "orderMinSize": 5,
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "competitive": 0.9999750006249843,
        "rewardsMinSize": 50,
        "rewardsMaxSpread": 4.5,
        "umaResolutionStatuses": "[]",
        "makerRebatesFeeShareBps": 10000,
        "feeType": "crypto_fees_v2",
        "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
    }
    kind = market.series.kind
    if kind in {"5m", "15m"}:
        name = f"btc-{kind}-twap-60"
        row["cryptoMarketConfigId"] = name
        row["cryptoMarketConfig"] = {
            "id": name,
            "asset": "btc",
            "duration": kind,
            "twapEnabled": True,
            "twapLookbackSeconds": 60,
        }
    return row


def _price_fields(quote: Quote) -> dict[str, Any]:
    row: dict[str, Any] = {
        "outcomePrices": _text_list(f"{quote.mid:.4g}", f"{1 - quote.mid:.4g}"),
        "spread": (quote.ask - quote.bid) / 1000,
        "orderPriceMinTickSize": 0.001 if quote.fine else 0.01,
        "lastTradePrice": quote.bid / 1000 or 0.001,
    }
    # Gamma leaves keys out when they have no value.
    if quote.bid > 0:
        row["bestBid"] = quote.bid / 1000
    if quote.ask < 1000:
        row["bestAsk"] = quote.ask / 1000
    return row


def _resolved_fields(market: Market, *, up_won: bool) -> dict[str, Any]:
    closed = datetime.fromtimestamp(market.life.closed_ns // NS, UTC)
    return {
        "closed": True,
        "acceptingOrders": False,
        "outcomePrices": _text_list("1", "0") if up_won else _text_list("0", "1"),
        "closedTime": f"{closed:%Y-%m-%d %H:%M:%S}+00",
        "umaEndDate": f"{closed:%Y-%m-%dT%H:%M:%S}Z",
        "umaResolutionStatus": "resolved",
        "automaticallyResolved": True,
    }
