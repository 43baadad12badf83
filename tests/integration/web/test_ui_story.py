"""The page of a job as a story, what is done to all jobs of a list, and a tenant's keys."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.events import log
from pipeline_jobs.events.log import MAX_PAGE, Event, read
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.ui import bulk as bulk_page
from pipeline_jobs.web.ui.story import Bar, Timeline, as_curl, timeline, title_of

from .test_ui import OURS, UI, signed_in
from .world import URL, World

SEGMENTS = [
    {"start": 0.0, "end": 2.0, "text": "Good morning.", "speaker": "Speaker 1"},
    {"start": 2.0, "end": 5.0, "text": "Ships & <b>boats</b>.", "speaker": "Speaker 1"},
    {"start": 65.5, "end": 70.0, "text": "Thank you.", "speaker": "Speaker 2"},
]


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"result": {"success": True, "data": {"title": " The  harbour\n"}}, "metadata": {"title": "x"}}, "The harbour"),
        ({"metadata": {"title": "Monday's talk"}, "url": "https://e.example/a.mp4"}, "Monday's talk"),
        ({"metadata": {"title": 7}, "url": "https://e.example/x/My%20film.mp4?k=1"}, "My film.mp4"),
        ({"url": "https://e.example/"}, "media"),
        ({"url": "https://[::1/a.mp4"}, "media"),
        ({"result": {"success": True, "data": {"title": "t" * 500}}}, "t" * 120),
    ],
)
def test_a_job_has_a_title(world: World, fields: dict[str, Any], title: str) -> None:
    assert title_of(world.put(pipeline="media", **fields)) == title


def test_a_film_s_page_has_its_lines_its_speakers_and_its_chapters(client: FlaskClient, world: World) -> None:
    job = world.put(pipeline="media")
    chapters = [{"start": 0.0, "end": 60.0, "title": "Arrival"}, {"start": 60, "title": 7}, {"start": -1, "title": "x"}]
    world.complete(job.job_id, title="The harbour", segments=SEGMENTS, chapters=chapters, transcript="...")
    text = signed_in(client, world).get(f"/jobs/{job.job_id}?t=65").text
    assert "<h1>The harbour</h1>" in text
    assert f'data-start="65.5"><a class="quiet" href="{UI}/jobs/{job.job_id}?t=65">1:05</a>' in text
    assert "Ships &amp; &lt;b&gt;boats&lt;/b&gt;." in text
    # Each is named where another one begins.
    assert re.findall(r'class="speaker t\d">([^<]*)', text) == ["Speaker 1", "Speaker 2"]
    assert text.count('<ol class="chapters">') == 1
    assert re.findall(r"</a> (\w+)</li>", text) == ["Arrival"]


def test_a_link_to_a_line_begins_there_without_a_script(client: FlaskClient, world: World) -> None:
    job = world.put(pipeline="media")
    world.complete(job.job_id, artifacts={"media": "/pipeline/artifacts/acme/main/x/1/video.mp4?signature=s"}, segments=SEGMENTS)
    browser = signed_in(client, world)
    film = r'<video controls preload="metadata" src="([^"]*)"'
    assert re.findall(film, browser.get(f"/jobs/{job.job_id}?t=65").text)[0].endswith("#t=65")
    for odd in ("", "?t=x", "?t=", "?t=0"):
        assert "#" not in re.findall(film, browser.get(f"/jobs/{job.job_id}{odd}").text)[0]


def run(world: World, job: Job, *stages: str) -> Job:
    started = world.start(job.job_id)
    for stage in stages:
        world.store.progress(job.job_id, started.fence, 50, stage)
    return started


def events(world: World, job: Job) -> list[Event]:
    return list(read(world.store, job.job_id, 0, MAX_PAGE).events)


def told(found: Timeline | None) -> list[tuple[str, str, str]]:
    return [(bar.name, bar.kind, bar.note) for bar in found.bars if bar.name != "waiting"] if found else []


def test_what_happened_is_shown_in_order(world: World) -> None:
    job = world.put()
    assert timeline(job, events(world, job)) is None
    crashed = run(world, job, "think")
    world.store.requeue(job.job_id, crashed.fence, "crash")
    again = run(world, world.record(job.job_id), "think")
    world.store.requeue(job.job_id, again.fence, "retry")
    run(world, world.record(job.job_id), "think")
    ended = world.fail(job.job_id)
    found = told(timeline(ended, events(world, ended)))
    assert [kind for _, kind, _ in found] == ["done", "lost", "done", "failed", "done", "failed"]
    assert [note for _, _, note in found if note] == ["Its worker died.", "It will be tried again."]
    assert [name for name, _, _ in found][-1] == "think (attempt 2)"


def test_a_wait_says_what_for(client: FlaskClient, world: World) -> None:
    first = world.write(world.put().job_id, metadata={"title": "The first <b>"})
    after = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", depends_on=(first.job_id,)))
    world.complete(first.job_id)
    crashed = run(world, world.record(after.job_id), "think")
    world.store.requeue(after.job_id, crashed.fence, "retry")
    world.fail(after.job_id)
    page = signed_in(client, world).get(f"/jobs/{after.job_id}").text
    waits = re.findall(r'class="name">waiting<.*?<span class="quiet">([^<]*)<', page)
    assert waits == ["for The first &lt;b&gt;", "for another try"]
    plain = signed_in(client, world).get(f"/jobs/{first.job_id}").text
    assert re.findall(r'class="name">waiting<.*?<span class="quiet">([^<]*)<', plain) == ["for its turn"]


def test_a_job_that_was_cancelled_says_so(world: World) -> None:
    job = run(world, world.put(), "think")
    world.cell.client.cancel(job.job_id)
    ended = world.finish(job.job_id, JobStatus.CANCELLED)
    assert told(timeline(ended, events(world, ended)))[-1] == ("think", "cancelled", "It was asked to stop.")
    waiting = world.put()
    never = world.cell.client.cancel(waiting.job_id)
    assert told(timeline(never, events(world, never))) == []


def test_the_bars_share_one_axis_and_none_is_too_short_to_be_seen() -> None:
    bars = (Bar("waiting", "wait", 1000, 2000), Bar("fetch", "done", 2000, 2000), Bar("think", "lost", 2000, 5000))
    axis = Timeline(bars, "", 1000, 5000)
    assert [axis.place(bar) for bar in bars] == [(0.0, 250.0), (250.0, 4.0), (250.0, 750.0)]
    assert axis.place(Bar("end", "done", 5000, 5000)) == (996.0, 4.0)


def test_a_page_says_how_long_it_took_and_what_of_it_was_lost(client: FlaskClient, world: World) -> None:
    job = world.put(status=JobStatus.COMPLETED)
    text = signed_in(client, world).get(f"/jobs/{job.job_id}").text
    assert "<h2>How it went</h2>" in text
    assert re.search(r"It took \d", text)
    assert 'style="' not in text


def test_the_story_of_a_long_job_has_its_end(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each half second that a job runs may be an event: more of them than a page of the log has."""
    monkeypatch.setattr(log, "MAX_PAGE", 4)
    job = world.start(world.put().job_id)
    for percent in range(10, 90):
        world.store.progress(job.job_id, job.fence, float(percent), "sleep")
    world.fail(job.job_id)
    page = signed_in(client, world).get(f"/jobs/{job.job_id}").text
    assert ("<strong>Failed.</strong>" in page, 'class="failed"' in page) == (True, True)


