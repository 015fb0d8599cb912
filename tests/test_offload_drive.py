"""Upload and purge against Drive: nothing counts as offloaded, and nothing goes, without proof.

Real rclone, old and new, with its real ``drive`` backend; only Google is a double (``tests/fake_drive.py``).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.fake_drive import SECRET, serving
from tests.offload import (
    DISTRIBUTION,
    PINNED,
    UPLOAD,
    Operator,
    archive_of_a_run,
    find_rclone,
    give_archive,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPLOADS = r"(POST|PATCH) /upload/"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("offload") / "archive"
    archive_of_a_run(root)
    return root


@pytest.fixture(params=[DISTRIBUTION, PINNED])
def operator(request: pytest.FixtureRequest, tmp_path: Path, archive: Path) -> Iterator[Operator]:
    rclone = find_rclone(request.param)
    google = tmp_path / "google"
    google.mkdir()
    with serving(google) as (drive, variables):
        made = Operator(tmp_path / "host", rclone, "gd:orderbooks", variables, drive)
        give_archive(made, archive)
        yield made


def uploads(operator: Operator) -> list[str]:
    """Requests that would change what is stored."""
    return [line for line in operator.store.log if not line.startswith("GET") and "/token" not in line]


def test_upload_is_dry_then_proven_then_idle(operator: Operator) -> None:
    """Rule A19: a dry run sends nothing; ``--execute`` proves every file; a second run has nothing to do."""
    dry = operator.upload()
    assert (dry.returncode, dry.stderr) == (0, "")
    assert uploads(operator) == []
    assert operator.records() == []
    local = operator.local_files()
    assert all(name in dry.stdout for name in local)
    assert "dry run: nothing was sent" in dry.stdout

    done = operator.upload("--execute")
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = operator.records()
    kind = "sha256" if operator.version >= (1, 65) else "md5"
    assert {item["file"] for item in record["files"]} == set(local)
    assert {(item["hash_kind"], item["proven_by"]) for item in record["files"]} == {(kind, "listing")}
    assert all(item["remote_id"] for item in record["files"])
    assert (record["schema"], record["environment"]) == ("orderbooks.upload/1", "sandbox")
    assert (record["complete"], record["problems"], record["destination"]) == (True, [], "gd:orderbooks")
    assert record["heads"] == operator.verify()[1]["heads"]
    # The record itself is at the remote too: it keeps the chain heads away from this host.
    assert operator.remote_files() == operator.local_files()

    before = len(uploads(operator))
    again = operator.upload("--execute")
    assert again.returncode == 0
    assert again.stdout.endswith("nothing to send: all that is here was proven at gd:orderbooks before\n")
    assert len(uploads(operator)) == before
    assert len(operator.records()) == 1


@pytest.mark.slow
def test_secrets_stay_in_rclone(operator: Operator) -> None:
    """No token, key or proxy stands in what the commands print or store, even when it fails."""
    operator.store.fault(
        UPLOADS, "error", times=1, status=403, reason="forbidden", message=f"Bearer {SECRET}"
    )
    operator.environment["RCLONE_DUMP"] = "headers,auth"
    done = operator.upload("--execute")
    stored = b"".join(path.read_bytes() for path in operator.root.rglob("*.json"))
    said = done.stdout + done.stderr
    assert SECRET not in said
    assert SECRET.encode() not in stored
    assert "PRIVATE KEY" not in said + stored.decode()


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["with-rclone", "alone"])
def test_killed_upload_is_resumed(operator: Operator, *, whole_group: bool) -> None:
    """Killed mid-file, alone or with its rclone, the next run sends the rest, and nothing twice."""
    hold = operator.store.fault(r"POST /upload/", "hold")
    process = operator.start(UPLOAD, operator.root, "--execute")
    assert hold.reached.wait(60)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
        # The orphaned rclone still sends: until it ends nobody else may, or Drive would have files twice.
        refused = operator.upload("--execute")
        assert refused.returncode == 75
        assert "an upload or purge is run by" in refused.stderr
    hold.go_on.set()
    process.communicate()
    assert operator.records() == []
    done = operator.upload("--execute")
    while done.returncode == 75:  # the orphan ends by itself
        done = operator.upload("--execute")
    assert (done.returncode, done.stderr) == (0, "")
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_stopped_upload_ends_its_rclone(operator: Operator, sign: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end the upload and its rclone at once, in words; the next run goes on."""
    hold = operator.store.fault(r"POST /upload/", "hold")
    process = operator.start(UPLOAD, operator.root, "--execute")
    assert hold.reached.wait(60)
    process.send_signal(sign)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + sign
    assert "NOT ALL PROVEN" in stdout
    assert "Traceback" not in stderr
    hold.go_on.set()
    assert operator.upload("--execute").returncode == 0
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
def test_second_uploader_is_refused(operator: Operator) -> None:
    """Two uploaders at once: the second leaves with 75 and the first one's pid."""
    hold = operator.store.fault(r"POST /upload/", "hold")
    first = operator.start(UPLOAD, operator.root, "--execute")
    assert hold.reached.wait(60)
    second = operator.upload("--execute")
    purge = operator.purge("--execute")
    hold.go_on.set()
    assert (second.returncode, purge.returncode) == (75, 75)
    assert f"by pid {first.pid} on" in second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
