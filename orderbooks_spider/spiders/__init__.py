"""The two spiders, and the thin skin between them and Scrapy."""
