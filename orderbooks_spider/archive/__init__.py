"""Storage: rows to journals to sealed gzip segments with manifests, and back.  No Scrapy here.

The numbered rules (A1, A2, ...) that comments and tests cite stand in ``docs/DATA_CONTRACT.md``.
"""
