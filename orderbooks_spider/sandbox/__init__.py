"""A stand-in for Polymarket on loopback: BTC up/down markets and their books, repeatable by seed.

What it imitates was measured or documented (``docs/POLYMARKET_COLLECTOR.md``); what is its own says so.
"""
