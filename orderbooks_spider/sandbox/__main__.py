"""``python -m orderbooks_spider.sandbox``: start the sandbox exchange and print its URL.

Examples:
    python -m orderbooks_spider.sandbox --port 8089
    python -m orderbooks_spider.sandbox --faults plan.yaml --served-log served.jsonl
    python -m orderbooks_spider.sandbox --replay btc-updown-5m-1776328500.jsonl.gz

"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from orderbooks_spider.errors import EXIT_CONFIG, EXIT_OK, ConfigError, OrderbooksError
from orderbooks_spider.sandbox.exchange import Exchange, Setup
from orderbooks_spider.sandbox.plan import Plan, parse_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHUTDOWN_SECONDS = 0.1


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m orderbooks_spider.sandbox",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=0, help="port (default 0: any free one)")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the bare port number here")
    parser.add_argument("--seed", type=int, default=1, help="what markets and books follow from (default 1)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fault plan, YAML")
    parser.add_argument(
        "--replay", type=Path, nargs="+", action="extend", metavar="FILE", help="recorded books"
    )
    parser.add_argument(
        "--served-log", type=Path, metavar="FILE", help="append a line per answered book request"
    )
    parser.add_argument("--with-parent", action="store_true", help="exit when standard input ends")
    found = parser.parse_args(argv)
    if not 0 <= found.port <= 65535:
        parser.error(f"argument --port: expected 0 to 65535, saw {found.port}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT (or the parent's end); give the exit code."""
    args = arguments(argv)
    try:
        return asyncio.run(_serve(args))
    except OrderbooksError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201 - a command's error line
        return error.exit_code
    except OSError as error:
        print(f"sandbox: --host {args.host} --port {args.port}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG


async def _serve(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    plan = _plan_of(args.faults) if args.faults else Plan()
    setup = Setup(args.seed, plan, tuple(args.replay or ()), args.served_log)
    exchange = Exchange(setup)
    runner = web.ServerRunner(exchange.make_server(), shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, args.host, args.port, shutdown_timeout=_SHUTDOWN_SECONDS)
        await site.start()
        port = runner.addresses[0][1]
        if args.port_file:
            _write_port(args.port_file, port)
        if args.with_parent:
            threading.Thread(target=_until_parent_ends, args=(loop, stop), daemon=True).start()
        gc.freeze()  # what start-up built stays; collecting it again would delay answers
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"sandbox exchange at http://{host}:{port}", flush=True)  # noqa: T201 - the promised line
        await stop.wait()
    finally:
        await runner.cleanup()
        exchange.ledger.close()
    return EXIT_OK


def _plan_of(path: Path) -> Plan:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"fault plan {path}: {error.strerror}") from error
    return parse_plan(text, str(path))


def _write_port(path: Path, port: int) -> None:
    """Write the port so that a reader sees all of it or nothing."""
    waiting = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        waiting.write_text(f"{port}\n", encoding="ascii")
        waiting.replace(path)
    except OSError as error:
        raise ConfigError(f"--port-file {path}: {error.strerror}") from error


def _until_parent_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Wait for the end of standard input, with plain reads: they hold no lock that an exit needs."""
    try:
        while os.read(0, 65_536):
            pass
    except OSError:  # closed standard input: no parent to live with
        pass
    with contextlib.suppress(RuntimeError):  # the loop has closed: already on the way out
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    sys.exit(main())
