"""Every Scrapy setting that differs from its default, with the reason.

What an operator may choose stands in the YAML config (``orderbooks_spider/config.py``), not here.
"""

from __future__ import annotations

from typing import Any

BOT_NAME = "orderbooks_spider"
SPIDER_MODULES = ["orderbooks_spider.spiders"]
NEWSPIDER_MODULE = "orderbooks_spider.spiders"

# What Scrapy leaves unsafe: certificates unchecked, and two consoles that run code.
DOWNLOAD_VERIFY_CERTIFICATES = True
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False
DOWNLOAD_MAXSIZE = 16_000_000
"""Bytes of a decoded answer: 500 books are 1.1 MB, a page of 500 events about 3.5 MB."""
DOWNLOAD_WARNSIZE = 0
REDIRECT_ENABLED = False
COOKIES_ENABLED = False
METAREFRESH_ENABLED = False
ROBOTSTXT_OBEY = False
"""robots.txt speaks of web pages; these are the venue's documented public API endpoints."""

# A poll is sent at once, once, or not at all: queues and repeats belong to nobody but the grid.
CONCURRENT_REQUESTS = 4096
CONCURRENT_REQUESTS_PER_DOMAIN = 4096
"""Above the number of tokens: Scrapy's default of 8 would queue polls after their stamp."""
DOWNLOAD_DELAY = 0
RETRY_ENABLED = False
AUTOTHROTTLE_ENABLED = False
HTTPCACHE_ENABLED = False
DOWNLOAD_FAIL_ON_DATALOSS = False
"""What arrived of a truncated answer is kept, with the row saying so."""
DOWNLOAD_HANDLERS = {
    "http": "orderbooks_spider.extensions.download.StampingDownloadHandler",
    "https": "orderbooks_spider.extensions.download.StampingDownloadHandler",
}

# Each middleware costs every poll, and the download handler does all that a poll needs.
DOWNLOADER_MIDDLEWARES_BASE: dict[str, int] = {}
SPIDER_MIDDLEWARES_BASE: dict[str, int] = {}
EXTENSIONS_BASE: dict[str, Any] = {}
EXTENSIONS = {
    "orderbooks_spider.extensions.minute_log.MinuteLog": 100,
    "orderbooks_spider.extensions.clock_watch.ClockWatch": 200,
    "orderbooks_spider.extensions.health.Health": 300,
    "orderbooks_spider.extensions.notify.Notify": 400,
}
ITEM_PIPELINES = {
    "orderbooks_spider.pipelines.stamp.StampPipeline": 100,
    "orderbooks_spider.pipelines.feed.FeedPipeline": 200,
    "orderbooks_spider.pipelines.manifest.ManifestPipeline": 300,
}

LOG_LEVEL = "INFO"
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_FORMATTER = "orderbooks_spider.extensions.minute_log.QuietLogFormatter"
"""One line per state change and one summary a minute; nothing per request or row."""
LOGSTATS_INTERVAL = 0
STATS_DUMP = False
