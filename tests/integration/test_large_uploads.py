"""What uploads of many parts cost the others in their process: no copies, and no turn of the disk that is longer than a step."""

from __future__ import annotations

import io
import threading
import tracemalloc
from pathlib import Path

import pytest

from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.paced import STEP_BYTES
from pipeline_jobs.files.upload import PART_BYTES, TURNS
from pipeline_jobs.files.uploads import Uploads
from tests.integration.conftest import Cell
from tests.waiting import until


@pytest.fixture
def uploads(jobs: Cell, tmp_path: Path) -> Uploads:
    return Uploads(jobs.store, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))


def send(uploads: Uploads, data: bytes, tenant_id: str = "acme") -> str:
    """:return: its id, when it is complete."""
    upload = uploads.create(tenant_id, "main", len(data))
    return uploads.write(upload, 0, io.BytesIO(data).read, None).upload_id


def test_a_part_is_in_memory_once(uploads: Uploads) -> None:
    """To copy it is to hold the interpreter's lock for milliseconds, in which no other request is served."""
    data = bytes(PART_BYTES)
    send(uploads, b"what is imported and cached at the first use")
    tracemalloc.start()
    try:
        send(uploads, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * PART_BYTES


def test_the_steps_of_large_parts_take_turns(uploads: Uploads) -> None:
    data = bytes(range(256)) * (2 * STEP_BYTES // 256)
    ids: list[str] = []
    sender = threading.Thread(target=lambda: ids.append(send(uploads, data)))
    with TURNS.turn("other"):
        sender.start()
        until(lambda: TURNS.waiting == 1, "the upload to wait for its turn")
        # One that fits into a step does not.
        small = threading.Thread(target=send, args=(uploads, b"small", "third"), daemon=True)
        small.start()
        until(lambda: not small.is_alive(), "the small one")
    sender.join()
    _, parts = uploads.open("acme", "main", ids[0])
    assert b"".join(parts) == data
