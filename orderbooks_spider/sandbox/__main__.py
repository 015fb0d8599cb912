"""``python -m orderbooks_spider.sandbox``: start the sandbox exchange and print its URL.

Examples:
    python -m orderbooks_spider.sandbox --port 8089
    python -m orderbooks_spider.sandbox --faults plan.yaml --served-log served.jsonl
    python -m orderbooks_spider.sandbox --replay btc-updown-5m-1776328500.jsonl.gz
    python -m orderbooks_spider.sandbox --listed-ahead-hours 72
    python -m orderbooks_spider.sandbox --tls-cert server.pem --tls-key server.key

"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import ssl
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from orderbooks_spider.errors import EXIT_CONFIG, EXIT_OK, ConfigError, OrderbooksError
from orderbooks_spider.sandbox.exchange import Exchange, Setup
from orderbooks_spider.sandbox.plan import Plan, parse_plan
from orderbooks_spider.simulated_clock import clock_of, let_time_wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHUTDOWN_SECONDS = 0.1
_MOST_HOURS = 1000  # 24,000 tokens, and about 10 s to start


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
    parser.add_argument(
        "--listed-ahead-hours",
        type=float,
        metavar="H",
        help="list 5-minute markets so early (default about 24, as the venue; 336: more than 8,000 tokens)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https: certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate, PEM")
    parser.add_argument("--with-parent", action="store_true", help="exit when standard input ends")
    found = parser.parse_args(argv)
    for complaint in _complaints(found):
        parser.error(complaint)
    return found


def _complaints(found: argparse.Namespace) -> Iterator[str]:
    hours = found.listed_ahead_hours
    if not 0 <= found.port <= 65535:
        yield f"argument --port: expected 0 to 65535, saw {found.port}"
    if hours is not None and not 0 < hours <= _MOST_HOURS:
        yield f"argument --listed-ahead-hours: expected above 0 and at most {_MOST_HOURS}, saw {hours:g}"
    if hours is not None and found.replay:
        yield "argument --listed-ahead-hours: a replay has only its recorded markets"
    if (found.tls_cert is None) is not (found.tls_key is None):
        yield "arguments --tls-cert and --tls-key: expected both or neither"


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
    tls = _tls_of(args.tls_cert, args.tls_key) if args.tls_cert else None
    replay = tuple(args.replay or ())
    clock = clock_of()
    setup = Setup(args.seed, plan, replay, args.served_log, args.listed_ahead_hours)
    exchange = Exchange(setup, clock)
    runner = web.ServerRunner(exchange.make_server(), shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, args.host, args.port, ssl_context=tls, shutdown_timeout=_SHUTDOWN_SECONDS)
        await site.start()
        port = runner.addresses[0][1]
        if args.port_file:
            _write_port(args.port_file, port)
        if args.with_parent:
            threading.Thread(target=_until_parent_ends, args=(loop, stop), daemon=True).start()
        gc.freeze()  # what start-up built stays; collecting it again would delay answers
        let_time_wait(clock)
        print(f"sandbox exchange at {_url(args, port)}", flush=True)  # noqa: T201 - the promised line
        await stop.wait()
    finally:
        await runner.cleanup()
        exchange.ledger.close()
    return EXIT_OK


def _url(args: argparse.Namespace, port: int) -> str:
    host = f"[{args.host}]" if ":" in args.host else args.host
    return f"{'https' if args.tls_cert else 'http'}://{host}:{port}"


def _plan_of(path: Path) -> Plan:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"fault plan {path}: {error.strerror}") from error
    return parse_plan(text, str(path))


def _tls_of(cert: Path, key: Path) -> ssl.SSLContext:
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{option} {path}: {error.strerror}") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, password="")  # without one a locked key asks the terminal
    except ssl.SSLError as error:
        raise ConfigError(
            f"--tls-cert {cert} --tls-key {key}: expected a certificate and its key in PEM, not locked; "
            f"saw {error.reason}"
        ) from error
    return context


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
