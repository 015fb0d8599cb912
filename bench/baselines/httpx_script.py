#!/usr/bin/env python3
"""Baseline: a script with httpx that polls books into gzip JSON Lines.

Examples:
  python bench/baselines/httpx_script.py --url http://127.0.0.1:8089 --tokens ids.txt --seconds 60 --out .
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx

from bench.baselines.script import TIMEOUT_SECONDS, job, poll


async def main() -> None:
    """One client for all polls: connections are kept and used again."""
    asked = job()
    client = httpx.AsyncClient(base_url=asked.url, timeout=TIMEOUT_SECONDS)

    async def fetch(tokens: list[str]) -> tuple[int, str]:
        if asked.batched:
            answer = await client.post("/books", json=[{"token_id": token} for token in tokens])
        else:
            answer = await client.get("/book", params={"token_id": tokens[0]})
        return answer.status_code, answer.text

    async with client:
        await poll(asked, fetch, (httpx.HTTPError,))


if __name__ == "__main__":
    asyncio.run(main())
