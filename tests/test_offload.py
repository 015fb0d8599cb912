"""Offload to a folder and to remotes without checksums; destinations, ages, and what is kept out of words."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.archive.offloaded import UploadManifest, read_offloaded, read_record
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ArchiveError, ConfigError
from orderbooks_spider.offload.destination import read_destination
from orderbooks_spider.offload.purge import Purge
from orderbooks_spider.offload.rclone import Rclone, redacted
from orderbooks_spider.offload.upload import Upload
from tests.archives import START_NS, ManualClock
from tests.offload import (
    DISTRIBUTION,
    PINNED,
    PROJECT,
    PURGE,
    UPLOAD,
    Operator,
    archive_of_a_run,
    find_rclone,
    give_archive,
)

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * NS


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("offload") / "archive"
    archive_of_a_run(root)
    return root


@pytest.fixture(params=[pytest.param(DISTRIBUTION, marks=pytest.mark.slow), PINNED])
def operator(request: pytest.FixtureRequest, tmp_path: Path, archive: Path) -> Operator:
    """An operator whose destination is a folder of the host, such as a mounted disk."""
    made = Operator(tmp_path / "host", find_rclone(request.param), str(tmp_path / "disk"))
    give_archive(made, archive)
    return made


def test_folder_is_a_remote_and_restores(operator: Operator, tmp_path: Path) -> None:
    """Uploaded, purged and copied back by the page's command, an archive is clean with nothing remote."""
    assert operator.upload("--execute").returncode == 0
    assert operator.purge("--execute").returncode == 0
    recover = operator.run(PROJECT / "scripts/recover_archive.py", operator.root)
    assert (recover.returncode, recover.stdout) == (0, "c0: nothing to do\n")
    subprocess.run(
        ["rclone", "copy", operator.destination, operator.root, "--checksum", "--immutable"],
        env=operator.environment, check=True,
    )  # fmt: skip
    code, report = operator.verify()
    assert (code, report["problems"], report["remote_segments"]) == (0, [], 0)
    # A host that lost everything gets the same archive back, records and heads included.
    operator.root = tmp_path / "new"
    subprocess.run(
        ["rclone", "copy", operator.destination, operator.root], env=operator.environment, check=True
    )
    heads = operator.records()[0]["heads"]
    code, report = operator.verify(*(f"--expect-head={chain}={sha256}" for chain, sha256 in heads.items()))
    assert (code, report["problems"]) == (0, [])


def test_remote_without_checksums_is_read_back(operator: Operator, tmp_path: Path) -> None:
    """Where a remote gives no checksum the bytes are downloaded and compared, never just sizes."""
    operator.environment |= {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_VAULT_TYPE": "crypt",
        "RCLONE_CONFIG_VAULT_REMOTE": str(tmp_path / "vault"),
        "RCLONE_CONFIG_VAULT_FILENAME_ENCRYPTION": "off",
        "RCLONE_CONFIG_VAULT_DIRECTORY_NAME_ENCRYPTION": "false",
        "RCLONE_CONFIG_VAULT_PASSWORD": obscured(operator, "correct horse battery staple"),
        "ORDERBOOKS_RCLONE_DEST": "vault:orderbooks",
    }
    assert operator.upload("--execute").returncode == 0
    (record,) = operator.records()
    assert {(item["hash_kind"], item["proven_by"]) for item in record["files"]} == {("sha256", "download")}
    # Another content of the same size, put there through rclone so that it decrypts.
    segment = operator.segments()[0]
    forged = tmp_path / "forged"
    forged.write_bytes(bytes(len(segment.sealed.read_bytes())))
    subprocess.run(
        ["rclone", "copyto", forged, f"vault:orderbooks/{segment.file}", "--ignore-times"],
        env=operator.environment, check=True,
    )  # fmt: skip
    purge = operator.purge("--execute")
    assert purge.returncode == 1
    assert segment.file in purge.stdout
    assert segment.sealed.exists()
    assert not operator.segments()[1].sealed.exists()