def test_bytes_flipped_in_flight_are_sent_again(operator: Operator) -> None:
    """A file that arrives changed is sent again until its hash is right."""
    operator.store.fault(r"POST /upload/", "flip", times=2)
    done = operator.upload("--execute")
    assert done.returncode == 0, done.stdout
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
def test_network_that_always_flips_proves_nothing(operator: Operator) -> None:
    """When every try arrives changed the upload ends with 69, and no such file is recorded as proven."""
    operator.store.fault(r"POST /upload/", "flip", times=10_000)
    done = operator.upload("--execute")
    assert done.returncode == 69
    (record,) = operator.records()
    assert (record["files"], record["complete"]) == ([], False)
    operator.store.faults.clear()
    assert operator.upload("--execute").returncode == 0


@pytest.mark.slow
def test_byte_flipped_at_rest_is_named_and_kept(operator: Operator) -> None:
    """A remote file that is not ours is a problem by name: never replaced, never proven, never purged for."""
    assert operator.upload("--execute").returncode == 0
    segment = operator.segments()[0]
    operator.store.flip(segment.file)
    damaged = operator.store.find(segment.file).content
    purge = operator.purge("--execute")
    assert purge.returncode == 1
    assert segment.file in purge.stdout
    assert "the remote's file is not ours" in purge.stdout
    assert segment.sealed.exists()
    assert not operator.segments()[1].sealed.exists()
    # An uploader that had lost its records, as one that was killed before it wrote them, sees it too.
    forget(operator)
    done = operator.upload("--execute")
    assert done.returncode == 1
    assert segment.file in done.stdout
    assert operator.store.find(segment.file).content == damaged
    assert segment.file not in {item["file"] for item in operator.records()[0]["files"]}


def forget(operator: Operator) -> None:
    """Lose all records of uploads."""
    for path in (operator.root / "manifests/offload").glob("*_upload_*"):
        path.unlink()


@pytest.mark.slow
def test_duplicate_name_is_named(operator: Operator) -> None:
    """Two files of one name at the remote are a problem, for an upload and for a purge."""
    assert operator.upload("--execute").returncode == 0
    segment = operator.segments()[0]
    operator.store.duplicate(segment.file)
    purge = operator.purge("--execute")
    forget(operator)
    for done in (purge, operator.upload("--execute")):
        assert done.returncode == 1
        assert "the remote has several files of this name" in done.stdout
        assert segment.file in done.stdout
    assert segment.sealed.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("userRateLimitExceeded", "User rate limit exceeded."),
        ("storageQuotaExceeded", "The user's Drive storage quota has been exceeded."),
    ],
)
def test_quota_is_said_and_waits(operator: Operator, reason: str, message: str) -> None:
    """A used-up quota ends with 69 and its reason; when there is room again the rest is sent."""
    operator.store.fault(UPLOADS, "error", times=10_000, status=403, reason=reason, message=message)
    done = operator.upload("--execute")
    assert done.returncode == 69
    assert message in done.stdout
    # rclone 1.60 has no exit code of its own for a full storage.
    code = 1 if operator.version <= (1, 60) and reason == "storageQuotaExceeded" else 7
    assert f"rclone exit code {code}" in done.stdout
    (record,) = operator.records()
    assert (record["rclone_exit_codes"], record["files"], record["complete"]) == ([code], [], False)
    operator.store.faults.clear()
    assert operator.upload("--execute").returncode == 0
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
def test_passing_errors_are_ridden_out(operator: Operator) -> None:
    """A few 429, 503 and broken connections cost time, not files."""
    operator.store.fault(UPLOADS, "error", times=2, status=429, reason="rateLimitExceeded")
    operator.store.fault("GET /drive", "error", times=2, status=503)
    operator.store.fault(UPLOADS, "drop", times=2)
    done = operator.upload("--execute")
    assert done.returncode == 0, done.stdout + done.stderr
    assert operator.remote_files() == operator.local_files()


@pytest.mark.slow
def test_files_that_vanish_while_sending_are_named(operator: Operator) -> None:
    """A listed file that is not there is passed over by rclone with exit code 0: the proof names it."""
    # rclone sends two files at a time: when both are held, no other has been opened yet.
    holds = [operator.store.fault(r"POST /upload/", "hold") for _ in range(2)]
    process = operator.start(UPLOAD, operator.root, "--execute")
    assert all(hold.reached.wait(60) for hold in holds)
    segments = [names for feed in ("books", "events") for names in operator.segments(feed)]
    for names in segments:
        names.sealed.unlink()
    for hold in holds:
        hold.go_on.set()
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    proven = {item["file"] for item in operator.records()[0]["files"]}
    lost = [names.file for names in segments if names.file not in proven]
    assert len(lost) >= len(segments) - 2
    assert all(f"✗ {file}" in stdout for file in lost)
    assert "the local file is missing" in stdout


