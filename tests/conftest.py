"""What several test files share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector
from tests.dataset import Dataset, normalize

# How long an example takes is the machine's affair: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collector, Dataset]:
    """A collector that was killed, came back and stopped as asked; and its dataset.  To be read only."""
    folder = tmp_path_factory.mktemp("killed")
    with SandboxChild.start() as sandbox:
        collector = Collector(folder, sandbox.url)
        collector.run_until("books", 40, signal.SIGKILL)
        ended = collector.run(4)
    assert ended.returncode == 0, ended.stderr
    dataset = normalize(collector.root, folder / "out")
    assert dataset.done.returncode == 0, dataset.done.stderr
    return collector, dataset
