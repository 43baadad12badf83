"""The list of jobs: its search box, its filters with counts, its groups, and that what is not understood is refused."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch

from .test_ui import UI, Browser, signed_in
from .world import URL, World


def found(browser: Browser, text: str) -> tuple[str, set[str]]:
    """Where a text in the box leads, and the jobs that are there."""
    answer = browser.get(f"/jobs?find={quote(text)}")
    assert answer.status_code == 303, answer.text
    address = answer.headers["Location"].removeprefix(UI)
    return address, rows(browser, address)


def rows(browser: Browser, address: str) -> set[str]:
    return set(re.findall(r'<tr id="row-(\w+)"', browser.get(address).text))


def broken(world: World, code: str) -> str:
    return world.fail(world.put().job_id, f"{code} it is", code=code, message=f"{code} it is", stage="fetch", retryable=False).job_id


class Many:
    """A tenant's jobs, one of each kind."""

    def __init__(self, world: World) -> None:
        client = world.cell.client
        # First: no more jobs run at once than the installation's cap says.
        self.failed, self.again, self.lost = (broken(world, code) for code in ("source_not_found", "source_not_found", "worker_lost"))
        self.film = client.submit(NewJob(url=URL, tenant_id="acme", workspace_id="blog", metadata={"title": "The Harbor"})).job_id
        self.weekly = client.submit(NewJob(pipeline="sleep", tenant_id="acme", tags=("weekly", "two words"))).job_id
        self.timed = client.submit(NewJob(pipeline="sleep", tenant_id="acme", tags=("schedule:sch_1735905600_0a1b2c3d",))).job_id
        self.batch = world.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * 2, "acme"))
        self.theirs = client.submit(NewJob(url=URL, tenant_id="other", tags=("weekly",))).job_id


@pytest.fixture
def many(world: World) -> Many:
    return Many(world)


def test_one_box_finds_by_id_address_title_tag_error_batch_and_schedule(client: FlaskClient, world: World, many: Many) -> None:
    browser = signed_in(client, world)
    for text, job_id in (
        ("media.example/CLIP", many.film), ("harbor", many.film), ("workspace:blog", many.film), ("pipeline:media since:1h", many.film),
        ("tag:weekly", many.weekly), ('tag:"two words"', many.weekly), ("weekly status:queued,running", many.weekly),
        ("sch_1735905600_0a1b2c3d", many.timed), ("schedule:sch_1735905600_0a1b2c3d", many.timed),
        ("error:worker_lost", many.lost), ("LOST it", many.lost),
    ):  # fmt: skip
        assert found(browser, text)[1] == {job_id}, text
    assert found(browser, "error:source_not_found since:2d")[1] == {many.failed, many.again}
    batch_id = many.batch.batch.batch_id
    for text in (batch_id, f"batch:{batch_id}"):
        assert found(browser, text) == (f"/jobs?batch_id={batch_id}", set(many.batch.job_ids))
    # An id of its own leads to the job; another tenant's is one that nothing has.
    assert found(browser, many.film)[0] == f"/jobs/{many.film}"
    assert found(browser, many.theirs) == (f"/jobs?q={many.theirs}", set())
    assert found(browser, "since:2100-01-01")[1] == set()


def test_what_the_box_does_not_understand_is_said_under_it_and_never_passed_over(client: FlaskClient, world: World, many: Many) -> None:
    browser = signed_in(client, world)
    for text, said in (
        ("colour:red", "there is no colour: here"), ("tag:", "needs a value"), ("tag:a tag:b", "only once"),
        ("status:done", "must be one of"),
        ("since:yesterday", "RFC 3339"), ("batch:x", "batch: "), ("workspace:-x", "workspace: "), ("tag:" + "x" * 65, "tag: "),
    ):  # fmt: skip
        answer = browser.get(f"/jobs?find={quote(text)}")
        page = unescape(answer.text)
        assert (answer.status_code, said.lower() in page.lower(), 'id="error-find"' in page) == (422, True, True), text
        assert f'value="{text}"' in page
        assert '<tr id="row-' not in page
    for address, status in (
        ("colour=red", 400), ("tag=a&tag=b", 400), ("status=done", 422), ("group=tenant_id", 422), ("q=", 200), ("created_after=x", 422),
    ):  # fmt: skip
        assert browser.get(f"/jobs?{address}").status_code == status, address
    assert browser.get("/jobs?find=tenant:other").status_code == 303
    assert browser.get("/jobs?tenant_id=other").status_code == 403