@pytest.mark.slow
def test_local_damage_is_named_and_not_sent(operator: Operator) -> None:
    """A segment that is missing or changed here is named; its manifest waits, all others are proven."""
    missing, changed, good = operator.segments()[:3]
    missing.sealed.unlink()
    changed.sealed.write_bytes(changed.sealed.read_bytes()[:-1] + b"x")
    done = operator.upload("--execute")
    assert done.returncode == 1
    assert "no record says that it was purged" in done.stdout
    assert "the local file is not what its manifest says" in done.stdout
    sent = operator.remote_files()
    assert good.file in sent
    for names in (missing, changed):
        assert names.file in done.stdout
        assert names.file not in sent
        assert names.manifest.name not in "".join(sent)


def test_remote_that_is_not_there_is_said(operator: Operator) -> None:
    """An unknown remote is 78 with the command that lists remotes; nothing is written."""
    operator.environment["ORDERBOOKS_RCLONE_DEST"] = "nowhere:orderbooks"
    done = operator.upload("--execute")
    assert done.returncode == 78
    assert "rclone listremotes" in done.stderr
    assert operator.records() == []


@pytest.mark.slow
def test_unreachable_remote_is_69(operator: Operator) -> None:
    """A remote that nobody answers for is 69, after rclone's own retries; nothing is written."""
    operator.environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "RCLONE_LOW_LEVEL_RETRIES": "2"}
    done = operator.upload("--execute")
    assert done.returncode == 69
    assert "cannot list gd:orderbooks" in done.stderr
    assert operator.records() == []


@pytest.mark.parametrize(
    "operator", [pytest.param(DISTRIBUTION, marks=pytest.mark.slow), PINNED], indirect=True
)
def test_purge_takes_only_what_is_proven_again(operator: Operator) -> None:
    """Rule A20: nothing before an upload or in a dry run, then what the remote holds; verify says remote."""
    nothing = operator.purge("--execute")
    assert nothing.returncode == 0
    assert "0 files" in nothing.stdout
    assert operator.upload("--execute").returncode == 0
    assert operator.purge().returncode == 0
    assert all(names.sealed.exists() for names in operator.segments())
    kept = operator.purge("--execute", "--older-than-days", "36500")
    assert (kept.returncode, operator.records("purge")) == (0, [])

    gone = operator.purge("--execute")
    assert (gone.returncode, gone.stderr) == (0, "")
    assert not any(names.sealed.exists() for names in operator.segments())
    assert all(names.sealed.exists() for names in operator.segments("events"))
    (record,) = operator.records("purge")
    assert [item["file"] for item in record["files"]] == [names.file for names in operator.segments()]

    code, report = operator.verify()
    assert (code, report["problems"]) == (0, [])
    assert report["remote_segments"] == len(operator.segments())
    code, report = operator.verify("--require-local")
    missing = [problem["file"] for problem in report["problems"] if problem["rung"] == "completeness"]
    assert (code, missing) == (1, [names.file for names in operator.segments()])
    code, report = operator.verify("--fetch")
    assert (code, report["problems"], report["remote_segments"]) == (0, [], 0)
    assert report["fetched_segments"] == len(operator.segments())
    assert report["quality"]["results"] == {"ok": 50}
    # The uploader knows that they went, and has only the purge's record to send.
    done = operator.upload("--execute")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_purge_refuses_what_changed_at_the_remote(operator: Operator) -> None:
    """A file that the remote lost or changed since its upload stays here, with the reason."""
    assert operator.upload("--execute").returncode == 0
    lost, flipped, good = operator.segments()[:3]
    operator.store.remove(lost.file)
    operator.store.flip(flipped.manifest.name)
    done = operator.purge("--execute")
    assert done.returncode == 1
    assert "it is not there now" in done.stdout
    assert "the remote's file is not ours" in done.stdout
    assert (lost.sealed.exists(), flipped.sealed.exists(), good.sealed.exists()) == (True, True, False)


@pytest.mark.slow
def test_fetch_finds_what_happened_at_the_remote(operator: Operator) -> None:
    """``verify --fetch`` reads purged segments from the remote, and names lost and altered ones."""
    assert operator.upload("--execute").returncode == 0
    assert operator.purge("--execute").returncode == 0
    lost, flipped = operator.segments()[:2]
    operator.store.remove(lost.file)
    operator.store.flip(flipped.file)
    assert operator.verify()[0] == 0
    code, report = operator.verify("--fetch")
    assert code == 1
    found = {(problem["file"], problem["rung"]) for problem in report["problems"]}
    assert (lost.file, "completeness") in found
    assert (flipped.file, "sha256") in found
