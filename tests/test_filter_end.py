"""How commands end that people run: Ctrl-C is one line, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.collector import PROJECT

WAITS = """
import signal
from orderbooks_spider.filter_end import end_with

def main():
    print("begun", flush=True)
    signal.pause()

end_with(main)
"""


def test_ctrl_c_is_one_line() -> None:
    """A command that is interrupted says so in one line and ends with 130, as a shell calls it."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == "interrupted\n"
    assert process.returncode == 130
