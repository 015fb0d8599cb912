"""The task prompts: each names only what is in the project, and asks for nothing that is never done here."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.pages import PROJECT, absent, blocks, command_breaches, paths
from tests.test_house_rules import path_breaches

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = PROJECT / "orchestration/prompts"
PAGES = sorted(FOLDER.glob("*.md"))
PROMPTS = [path for path in PAGES if path.name != "README.md"]
PARTS = ["Goal", "Read", "Do", "Answer", "Not here"]

NEVER = re.compile(
    r"\b(?:trad(?:e|es|ing)|private keys?|wallets?|strateg(?:y|ies)|backtests?|databases?|dashboards?)\b"
    r"|production-ready"
)
"""The words of "Never here" in ``AGENTS.md``."""


def text_of(path: Path) -> str:
    """A page."""
    return path.read_text("utf-8")


def gate_command() -> str:
    """How the prompt for a second venue asks checkpoint 8."""
    return next(
        block.strip() for block in blocks(text_of(FOLDER / "add_a_second_market.md"), "sh") if "grep" in block
    )


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("`sh scripts/absent.sh --all`", "scripts/absent.sh: no such program"),
        (
            "```sh\ncat x | .venv/bin/python scripts/status.py --all\n```",
            "scripts/status.py: no option --all",
        ),
        ("   ```sh\n   rclone sync a b\n   ```", "rclone: neither a program of the project nor a plain one"),
        ("`python bench/report.py`\n`python bench/absent.py`", "bench/absent.py: no such program"),
    ],
)
def test_command_rule_catches_breach(text: str, breach: str) -> None:
    """A program or an option that is not there is found, in a block and within a line."""
    assert breach in command_breaches(text)


def test_path_rule_catches_breach() -> None:
    """A path that is not there is found in code and in commands; what stands for the reader's own is not."""
    text = (
        "`docs/ABSENT.md` `no.md` `ROOT/x.md` `status.py` `.torn`\n```sh\ngit add docs/gone.md my.yaml\n```"
    )
    assert absent(paths(text)) == ["docs/ABSENT.md", "no.md", "docs/gone.md"]


def test_rules_allow_what_is_there() -> None:
    """Programs with options that they have, the suite's own among them, are no breach."""
    text = "`sh scripts/test.sh --full tests/faults --fault-table X` `python scripts/status.py ROOT --json`"
    assert command_breaches(text) == []
    assert absent(paths(text)) == []


@pytest.mark.parametrize(
    "word", ["a wallet", "the database", "a private key", "trading", "our strategy", "production-ready"]
)
def test_never_rule_catches_breach(word: str) -> None:
    """What is never done here is found by its word."""
    assert NEVER.search(f"Then use {word}.")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_prompt_names_only_what_is_there(page: Path) -> None:
    """Each path, program and option of a prompt exists, and no machine's path or forbidden thing is named."""
    text = text_of(page)
    assert command_breaches(text) == []
    assert absent(paths(text)) == []
    assert path_breaches(page.name, text) == []
    assert NEVER.findall(text) == []


@pytest.mark.parametrize("page", PROMPTS, ids=lambda path: path.name)
def test_prompt_is_whole(page: Path) -> None:
    """Each prompt has its five parts in order, a command to run, and a line in the index."""
    text = text_of(page)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert blocks(text, "sh")
    assert f"`{page.name}`" in text_of(FOLDER / "README.md")


def test_blocks_on_a_gap_run_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """On the kept samples the three blocks find a gap, what happened around it, and the rows near it."""
    first, *rest = blocks(text_of(FOLDER / "investigate_a_gap.md"), "python")
    names = {"out": str(PROJECT / "data/normalized_sample"), "root": str(PROJECT / "data/live_sample")}
    scope: dict[str, object] = dict(names)
    exec(first, scope)
    found = capsys.readouterr().out.splitlines()
    assert "'not_discovered'" in found[0]
    from_ns, until_ns = map(int, found[0].split()[:2])
    scope |= {"from_ns": from_ns, "until_ns": until_ns + 2_000_000_000}
    for block in rest:
        exec(block, scope)
    told = capsys.readouterr().out
    assert " run_start " in told
    assert re.search(r" Up ok None 200 .*\.jsonl\.gz, member \d+, line \d+", told)


@pytest.mark.parametrize(
    ("record", "allowed"),
    [
        ("- Gate: **PENDING**: not begun\n", False),
        ("- Gate: **FAIL**: a day with holes\n", False),
        ("- Gate: **PASS (sandbox)**: a simulated day\n- **PENDING (live)**: a real one\n", False),
        ("- Gate: **PASS (live)**: a day\n- **PENDING (live)**: another\n", False),
        ("- Gate: **PASS (live)**: a day\n- Date: 2027-01-01\n", True),
    ],
)
def test_second_market_is_refused_before_checkpoint_8_is_live(
    record: str, allowed: bool, tmp_path: Path
) -> None:
    """The prompt's command prints one line that begins with a live PASS only where nothing is pending."""
    text = text_of(FOLDER / "add_a_second_market.md")
    goes_on = re.search(r"Go on only where this prints one line alone, which begins with `([^`]+)`", text)
    assert goes_on is not None
    place = tmp_path / "docs/checkpoints/08.md"
    place.parent.mkdir(parents=True)
    place.write_text(f"# Checkpoint 8\n\n{record}\n", encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", gate_command()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert (len(lines) == 1 and lines[0].startswith(goes_on[1])) is allowed
