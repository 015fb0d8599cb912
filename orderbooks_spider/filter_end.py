"""How a command ends that people run: by Ctrl-C with one line, by ``| head`` quietly as any other filter."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from orderbooks_spider.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run *main* and exit with its code.

    SIGPIPE itself stays ignored while *main* works: with its default action a worker process that was
    killed would end the command without a word, by the pipe between them.
    """
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - a command's one line for its user
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise
    sys.exit(code)
