"""The client of Google Drive against a stand-in: every byte arrives once, under one id, whatever breaks on the way."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.exceptions import ConfigurationError, JobCancelled
from pipeline_jobs.files import drive as drives
from pipeline_jobs.files.drive import Drive, DriveError, Owner
from pipeline_jobs.settings import Settings
from tests.google_drive import ROOT_FOLDER, GoogleDrive

#: Three requests' worth.
FILM = bytes(range(256)) * 2500
OWNER = Owner("acme", "job_1")


@pytest.fixture
def google() -> Iterator[GoogleDrive]:
    with GoogleDrive() as stand_in:
        yield stand_in


@pytest.fixture
def drive(google: GoogleDrive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    monkeypatch.setattr(drives, "CHUNK", 256 * 1024)
    monkeypatch.setattr(drives, "BACKOFF", 0.0)
    made = Drive.of(Settings(**google.settings(tmp_path)))
    assert made
    return made


def put(drive: Drive, file_id: str, owner: Owner = OWNER) -> str:
    return drive.put(file_id, "video.mp4", io.BytesIO(FILM), owner)


def test_a_file_is_uploaded_in_pieces_into_its_tenants_folder(drive: Drive, google: GoogleDrive) -> None:
    (one,) = drive.draw_ids(1)
    told: list[float] = []
    link = drive.put(one, "video.mp4", io.BytesIO(FILM), OWNER, told.append)
    assert link == f"https://drive.google.com/file/d/{one}/view"
    assert google.contents() == {"job_1_video.mp4": FILM}
    assert told == sorted(told)
    assert (len(told), told[-1]) == (3, 1.0)
    (folder,) = google.files[one]["parents"]
    assert google.files[folder]["parents"] == [ROOT_FOLDER]


@pytest.mark.parametrize("faults", [[503], ["cut"], ["full"], [503, 500, 502], [503, "cut", 500]], ids=str)
def test_an_upload_goes_on_at_the_right_byte_after_a_fault(drive: Drive, google: GoogleDrive, faults: list[int | str]) -> None:
    google.faults = faults
    (one,) = drive.draw_ids(1)
    put(drive, one)
    assert google.contents() == {"job_1_video.mp4": FILM}
    assert google.faults == []


def test_an_upload_that_is_sent_twice_or_was_killed_is_one_file(drive: Drive, google: GoogleDrive) -> None:
    (one,) = drive.draw_ids(1)

    def killed(done: float) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        drive.put(one, "video.mp4", io.BytesIO(FILM), OWNER, killed)
    assert google.contents() == {}
    assert put(drive, one) == put(drive, one)
    assert google.contents() == {"job_1_video.mp4": FILM}


@pytest.mark.parametrize(("faults", "word"), [([503] * 4, "drive_http_503"), ([403], "drive_http_403")])
def test_what_does_not_end_is_given_up(drive: Drive, google: GoogleDrive, faults: list[int | str], word: str) -> None:
    google.faults = faults
    (one,) = drive.draw_ids(1)
    with pytest.raises(DriveError, match=word):
        put(drive, one)
    assert google.faults == []
    assert google.contents() == {}


def test_erasing_a_tenant_takes_its_folder_and_no_other(drive: Drive, google: GoogleDrive) -> None:
    one, two = drive.draw_ids(2)
    put(drive, one)
    put(drive, two, Owner("Acme", "job_2"))
    drive.erase("acme")
    drive.erase("acme")
    assert google.contents("acme") == {}
    assert google.contents("Acme") == {"job_2_video.mp4": FILM}
    (three,) = drive.draw_ids(1)
    put(drive, three)
    assert google.contents("acme") == {"job_1_video.mp4": FILM}


def test_a_folder_that_somebody_removed_is_made_again_at_the_next_try(drive: Drive, google: GoogleDrive) -> None:
    one, two = drive.draw_ids(2)
    put(drive, one)
    google.files.clear()
    with pytest.raises(DriveError, match=r"drive_http_404"):
        put(drive, two)
    put(drive, two)
    assert google.contents() == {"job_1_video.mp4": FILM}


def test_files_are_removed_once_and_for_all(drive: Drive, google: GoogleDrive) -> None:
    (one,) = drive.draw_ids(1)
    put(drive, one)
    for _ in range(2):
        drive.remove([one])
    assert google.contents() == {}


def test_what_went_wrong_is_said_in_our_own_words(drive: Drive, google: GoogleDrive, tmp_path: Path) -> None:
    google.no_token = 401
    with pytest.raises(DriveError, match=r"^drive_refused_key$"):
        drive.draw_ids(1)
    metadata = Drive(drive.credentials, drive.folder, "http://169.254.169.254")
    google.no_token = None
    with pytest.raises(DriveError, match=r"^drive_address_forbidden$"):
        metadata.draw_ids(1)
    nowhere = Drive(drive.credentials, drive.folder, "http://127.0.0.1:9")
    with pytest.raises(DriveError, match=r"^drive_unreachable$"):
        nowhere.draw_ids(1)
    drive = Drive(drive.credentials, drive.folder, drive.url)
    drive.credentials.write_text("{}")
    with pytest.raises(DriveError, match=r"^drive_key_unreadable$"):
        drive.draw_ids(1)


def test_a_token_is_fetched_once_and_a_new_key_is_read_when_the_old_one_is_refused(
    drive: Drive, google: GoogleDrive, tmp_path: Path
) -> None:
    for _ in range(3):
        drive.draw_ids(1)
    assert google.tokens == 1
    drive.forget_key()
    google.no_token = 400
    with pytest.raises(DriveError, match=r"^drive_refused_key$"):
        drive.draw_ids(1)
    google.no_token = None
    google.key(tmp_path)
    drive.draw_ids(1)
    assert google.tokens == 2


def test_a_process_that_can_copy_nothing_says_so_as_it_starts(google: GoogleDrive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = google.settings(tmp_path)
    drives.check(Settings())
    drives.check(Settings(**good))
    assert Drive.of(Settings()) is None
    with pytest.raises(ConfigurationError, match="PIPELINE_GDRIVE_FOLDER"):
        drives.check(Settings(**{**good, "gdrive_folder": ""}))
    secret = tmp_path / "wrong.json"
    secret.write_text('{"private_key": "hush"}')
    with pytest.raises(ConfigurationError, match="no key of a service account") as raised:
        drives.check(Settings(**{**good, "gdrive_credentials": str(secret)}))
    assert "hush" not in str(raised.value)
    monkeypatch.setattr(drives, "installed", lambda: False)
    with pytest.raises(ConfigurationError, match="gdrive"):
        drives.check(Settings(**good))
    assert Drive.of(Settings(**good)) is None


def test_googles_libraries_are_imported_by_the_process_that_copies_only() -> None:
    code = (
        "import sys, pipeline_jobs.worker.app, pipeline_jobs.web.app; "
        "print([name for name in ('google.auth', 'googleapiclient', 'httplib2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
