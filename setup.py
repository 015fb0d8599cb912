"""The egg that `scrapyd-deploy` builds: the package and nothing beside it; nothing else uses this file.

Without it scrapyd-deploy writes one of its own into the checkout.
"""

from setuptools import find_packages, setup

setup(
    name="orderbooks_spider",
    version="0",  # scrapyd goes by the version of the deploy, an archive by orderbooks_spider.__version__
    packages=find_packages(include=["orderbooks_spider*"]),
    entry_points={"scrapy": ["settings = orderbooks_spider.settings"]},
)
