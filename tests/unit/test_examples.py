"""The examples for authors, each run in process: no server, no worker, no store."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from examples.documents import DOCUMENTS
from examples.nightly_report import REPORT, Refused
from examples.renditions import RENDITIONS
from pipeline_jobs import testing
from pipeline_jobs.exceptions import BadParameters, NotMedia
from pipeline_jobs.pipelines import SignalTimeout

#: One pixel, in GIF.
PIXEL = bytes.fromhex("47494638376101000100800000ff0000ffffff2c00000000010001000002024401003b")
ROOT = Path(__file__).resolve().parents[2]


def test_documents_become_text_and_an_index() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.html", "<h1>Dogs &amp; cats</h1>")
        archive.writestr("b.txt", "Cats.")
    ran = testing.run(DOCUMENTS, {"upload": "u"}, uploads={"u": packed.getvalue()})
    assert json.loads(ran.files["index.json"]) == {"cats": ["a.html", "b.txt"], "dogs": ["a.html"]}
    assert ran.result == {"words": 2, "index_url": "https://artifacts.example/index.json"}
    assert ran.messages == ["a.html has 11 characters", "b.txt has 5 characters"]
    with pytest.raises(BadParameters, match="no zip"):
        testing.run(DOCUMENTS, {"upload": "u"}, uploads={"u": b"x"})


def test_a_picture_becomes_renditions() -> None:
    ran = testing.run(RENDITIONS, {"upload": "u", "widths": [1, 640]}, uploads={"u": PIXEL})
    assert ran.result == {"links": {"1": "https://artifacts.example/1.png"}}
    assert ran.files["1.png"].startswith(b"\x89PNG")
    with pytest.raises(NotMedia):
        testing.run(RENDITIONS, {"upload": "u"}, uploads={"u": b"no picture"})


def test_a_report_waits_for_its_approval() -> None:
    rows = {"rows": [["tea", 2.5], ["milk", 1.0]]}
    ran = testing.run(REPORT, rows, signals={"approval": {"approved": True}})
    assert ran.files["report.csv"].decode().splitlines() == ["tea,2.5", "milk,1.0", "sum,3.5"]
    assert ran.result["approval"] == {"approved": True}
    for answer in ({"approved": False}, {"approved": "no"}, {}, None, "yes"):
        with pytest.raises(Refused):
            testing.run(REPORT, rows, signals={"approval": answer})
    with pytest.raises(SignalTimeout):
        testing.run(REPORT, rows)


@pytest.mark.parametrize("name", ["documents", "renditions", "nightly_report"])
def test_an_example_is_short(name: str) -> None:
    lines = [line for line in (ROOT / "examples" / f"{name}.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 40
