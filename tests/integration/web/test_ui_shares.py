"""A shared link: what it shows to whom, and all that ends it."""

from __future__ import annotations

import re
import time
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.files.artifacts import RunArtifacts
from pipeline_jobs.web.access import key_cache as keyring
from pipeline_jobs.web.access.share_links import MAX_LENGTH, Share, read_share, write_share
from pipeline_jobs.web.ui import shares
from pipeline_jobs.web.ui.results import result_view

from .conftest import MakeClient
from .test_ui import AWAY, OURS, UI, signed_in
from .world import World

FILES = {"video.mp4": b"0123456789", "captions.vtt": b"WEBVTT", "poster.jpg": b"jpeg", "secret.json": b"{}"}
#: Files of the job that its page for others does not show.
NOT_SHARED = ("result.json", "transcript.txt")


class Shared:
    """A completed job with a film, and a link to it."""

    def __init__(self, make_client: MakeClient, world: World, folder: Path) -> None:
        self.client, self.world = make_client(data_dir=str(folder / "data"), public_url="https://jobs.example"), world
        self.cell = world.cells[-1]
        self.job = world.put(pipeline="media", metadata={"note": "not for others"}, tags=("internal",))
        job = world.start(self.job.job_id)
        run = RunArtifacts(self.cell.artifacts, f"acme/main/{job.job_id}/{job.fence}")
        links = {}
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
            links[name.partition(".")[0]] = run.publish(folder / name, name)
        for name in NOT_SHARED:
            (folder / name).write_bytes(b"not for others")
            links[name] = run.publish(folder / name, name)
        lines = [{"start": 2.0, "end": 3.0, "text": "A harbor & <b>more</b>."}]
        data = {"title": "The Harbor", "summary": "Ships.", "segments": lines, "artifacts": links, "speech_model": "large"}
        world.finish(job.job_id, result={"success": True, "data": data}, artifacts=run.prefix)
        self.key, text = world.keys.create("acme", Role.SUBMIT, actor="test")
        self.client.post(UI + "/sign-in", data={"key": text}, headers=OURS, environ_overrides=AWAY)

    def make(self, ends: str = "1 day") -> str:
        """The path of a new link, for a browser without a session."""
        answer = self.client.post(f"{UI}/jobs/{self.job.job_id}/share", data={"ends": ends}, headers=OURS, environ_overrides=AWAY)
        found = re.search(r"<pre data-secret>https://jobs.example([^<]+)</pre>", answer.text)
        assert found is not None, answer.text
        return unescape(found[1])

    def open(self, path: str, **headers: str) -> TestResponse:
        with self.client.application.test_client() as stranger:
            return stranger.get(path, headers=headers, environ_overrides=AWAY)