def test_the_command_makes_another_job_like_it(client: FlaskClient, world: World) -> None:
    new = NewJob(pipeline="sleep", tenant_id="acme", tags=('it\'s "quoted"',), webhook={"url": "https://e.example/s3cret"})
    job = world.cell.client.submit(new)
    command = as_curl(job, "https://jobs.example", with_key=True)
    assert command.startswith("curl https://jobs.example/pipeline/jobs")
    assert "$PIPELINE_KEY" in command
    assert "s3cret" not in command
    body = command.rpartition("-d ")[2]
    assert "'\"'\"'" in body, "a quote in it is the shell's"
    page = signed_in(client, world).get(f"/jobs/{job.job_id}").text
    assert "curl" in page
    assert "s3cret" not in page


def test_a_form_is_filled_in_as_for_another_job(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    new = NewJob(pipeline="sleep", tenant_id="acme", params={"steps": 7}, tags=("x", "y"), priority=3)
    job = world.cell.client.submit(new)
    text = browser.get(f"/submit?like={job.job_id}").text
    for part in (
        'name="max_attempts" value=""',
        'name="p.steps" value="7"',
        'value="x, y"',
        'name="priority" min="-50" max="50" step="1" value="3"',
    ):
        assert part in text, part
    plain = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", params={"steps": 10}))
    assert 'name="p.steps" value=""' in browser.get(f"/submit?like={plain.job_id}").text, "what has its default is left empty"
    assert browser.get("/submit?like=job_1_00000000").status_code == 404
    theirs = world.put(tenant_id="other")
    assert browser.get(f"/submit?like={theirs.job_id}").status_code == 404


@pytest.mark.parametrize("tags", [("a, b", "c"), ('say "a"',), ('"', ","), ("a", "b c"), ('"a", b', "'")])
def test_a_form_that_is_filled_in_and_sent_makes_a_job_with_the_same_tags(client: FlaskClient, world: World, tags: tuple[str, ...]) -> None:
    browser = signed_in(client, world)
    job = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", tags=tags))
    typed = unescape(re.findall(r'name="tags" value="([^"]*)"', browser.get(f"/submit?like={job.job_id}").text)[0])
    made = browser.post("/submit", pipeline="sleep", tags=typed)
    assert (made.status_code, world.record(made.headers["Location"].rpartition("/")[2]).tags) == (303, tags)
    batch = browser.post("/submit/many", pipeline="media", urls=URL, tags=typed).headers["Location"].rpartition("/")[2]
    assert [world.record(one).tags for one in world.ids() if world.record(one).batch_id == batch] == [tags]


@pytest.mark.parametrize("typed", ['"a', '"a" b', 'a, "b', '"a"b"'])
@pytest.mark.parametrize("form", [{"path": "/submit", "pipeline": "sleep"}, {"path": "/submit/many", "urls": URL}])
def test_tags_whose_quotes_are_wrong_are_refused_at_their_field(
    client: FlaskClient, world: World, typed: str, form: dict[str, str]
) -> None:
    path, *_ = form.values()
    refused = signed_in(client, world).post(
        path, headers=None, tags=typed, **{name: value for name, value in form.items() if name != "path"}
    )
    assert (refused.status_code, world.ids()) == (422, [])
    assert 'id="error-tags"' in refused.text
    assert f'value="{escape(typed)}"' in refused.text


def test_a_webhook_is_sent_again_from_the_job_s_page(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    job = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", webhook={"url": "https://receiver.example/hook"}))
    world.complete(job.job_id)
    text = browser.get(f"/jobs/{job.job_id}").text
    (action,) = re.findall(r'action="([^"]*/redeliver)"', text)
    answer = browser.post(action.removeprefix(UI))
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{UI}/jobs/{job.job_id}#deliveries")
    reader = signed_in(client, world, role=Role.READ)
    assert "/redeliver" not in reader.get(f"/jobs/{job.job_id}").text
    assert reader.post(action.removeprefix(UI)).status_code == 403
    assert signed_in(client, world, "other").post(action.removeprefix(UI)).status_code == 404


class TestBulk:
    @pytest.mark.parametrize("gone", ["&tag=x", ""])
    def test_a_list_of_more_than_a_batch_leads_to_the_list(self, client: FlaskClient, world: World, gone: str) -> None:
        batch_id = "batch_1_00000000"
        asked = f"batch_id={batch_id}{gone}"
        assert f'href="{UI}/jobs?' in signed_in(client, world).get(f"/bulk?action=cancel&{asked}").text

    def test_the_question_has_the_number_and_the_act_does_it(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        failed = [world.put(status=JobStatus.FAILED).job_id for _ in range(3)]
        other = world.put(status=JobStatus.FAILED, tenant_id="other")
        listed = browser.get("/jobs?status=failed").text
        assert "action=retry" in listed
        assert "action=cancel" not in listed
        question = browser.get("/bulk?action=delete&status=failed").text
        assert "<h1>Delete 3 jobs?</h1>" in question
        assert "Keep them" in question
        answer = browser.post("/bulk?action=delete&status=failed")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{UI}/jobs?status=failed&action=delete&done=3")
        assert 'role="status">3 jobs deleted.' in browser.get(answer.headers["Location"].removeprefix(UI)).text
        assert set(world.ids()) == {other.job_id}
        assert set(failed) & set(world.ids()) == set()

    def test_queued_ones_are_cancelled_and_failed_ones_run_again(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        waiting, failed = world.put(), world.put(status=JobStatus.FAILED)
        assert "<h1>Cancel 1 job?</h1>" in browser.get("/bulk?action=cancel").text
        assert browser.post("/bulk?action=retry").status_code == 303
        assert [world.record(job_id).retry_of for job_id in world.ids() if world.record(job_id).retry_of] == [failed.job_id]
        assert browser.post("/bulk?action=cancel").status_code == 303
        assert world.record(waiting.job_id).status is JobStatus.CANCELLED

    def test_a_click_has_an_end_and_says_what_is_left(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline_jobs.jobs.bulk_ended.MOST", 2)
        monkeypatch.setattr(bulk_page, "MOST_CALLS", 1)
        for _ in range(3):
            world.put(status=JobStatus.FAILED)
        text = signed_in(client, world).post("/bulk?action=delete").text
        assert "Done for 2." in text
        assert "<h1>Delete 1 job?</h1>" in text

    @pytest.mark.parametrize("wrong", ["action=sing", "", "action=cancel&status=failed", "action=retry&status=queued"])
    def test_what_makes_no_sense_is_refused(self, client: FlaskClient, world: World, wrong: str) -> None:
        browser = signed_in(client, world)
        assert browser.get(f"/bulk?{wrong}").status_code == 422
        assert browser.post(f"/bulk?{wrong}").status_code == 422

    def test_not_everybody_s_jobs_at_once_and_not_by_a_reader(self, client: FlaskClient, world: World) -> None:
        kept = world.put(status=JobStatus.FAILED)
        operator = signed_in(client, world, ALL, Role.ADMIN)
        assert operator.post("/bulk?action=delete").status_code == 422
        assert "/bulk" not in operator.get("/jobs").text
        assert signed_in(client, world, role=Role.READ).post("/bulk?action=delete").status_code == 403
        assert world.ids() == [kept.job_id]


class TestKeys:
    def test_a_key_is_shown_once_and_works_and_is_revoked(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world, role=Role.ADMIN)
        made = browser.post("/tenants/acme/keys", name="the website", role="submit", workspace_id="w")
        assert made.status_code == 200, made.text
        (text,) = re.findall(r"<pre data-secret>(pjk_[^<]+)</pre>", made.text)
        assert client.get("/pipeline/jobs", headers={"Authorization": f"Bearer {text}"}).status_code == 200
        listed = browser.get("/tenants/acme/keys").text
        assert "the website" in listed
        assert text.split("_")[2] not in listed
        key_id = text.split("_")[1]
        assert browser.post(f"/tenants/acme/keys/{key_id}/revoke").headers["Location"] == f"{UI}/tenants/acme/keys"
        assert "revoked" in browser.get("/tenants/acme/keys").text

    @pytest.mark.parametrize("fields", [{"role": "king"}, {}, {"role": "read", "name": "x" * 1000}, {"role": "read", "workspace_id": "-"}])
    def test_a_wrong_form_makes_none(self, client: FlaskClient, world: World, fields: Any) -> None:
        browser = signed_in(client, world, role=Role.ADMIN)
        before = len(world.keys.list("acme"))
        assert browser.post("/tenants/acme/keys", **fields).status_code == 422
        assert len(world.keys.list("acme")) == before

    def test_the_first_one_is_made_on_the_command_line(self, client: FlaskClient, world: World) -> None:
        for tenant in ("acme", "*"):
            page = client.get(f"{UI}/tenants/{tenant}/keys").text
            assert ("jobs key create --all-tenants" in page, '<form method="post" action="/pipeline/ui/tenants' in page) == (True, False)
        answer = client.post(f"{UI}/tenants/acme/keys", data={"role": "admin"}, headers=OURS)
        assert (answer.status_code, "command line" in answer.text, world.keys.list("acme")) == (403, True, [])

    def test_only_admins_and_only_their_tenant(self, client: FlaskClient, world: World) -> None:
        assert signed_in(client, world, role=Role.SUBMIT).get("/tenants/acme/keys").status_code == 403
        admin = signed_in(client, world, role=Role.ADMIN)
        for path in ("/tenants/other/keys", "/tenants/*/keys"):
            assert admin.get(path).status_code == 403
            assert admin.post(path, role="admin").status_code == 403
        operator = signed_in(client, world, ALL, Role.ADMIN)
        assert operator.get("/tenants/*/keys").status_code == 200
        assert operator.get("/tenants/-x/keys").status_code == 422
        assert operator.post(f"/tenants/acme/keys/{'0' * 16}/revoke").status_code == 404
