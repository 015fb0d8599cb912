"""Whether a Dask cluster can do our tasks: asked before any is sent.

A worker that cannot import this project takes its tasks and never ends; one with another version of a
library writes other bytes.
"""

from __future__ import annotations

from pydoc import locate
from typing import Any

from orderbooks_spider.errors import ConfigError
from orderbooks_spider.normalize.manifest import versions


def check_cluster(client: Any) -> None:
    """Compare the versions that scheduler and workers import with those here.

    Raises:
        ConfigError: one of them has not the same.

    """
    for package in versions():
        name = f"{package}.__version__"
        wanted = locate(name)
        # A function of the standard library: what is sent must be there before we know what is.
        found = {"the scheduler": client.run_on_scheduler(locate, name)} | client.run(locate, name)
        for place, seen in sorted(found.items()):
            if seen != wanted:
                text = f"--scheduler: expected {package} {wanted} as here, saw {seen or 'none'} at {place}"
                raise ConfigError(f"{text}: start it with the same packages, and this project in PYTHONPATH")
