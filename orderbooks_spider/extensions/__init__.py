"""Parts of the Scrapy engine that this project replaces or adds."""