@pytest.fixture
def shared(make_client: MakeClient, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    # As after the 0.9 s for which an answer of the store is remembered.
    monkeypatch.setattr(keyring, "CACHE_SECONDS", 0.0)
    return Shared(make_client, world, tmp_path)


def test_whoever_has_the_link_sees_film_and_transcript_and_nothing_else(shared: Shared) -> None:
    path = shared.make()
    answer = shared.open(path)
    page = answer.text
    assert (answer.status_code, answer.headers["X-Robots-Tag"], answer.headers["Cache-Control"]) == (200, "noindex", "no-store")
    assert all(part in page for part in ("<h1>The Harbor</h1>", "A harbor &amp; &lt;b&gt;more&lt;/b&gt;.", "Ships.", 'property="og:image"'))
    for hidden in ("not for others", "internal", shared.job.job_id, "acme", "/pipeline/artifacts", "signature=", "large", "secret", "Sign"):
        assert hidden not in page.replace(path.partition("token=")[2], ""), hidden
    for address in re.findall(r'(?:src|content)="([^"]*/shared/[^"]+)"', page):
        got = shared.open(unescape(address).removeprefix("https://jobs.example"))
        assert (got.status_code, got.data) == (200, FILES[urlsplit(address).path.rpartition("/")[2]])
    film = re.search(r'<video[^>]* src="([^"]+)"', page)
    assert film is not None
    part = shared.open(unescape(film[1]), Range="bytes=2-4")
    assert (part.status_code, part.data, "sandbox" in part.headers["Content-Security-Policy"]) == (206, b"234", True)
    assert "#t=2" in shared.open(f"{path}&t=2").text
    assert shared.world.audit[0].action == "job.shared"


def test_what_the_page_of_a_link_is_made_of_has_no_signed_address(shared: Shared) -> None:
    """Whatever its template shows one day."""
    record = shared.cell.results(shared.job.job_id).record()
    with shared.client.application.test_request_context():
        whole = result_view(record)
        assert whole is not None
        narrowed = shares._narrowed(record, whole, "token")
    assert ("signature=" in repr(whole), "signature=" in repr(narrowed)) == (True, False)


def test_a_link_ends_with_its_time_its_key_and_its_job(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared.make("1 hour")
    film = path.replace("/shared?", "/shared/video.mp4?")

    def both() -> list[int]:
        return [shared.open(one).status_code for one in (path, film)]

    assert both() == [200, 200]
    now = time.time()
    monkeypatch.setattr("pipeline_jobs.web.access.share_links.time.time", lambda: now + 3601)
    assert both() == [404, 404]
    monkeypatch.undo()
    monkeypatch.setattr(keyring, "CACHE_SECONDS", 0.0)
    assert both() == [200, 200]
    # Another job under this id is not the one that was shared.
    was = shared.world.record(shared.job.job_id).order
    shared.world.write(shared.job.job_id, order=was + 1)
    assert both() == [404, 404]
    shared.world.write(shared.job.job_id, order=was)
    shared.world.keys.revoke("acme", shared.key.key_id, actor="test")
    assert both() == [404, 404]
    _, text = shared.world.keys.create(ALL, Role.ADMIN, actor="test")
    shared.client.post(UI + "/sign-in", data={"key": text}, headers=OURS, environ_overrides=AWAY)
    path = shared.make()
    assert shared.open(path).status_code == 200
    shared.cell.client.delete(shared.job.job_id)
    assert shared.open(path).status_code == 404


def test_a_link_opens_the_files_of_its_own_job_only(shared: Shared) -> None:
    query = shared.make().partition("?")[2]
    for name in (*NOT_SHARED, "../video.mp4", "..%2fvideo.mp4", "x/../../video.mp4", "%00", "ghost.mp4", "/etc/passwd", "."):
        assert shared.open(f"{UI}/shared/{name}?{query}").status_code in (308, 404), name
    token = query.partition("=")[2]
    for wrong in ("", "x", token[:-1], token[::-1], "a" * (MAX_LENGTH + 1), token.replace(".", "..")):
        assert shared.open(f"{UI}/shared?token={wrong}").status_code == 404, wrong
        assert shared.open(f"{UI}/shared/video.mp4?token={wrong}").status_code == 404, wrong


def test_only_who_may_write_shares_and_only_what_is_completed(client: FlaskClient, world: World) -> None:
    job = world.put()
    assert signed_in(client, world).post(f"/jobs/{job.job_id}/share", ends="1 day").status_code == 409
    world.complete(job.job_id, title="x")
    browser = signed_in(client, world)
    assert "Share ..." in browser.get(f"/jobs/{job.job_id}").text
    assert browser.post(f"/jobs/{job.job_id}/share", ends="1 century").status_code == 422
    assert signed_in(client, world, "other").post(f"/jobs/{job.job_id}/share", ends="1 day").status_code == 404
    reader = signed_in(client, world, role=Role.READ)
    assert reader.post(f"/jobs/{job.job_id}/share", ends="1 day").status_code == 403
    assert "Share ..." not in reader.get(f"/jobs/{job.job_id}").text


def test_a_token_says_what_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    share = Share("k", "job_1_a", 7, 10**11)
    assert read_share(write_share(share, "s"), "s") == share
    assert read_share(write_share(share, "s"), "t") is None
