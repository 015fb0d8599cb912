"""What several test files share."""

from __future__ import annotations

import signal

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector
from tests.dataset import Dataset, normalize


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