def test_an_address_is_not_a_word_of_the_box(client: FlaskClient, world: World, many: Many) -> None:
    assert found(signed_in(client, world), URL) == (f"/jobs?q={quote(URL, safe='')}".replace("%2F", "/").replace("%3A", ":"), {many.film})


def test_the_box_shows_the_filters_of_the_address_and_each_can_be_removed(client: FlaskClient, world: World, many: Many) -> None:
    page = unescape(signed_in(client, world).get("/jobs?status=queued&tag=two+words&q=weekly").text)
    assert 'value="status:queued tag:"two words" weekly"' in page
    assert f'href="{UI}/jobs?status=queued&q=weekly"' in page
    assert f'href="{UI}/jobs?status=queued&tag=two+words"' in page


def test_each_status_says_how_many_and_keeps_the_other_filters(client: FlaskClient, world: World, many: Many) -> None:
    browser = signed_in(client, world)

    def counts(address: str) -> dict[str, str]:
        return dict(re.findall(r">(\w+) <span class=\"count\">([^<]+)<", browser.get(address).text))

    assert counts("/jobs") == {"all": "8", "queued": "5", "running": "0", "completed": "0", "failed": "3", "cancelled": "0"}
    assert counts("/jobs?status=failed")["queued"] == "5"
    assert counts("/jobs?q=weekly&status=failed") == counts("/jobs") | {"all": "1", "queued": "1", "failed": "0"}
    page = unescape(browser.get("/jobs?tag=weekly&status=queued").text)
    assert f'href="{UI}/jobs?status=failed&tag=weekly"' in page


def test_groups_by_error_batch_and_schedule_lead_to_their_jobs(client: FlaskClient, world: World, many: Many) -> None:
    browser = signed_in(client, world)
    table = re.compile(r'<td><a href="([^"]+)">([^<]+)</a></td><td class="num">([^<]+)<')
    seen = {}
    for group in ("error_code", "batch_id", "tag"):
        for address, value, number in table.findall(unescape(browser.get(f"/jobs?group={group}").text)):
            seen[value] = int(number)
            assert len(rows(browser, address.removeprefix(UI))) == int(number)
    assert seen == {"source_not_found": 2, "worker_lost": 1, many.batch.batch.batch_id: 2, "sch_1735905600_0a1b2c3d": 1}
    assert "None of these jobs has an error" in browser.get("/jobs?group=error_code&status=queued").text


def test_all_jobs_that_a_search_found_are_run_again(client: FlaskClient, world: World, many: Many) -> None:
    browser = signed_in(client, world)
    asked = browser.get("/bulk?action=retry&error_code=source_not_found&q=not_found").text
    assert "Run again 2 jobs?" in asked
    assert browser.post("/bulk?action=retry&error_code=source_not_found&q=not_found").status_code == 303
    retries = [job.retry_of for job in map(world.record, world.ids()) if job.retry_of]
    assert sorted(retries) == sorted([many.failed, many.again])


def test_a_workspace_s_list_counts_its_own(client: FlaskClient, world: World, many: Many) -> None:
    page = signed_in(client, world, role=Role.READ, workspace_id="blog").get("/jobs?group=batch_id").text
    assert re.findall(r'class="count">([^<]+)<', page) == ["1", "1", "0", "0", "0", "0"]
    assert many.batch.batch.batch_id not in page
    everybody = signed_in(client, world, ALL, Role.READ).get("/jobs").text
    assert re.findall(r'class="count">([^<]+)<', everybody)[0] == "9"
