"""The frame around the outputs: which are made, what each may cost, and what is believed of the process that makes them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError, InvalidInput, JobCancelled, MediaDamaged
from pipeline_jobs.media import publish, render
from pipeline_jobs.media.outputs import catalogue
from pipeline_jobs.media.outputs.catalogue import File, Need, Output
from pipeline_jobs.media.outputs.making import Made, Making
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.web.api import artifacts
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeReporter

SEGMENTS = [{"start": 0.0, "end": 1.5, "text": "Hello there."}]
DATA: dict[str, Any] = {
    "output": "video.mp4", "output_media": {"width": 64, "height": 48, "duration": 2.0, "bytes": 4}, "speech": "speech.wav",
    "transcript": "Hello there.", "segments": SEGMENTS,
}  # fmt: skip


def list_of(making: Making) -> Made:
    """Two files, of which the first names the second."""
    making.file("list.m3u8").write_text('#EXTM3U\n#EXT-X-MAP:URI="part-1.m4s"\npart-1.m4s\n')
    making.file("part-1.m4s").write_bytes(b"film")
    return Made(("list.m3u8", "part-1.m4s"), 1.5, {"found": [1]})


def large(making: Making) -> Made:
    making.file("part-1.m4s").write_bytes(bytes(5000))
    making.step(0.5)
    raise AssertionError("nobody looked at its size")


def endless(making: Making) -> Made:
    making.file("part-1.m4s").write_bytes(b"film")
    for _ in range(200_000):
        making.step(0.5)
    raise AssertionError("nobody looked at the clock")


def damaged(making: Making) -> Made:
    making.file("part-1.m4s").write_bytes(b"film")
    raise MediaDamaged


MAKERS = {"list_of": list_of, "large": large, "endless": endless, "damaged": damaged}
FILES = (File(r"list\.m3u8", "application/vnd.apple.mpegurl", links=True), File(r"part-\d\.m4s", "video/mp4"))
LIST = Output("list", "A list.", frozenset(), FILES, "list_of", (4096, 0), (0.2, 0), gives=("found",))


def offered(monkeypatch: pytest.MonkeyPatch, *outputs: Output) -> None:
    monkeypatch.setattr(catalogue, "OUTPUTS", {output.name: output for output in outputs})
    monkeypatch.setattr(render, "_maker", lambda output: MAKERS[output.maker])


def asking(make_context: MakeContext, *names: str, **data: Any) -> JobContext:
    context = make_context(data={**DATA, **data})
    context.params = {"outputs": list(names)}
    (context.workdir / "video.mp4").write_bytes(b"film")
    return context


def test_what_an_output_makes_is_published_and_described(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, published: dict[str, bytes], reporter: FakeReporter
) -> None:
    offered(monkeypatch, LIST)
    context = asking(make_context, "list")
    context.publish = lambda path, name: (published.__setitem__(name, path.read_bytes()), f"http://host/a/{name}?signature=of-{name}")[1]
    context.data.update(render.run(context))
    publish.run(context)
    # The artifact store was away at the end, and the stage runs again.
    done = publish.run(context)
    assert context.data["found"] == [1]
    assert done["artifacts"]["list"] == "http://host/a/list.m3u8?signature=of-list.m3u8"
    text = b'#EXTM3U\n#EXT-X-MAP:URI="part-1.m4s?signature=of-part-1.m4s"\npart-1.m4s?signature=of-part-1.m4s\n'
    assert published["list.m3u8"] == text, "a player that has the list's link has those in it"
    row = done["outputs"]["list"]
    assert (row["type"], row["bytes"], row["duration"]) == ("application/vnd.apple.mpegurl", len(text) + 4, 1.5)
    assert set(row["files"]) == {"list.m3u8", "part-1.m4s"}
    assert done["outputs"]["media"] == {
        "link": "http://host/a/video.mp4?signature=of-video.mp4", "type": "video/mp4", "bytes": 4, "duration": 2.0,
    }  # fmt: skip
    assert reporter.percents[-1] == 100


def test_without_a_wish_nothing_is_made(make_context: MakeContext) -> None:
    assert render.run(asking(make_context)) == {"made": {}, "warnings": []}


@pytest.mark.parametrize(
    ("maker", "why"), [("large", "it is too large"), ("endless", "it takes too long"), ("damaged", "The media file is damaged")]
)
def test_an_output_that_cannot_be_made_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, maker: str, why: str
) -> None:
    offered(monkeypatch, replace(LIST, name="bad", maker=maker), LIST)
    context = asking(make_context, "bad", "list")
    found = render.run(context)
    assert list(found["made"]) == ["list"]
    (warning,) = found["warnings"]
    assert warning.startswith(f"output_left_out: bad: {why}")
    context = asking(make_context, "bad")
    (context.workdir / "part-1.m4s").unlink(missing_ok=True)
    render.run(context)
    assert not (context.workdir / "part-1.m4s").exists(), "what it wrote is gone with it"


@pytest.mark.parametrize(
    ("need", "data"),
    [
        (Need.PICTURE, {"output_media": {"width": None, "duration": 2.0}}),
        (Need.SOUND, {"speech": None}),
        (Need.WORDS, {"segments": []}),
    ],
)
def test_an_output_of_what_the_media_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, need: Need, data: dict[str, Any]
) -> None:
    offered(monkeypatch, replace(LIST, needs=frozenset(Need)))
    assert list(render.run(asking(make_context, "list"))["made"]) == ["list"]
    found = render.run(asking(make_context, "list", **data))
    assert (found["made"], found["warnings"]) == ({}, [f"output_left_out: list: {need.value}"])


def test_a_cancel_is_seen_between_two_steps(monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, reporter: FakeReporter) -> None:
    offered(monkeypatch, replace(LIST, maker="endless", max_seconds=(1000, 0)))
    reporter.cancel_if = lambda percent, message: len(reporter.reports) > 5
    with pytest.raises(JobCancelled):
        render.run(asking(make_context, "list"))


ROW = {"files": ["list.m3u8", "part-1.m4s"], "duration": 1.5}
#: What a process that a hostile file has taken over may say that it made, and what it may have written.
LIES: dict[str, dict[str, Any]] = {
    "another output": {"made": {"srt": ROW}},
    "a file of ours": {"made": {"list": ROW | {"files": ["list.m3u8", "video.mp4"]}}},
    "a file elsewhere": {"made": {"list": ROW | {"files": ["../list.m3u8"]}}},
    "no file": {"made": {"list": ROW | {"files": []}}},
    "a file that is not there": {"made": {"list": ROW | {"files": ["list.m3u8", "part-2.m4s"]}}},
    "the wrong one first": {"made": {"list": ROW | {"files": ["part-1.m4s"]}}},
    "no name": {"made": {"list": ROW | {"files": [5]}}},
    "no duration": {"made": {"list": ROW | {"duration": "long"}}},
    "a duration that is no number": {"made": {"list": ROW | {"duration": float("nan")}}},
    "a link in the folder": {"link": "part-1.m4s"},
    "too much": {"size": 5000},
    "an address": {"text": "http://evil.example/part-1.m4s\n"},
    "an address without a scheme": {"text": "//evil.example/part-1.m4s\n"},
    "a way up": {"text": "../part-1.m4s\n"},
    "another file": {"text": "part-7.m4s\n"},
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_process_that_was_taken_over_made_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, published: dict[str, bytes], lie: str
) -> None:
    offered(monkeypatch, LIST)
    context = asking(make_context, "list")
    context.data.update(render.run(context))
    case = LIES[lie]
    context.data["made"] = case.get("made", context.data["made"])
    (context.workdir / "list.m3u8").write_text(case.get("text", "part-1.m4s\n"))
    part = context.workdir / "part-1.m4s"
    if "size" in case:
        part.write_bytes(bytes(case["size"]))
    if "link" in case:
        part.unlink()
        part.symlink_to("/etc/hostname")
    with pytest.raises(InternalError):
        publish.run(context)
    assert not set(published) & {"list.m3u8", "../list.m3u8"}


# -- what a client may ask for


def test_a_preset_chooses_a_set_and_the_list_adds_to_it() -> None:
    film = [output.name for output in catalogue.wanted({"preset": "film", "outputs": []})]
    assert film == [name for name in catalogue.OUTPUTS if name in catalogue.PRESETS["film"]], "in the order in which they are made"
    both = {output.name for output in catalogue.wanted(MEDIA.check_params({"preset": "podcast", "outputs": ["ass", "ass"]}))}
    assert both == {*catalogue.PRESETS["podcast"], "ass"}
    assert catalogue.wanted(MEDIA.check_params({})) == []


@pytest.mark.parametrize("preset", catalogue.PRESETS)
def test_every_preset_can_be_asked_for_and_names_outputs(preset: str) -> None:
    MEDIA.check_params({"preset": preset})
    assert set(catalogue.PRESETS[preset]) <= set(catalogue.OUTPUTS)
    assert [name for name in catalogue.PRESETS[preset] if catalogue.OUTPUTS[name].requires] == [], "no preset needs an extra"


def test_the_schema_of_the_params_names_all_outputs_and_presets() -> None:
    schema = json.dumps(MEDIA.params.model_json_schema())
    assert [name for name in (*catalogue.OUTPUTS, *catalogue.PRESETS) if f'"{name}"' not in schema] == []


def test_an_unknown_output_is_refused_at_submit() -> None:
    with pytest.raises(InvalidInput) as caught:
        MEDIA.check_params({"outputs": ["srt", "gif"]})
    assert caught.value.field == "params.outputs.1"
    assert str(caught.value).startswith("params.outputs.1: there is no output 'gif'; known: speakers, srt, vtt, ")


def test_an_output_whose_library_is_not_installed_is_refused_at_submit_and_left_out_by_a_worker(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext
) -> None:
    lacking = replace(LIST, requires=("no_such_module",), extra="pipeline-jobs[such]")
    offered(monkeypatch, lacking)
    with pytest.raises(InvalidInput, match=r"no_such_module.*pipeline-jobs\[such\]"):
        MEDIA.check_params({"outputs": ["list"]})
    assert render.run(asking(make_context, "list"))["warnings"] == [
        "output_left_out: list: no_such_module is not installed here (pipeline-jobs[such])"
    ]


def test_every_maker_is_there_and_is_described() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/api.md").read_text()
    table = page.partition("| output | what it is |")[2].partition("\n\n")[0]
    presets = re.findall(r"`(\w+)`", table.partition("\n")[0])
    for output in catalogue.OUTPUTS.values():
        assert callable(render._maker(output)), output.name
        assert output.about.endswith("."), output.name
        (row,) = re.findall(rf"^\| `{output.name}` \| .*$", table, re.MULTILINE)
        cells = [cell.strip() for cell in row.strip("|").split("|")[-len(presets) :]]
        told = {preset for preset, cell in zip(presets, cells, strict=True) if cell == "yes"}
        assert told == {preset for preset, names in catalogue.PRESETS.items() if output.name in names}, output.name


def test_a_browser_is_told_what_an_output_is() -> None:
    kinds = {Path(file.pattern).suffix for output in catalogue.OUTPUTS.values() for file in output.files}
    assert kinds - set(artifacts._SAFE_TYPES) == set()
