"""The dataset: Parquet tables derived from sealed segments, without losing a digit.  No Scrapy here.

Phase 1 (``segments``) turns one sealed segment into its rows of ``books``, ``polls`` or ``markets``;
phase 2 (``derive``) adds the planned slots without a row, ``gaps`` and ``quality``.
``docs/ORDERBOOK_SCHEMA.md`` explains the tables, which ``tables.py`` defines.
"""
