"""`GET /pipeline/jobs/{id}/transcript/search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.meaning import searching
from pipeline_jobs.meaning.embedder import embedder
from pipeline_jobs.web.api import transcripts
from pipeline_jobs.web.schemas.transcripts import Matches

from .checks import problem_of
from .test_jobs import created
from .world import World

SAID: list[dict[str, Any]] = [
    {"start": 0.0, "end": 2.0, "text": "The goalkeeper saved a penalty."},
    {"start": 2.0, "end": 4.0, "text": "Bread needs flour and water."},
]


def search(client: FlaskClient, job_id: str, query: str) -> dict[str, Any]:
    response = client.get(f"/pipeline/jobs/{job_id}/transcript/search?{query}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    Matches.model_validate(body)
    assert (body["job_id"], body["count"]) == (job_id, len(body["matches"]))
    return body


def publish(client: FlaskClient, world: World, folder: Path, **files: object) -> str:
    job_id = created(client)
    world.publish(job_id, {f"{name}.json": json.dumps(value).encode() for name, value in files.items()}, folder)
    return job_id


def test_a_transcript_is_searched_by_words(client: FlaskClient, world: World, tmp_path: Path) -> None:
    job_id = publish(client, world, tmp_path, segments=SAID)
    body = search(client, job_id, "q=water+penalty&limit=1")
    assert (body["by"], len(body["matches"])) == ("words", 1)
    assert [one["start"] for one in search(client, job_id, "q=bread")["matches"]] == [2.0]
    assert search(client, job_id, "q=submarine")["matches"] == []


def test_and_by_meaning_where_its_job_made_an_index(
    client: FlaskClient, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = searching.index_of(SAID, embedder().embed([one["text"] for one in SAID]))
    job_id = publish(client, world, tmp_path, segments=SAID, search=index)
    body = search(client, job_id, "q=baking+a+loaf")
    assert (body["by"], [one["text"] for one in body["matches"]]) == ("meaning", ["Bread needs flour and water."])
    monkeypatch.setattr(transcripts, "installed", lambda: False)
    assert search(client, job_id, "q=bread")["by"] == "words"


def test_an_index_that_cannot_be_read_costs_the_meaning_only(client: FlaskClient, world: World, tmp_path: Path) -> None:
    job_id = publish(client, world, tmp_path, segments=SAID, search={"model": "of 2030", "sentences": [], "vectors": ""})
    body = search(client, job_id, "q=bread")
    assert (body["by"], body["count"]) == ("words", 1)


def test_a_job_that_has_not_ended_and_one_without_a_transcript(client: FlaskClient, world: World, tmp_path: Path) -> None:
    job_id = created(client)
    assert problem_of(client.get(f"/pipeline/jobs/{job_id}/transcript/search?q=x"), 409)["code"] == "job_not_ended"
    world.complete(job_id, transcript="x")
    assert search(client, job_id, "q=x")["matches"] == []
    assert search(client, publish(client, world, tmp_path, other=1), "q=x")["matches"] == []


@pytest.mark.parametrize("file", [b"{", b"5", b'{"a": 1}', b'[{"text": 5}]', b'[{"text": "bread"}]', b'["bread"]'])
def test_another_pipelines_file_of_that_name_has_no_passages(client: FlaskClient, world: World, tmp_path: Path, file: bytes) -> None:
    job_id = created(client)
    world.publish(job_id, {"segments.json": file, "search.json": file}, tmp_path)
    assert search(client, job_id, "q=bread")["matches"] == []


def test_a_file_that_is_too_large_for_an_api_is_not_read(
    client: FlaskClient, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = publish(client, world, tmp_path, segments=SAID)
    monkeypatch.setattr(transcripts, "MOST_BYTES", 10)
    assert search(client, job_id, "q=bread")["matches"] == []
