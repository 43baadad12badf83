"""On a disk that is nearly full nothing new is written: 507, and what was begun goes on when there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.exceptions import DiskFull
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.web.http.tus import CONTENT_TYPE
from pipeline_jobs.web.schemas.problem import Problem
from tests.declared import Declared

#: More than any disk has free.
FULL = 2**62
TUS = {"Content-Type": CONTENT_TYPE}
DATA = bytes(range(256)) * 4


@pytest.fixture
def api(cell: Settings) -> Callable[..., FlaskClient]:
    """`api(disk_reserve_bytes=0)`: the API with these settings, over one store and one folder."""
    return lambda **changes: create_api(cell.model_copy(update={"allow_private_urls": True, **changes})).test_client()


def refused(client: FlaskClient, method: str, path: str, **request: Any) -> dict[str, Any]:
    answer: TestResponse = client.open(path, method=method, **request)
    assert answer.status_code == 507, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert Declared(client.application).problem_with(method, path, answer) is None  # type: ignore[arg-type]
    body: dict[str, Any] = answer.get_json()
    Problem.model_validate(body)
    assert body["code"] == "disk_full"
    return body


def test_an_upload_is_refused_and_goes_on_when_there_is_room(api: Callable[..., FlaskClient], cell: Settings) -> None:
    roomy, full = api(disk_reserve_bytes=0), api(disk_reserve_bytes=FULL)
    begun = roomy.post("/pipeline/uploads", headers={"Upload-Length": str(len(DATA))})
    path = begun.headers["Location"]
    half = len(DATA) // 2
    assert roomy.patch(path, data=DATA[:half], headers={**TUS, "Upload-Offset": "0"}).status_code == 204
    refused(full, "POST", "/pipeline/uploads", headers={"Upload-Length": "1"})
    refused(full, "POST", "/pipeline/uploads", data=DATA, headers=TUS)
    refused(full, "PATCH", path, data=DATA[half:], headers={**TUS, "Upload-Offset": str(half)})
    # What is there is seen, and can be removed to make room.
    assert full.get(path).get_json()["offset"] == half
    assert len(full.get("/pipeline/uploads?tenant_id=default").get_json()["uploads"]) == 1
    assert roomy.patch(path, data=DATA[half:], headers={**TUS, "Upload-Offset": str(half)}).status_code == 204
    assert full.get(path).get_json()["complete"]
    assert full.delete(path).status_code == 204


def test_an_upload_that_would_take_the_last_room_is_not_begun(api: Callable[..., FlaskClient]) -> None:
    client = api(disk_reserve_bytes=0, upload_max_bytes=FULL)
    refused(client, "POST", "/pipeline/uploads", headers={"Upload-Length": str(10**15 - 1)})


def test_a_run_in_the_api_is_refused_before_it_begins(api: Callable[..., FlaskClient]) -> None:
    body = {"pipeline": "sleep", "params": {"seconds": 0}}
    off: dict[str, Any] = {"enable_job_queue": False}
    refused(api(disk_reserve_bytes=FULL, **off), "POST", "/pipeline/run", json=body)
    assert api(disk_reserve_bytes=0, **off).post("/pipeline/run", json=body).get_json()["success"]


def test_an_artifact_is_not_published(tmp_path: Path) -> None:
    root, local = tmp_path / "artifacts", tmp_path / "a.txt"
    local.write_text("x" * 1000)
    full = ArtifactStore(root.as_uri(), "http://x", "k", lambda _: FULL)
    for store in (lambda: full.put(local, "acme/main/job_1/1/a.txt"), lambda: full.write(b"x", "acme/main/job_1/1/b.txt")):
        with pytest.raises(DiskFull) as error:
            store()
        assert error.value.retryable
    assert not root.exists()
    # It is another machine's disk that a bucket is on.
    ArtifactStore("memory://full-disk", "http://x", "k", lambda _: FULL).write(b"x", "acme/main/job_1/1/b.txt")