def obscured(operator: Operator, password: str) -> str:
    """*password* as rclone's configuration wants it."""
    command = ["rclone", "obscure", password]
    done = subprocess.run(command, env=operator.environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_live_and_sandbox_never_share_a_destination(operator: Operator) -> None:
    """Rule A16 holds at the remote too: evidence of the other environment is refused with 78."""
    assert operator.upload("--execute").returncode == 0
    (operator.root / "state/environment").write_text("live\n", encoding="ascii")
    for path in layout.offload_folder(operator.root).iterdir():
        path.unlink()
    refused = operator.upload("--execute")
    assert refused.returncode == 78
    assert "live and sandbox never share a folder" in refused.stderr


def test_growing_archive_sends_only_what_is_new(operator: Operator) -> None:
    """Run manifests and ``SHA256SUMS`` that grew replace the older ones; proven segments are not touched."""
    assert operator.upload("--execute").returncode == 0
    sums = operator.segments()[0].sums
    grown = sums.read_bytes() + f"{'0' * 64}  09/next.jsonl.gz\n".encode()
    sums.write_bytes(grown)
    dry = operator.upload()
    assert f"1 files, {len(grown):,} bytes" in dry.stdout
    assert operator.upload("--execute").returncode == 0
    assert [item["kind"] for item in operator.records()[-1]["files"]] == ["sums"]


@pytest.fixture
def known(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose ``PATH`` this process has too."""
    monkeypatch.setenv("PATH", operator.environment["PATH"])
    return operator


def test_age_counts_from_the_seal(known: Operator) -> None:
    """A segment goes when it was sealed longer ago than the days to keep, by the host's clock."""
    rclone = Rclone(known.destination)
    upload = Upload(known.root, rclone, ManualClock())
    upload.look()
    upload.send()
    assert upload.exit_code == 0

    def removable(days_later: float) -> int:
        clock = ManualClock(START_NS + 60 * NS + round(days_later * DAY_NS))
        purge = Purge(known.root, rclone, clock, older_than_days=7)
        purge.look()
        return len(purge.removable)

    assert [removable(days) for days in (0, 6.99, 7.01)] == [0, 0, 3]


def test_unreadable_record_stops_uploads_and_fails_verify(known: Operator) -> None:
    """A record that cannot be understood is named by both, and what it may have said is not guessed."""
    bad = layout.offload_record(known.root, "20260101T000000Z", "upload", "0")
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b'{"schema":"orderbooks.upload/9"}')
    with pytest.raises(ArchiveError, match=bad.name):
        read_offloaded(known.root)
    refused = known.upload("--execute")
    assert (refused.returncode, bad.name in refused.stderr) == (2, True)
    code, report = known.verify()
    assert (code, [problem["rung"] for problem in report["problems"]]) == (1, ["layout"])


def test_proof_that_cannot_be_written_down_is_no_success(operator: Operator) -> None:
    """Where the upload manifest cannot be stored the command ends with 74, and claims no recorded proof."""
    layout.offload_folder(operator.root).write_text("in the way", encoding="ascii")
    done = operator.upload("--execute")
    assert done.returncode == 74
    assert str(layout.offload_folder(operator.root)) in done.stderr
    assert done.stdout.endswith("PROVEN, BUT NOT WRITTEN DOWN HERE: the next run looks again\n")
    layout.offload_folder(operator.root).unlink()
    again = operator.upload("--execute")
    assert (again.returncode, "0 files, 0 bytes" in again.stdout, len(operator.records())) == (0, True, 1)


def test_no_rclone_is_said(operator: Operator) -> None:
    """Without rclone both commands end with 78 and the packages that bring it."""
    (operator.folder / "path/rclone").unlink()
    operator.environment["PATH"] = str(operator.folder / "path")
    done = operator.purge()
    assert done.returncode == 78
    assert "apt" in done.stderr


def test_purge_waits_for_no_upload(operator: Operator) -> None:
    """The lock is one for uploads and purges: while one is held the other is refused with 75."""
    with ArchiveLock.take(layout.offload_lock(operator.root), "busy", "test"):
        assert operator.purge().returncode == 75
    assert operator.purge().returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        ":drive,token=s3cret:orderbooks",
        "gd,token=s3cret:orderbooks",
        ":sftp,ssh='sh -c s3cret':x",
        "https://user:s3cret@example.org/x",
        "gd:../s3cret",
        "relative/s3cret",
        "-s3cret:x",
        "gd:x\ns3cret",
    ],
)
def test_destination_that_could_hold_a_secret_is_refused_unseen(text: str, tmp_path: Path) -> None:
    """Connection strings, addresses and options are refused, and the message does not repeat them."""
    with pytest.raises(ConfigError, match="REMOTE:FOLDER") as caught:
        read_destination(text, tmp_path)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{root}", "{root}/copy", "{root}/.."])
def test_destination_that_is_none_is_refused(text: str | None, tmp_path: Path) -> None:
    """Nothing, and the archive itself or a folder around or in it, are no destinations."""
    root = tmp_path / "archive"
    with pytest.raises(ConfigError, match="ORDERBOOKS_RCLONE_DEST"):
        read_destination(text.format(root=root) if text else text, root)


@pytest.mark.parametrize("text", ["gd:orderbooks", "gd:orderbooks/host a/", "gd:", "gd-2.x:a/b"])
def test_destination_is_a_remote_and_a_folder(text: str, tmp_path: Path) -> None:
    """A configured remote's name and a folder are taken as they are, but for a slash at the end."""
    assert read_destination(text, tmp_path) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        'couldn\'t fetch token: {"access_token":"ya29.abcdefgh","error":"x"}',
        "refreshing 1//ya29.abcdefgh and ya29.abcdefgh",
        "401 Authorization: Bearer ya29.abcdefgh",
        "client_secret=ya29.abcdefgh&grant_type=x",
    ],
)
def test_credentials_are_taken_out_of_messages(text: str) -> None:
    """What looks like a credential is replaced before a message is shown or stored."""
    assert "ya29.abcdefgh" not in redacted(text)
    assert "(not shown)" in redacted(text)


def test_messages_keep_their_sense() -> None:
    """What is no credential stays: the operator needs to read what is wrong."""
    for text in ("couldn't fetch token: invalid_grant: maybe token expired?", "exit code 7: quotaExceeded"):
        assert redacted(text) == text


def test_committed_sample_is_an_upload_manifest_of_the_sandbox() -> None:
    """The sample that the roadmap names reads back, is complete, and says that it is simulated."""
    sample = read_record(PROJECT / "data/manifests/orderbook_upload_sample_manifest.json")
    assert isinstance(sample, UploadManifest)
    assert (sample.environment, sample.complete, sample.destination) == (
        "sandbox",
        True,
        "sandbox:orderbooks",
    )


@pytest.mark.parametrize("script", [UPLOAD, PURGE])
def test_page_tells_every_exit_code(script: Path) -> None:
    """Each exit code that ``--help`` names stands in the page's table, and the other way round."""
    page = (PROJECT / "docs/GOOGLE_DRIVE_OFFLOAD.md").read_text(encoding="utf-8")
    told = (
        script.with_suffix(".py").read_text(encoding="utf-8").partition("Exit codes:")[2].partition('"""')[0]
    )
    in_help = re.findall(r"(?:^|,)\s*(\d+) ", told)
    assert in_help == re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
