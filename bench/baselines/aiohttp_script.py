#!/usr/bin/env python3
"""Baseline: a script with aiohttp that polls books into gzip JSON Lines.

Examples:
  python bench/baselines/aiohttp_script.py --url http://127.0.0.1:8089 --tokens ids.txt --seconds 60 --out .
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp

from bench.baselines.script import TIMEOUT_SECONDS, job, poll


async def main() -> None:
    """One session for all polls: connections are kept and used again."""
    asked = job()
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    async def fetch(tokens: list[str]) -> tuple[int, str]:
        if asked.batched:
            request = session.post(f"{asked.url}/books", json=[{"token_id": token} for token in tokens])
        else:
            request = session.get(f"{asked.url}/book", params={"token_id": tokens[0]})
        async with request as answer:
            return answer.status, await answer.text()

    async with session:
        await poll(asked, fetch, (aiohttp.ClientError, TimeoutError))


if __name__ == "__main__":
    asyncio.run(main())
