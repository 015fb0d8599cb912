"""How a command ends that somebody stops: without a traceback.

A reader that has enough (``| head``) ends it by SIGPIPE, as any other filter; Ctrl-C with one line.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from orderbooks_spider.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run *main* and exit with its code, with 130 after Ctrl-C.

    SIGPIPE itself stays ignored while *main* works: with its default action a worker process that was
    killed would end the command without a word, by the pipe between them.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = EXIT_INTERRUPTED
    sys.exit(code)
