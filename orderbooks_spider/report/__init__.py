"""A page about one UTC day of what was recorded: numbers as JSON, and pictures of them, from the dataset.

``make.py`` puts it together.  No Scrapy here, no server, and no script on the page.
"""
