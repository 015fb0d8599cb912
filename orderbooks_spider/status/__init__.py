"""Whether collecting goes well: what is known, what follows from it, and how it is told; no Scrapy here."""
