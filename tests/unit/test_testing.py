"""What `pipeline_jobs.testing` runs a pipeline with, and what it gives of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pipeline_jobs import testing
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters, InvalidInput, JobCancelled, MediaDamaged, SourceNotFound
from pipeline_jobs.pipelines import Map, Part, PartError, Pipeline, RetryPolicy, Stage, TryAgain


class Params(BaseModel):
    text: str = Field(json_schema_extra={"format": "password"})
    times: int = 2


def write(context: JobContext) -> dict[str, Any]:
    for number in range(context.params["times"]):
        context.progress((number + 1) / context.params["times"], "at it")
    (context.workdir / "a.txt").write_text(context.params["text"])
    print("the text is", context.params["text"])
    return {"link": context.publish(context.workdir / "a.txt", "a.txt"), "warnings": ["short: The text is short."]}


def check(context: JobContext) -> dict[str, Any]:
    context.check_cancelled()
    return {"seen": (context.workdir / "a.txt").read_text()}


BOTH = Pipeline("both", (Stage("write", write), Stage("check", check)), Params, needs_url=False, result=lambda data: {"seen": data["seen"]})


def test_it_gives_what_the_run_gave_and_said() -> None:
    ran = testing.run(BOTH, {"text": "hello"})
    assert (ran.result, ran.files) == ({"seen": "hello"}, {"a.txt": b"hello"})
    assert ran.progress[:3] == [("write", 0.0, None), ("write", 25.0, "at it"), ("write", 50.0, "at it")]
    assert ran.progress[-1][:2] == ("check", 100.0)
    assert ran.messages == ["the text is ***"], "masked as in a worker"
    assert ran.warnings == ["short: The text is short."]


def test_a_cancel_comes_at_the_first_look_of_its_stage() -> None:
    ran = testing.Ran()
    with pytest.raises(JobCancelled):
        testing.run(BOTH, {"text": "hello"}, cancel_in="check", into=ran)
    assert ran.progress[-1][0] == "check"
    assert ran.messages == ["the text is ***"]


def test_parameters_are_checked_and_an_unknown_upload_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"params\.text"):
        testing.run(BOTH)
    opens = Pipeline("opens", (Stage("open", lambda context: {"size": context.open_upload("x")[0]}),), needs_url=False)
    with pytest.raises(SourceNotFound):
        testing.run(opens)
    assert testing.run(opens, uploads={"x": b"abc"}, workdir=tmp_path).result == {"size": 3}


def cut(context: JobContext) -> Iterator[Part]:
    for number, word in enumerate(context.params["text"].split()):
        (context.workdir / f"{number}.txt").write_text(word)
        yield Part({"number": number}, [f"{number}.txt"])


def shout(context: JobContext, part: Part) -> dict[str, Any]:
    word = (context.workdir / part.files[0]).read_text()
    assert [path.name for path in context.workdir.iterdir()] == [f"{part.data['number']}.txt"]
    context.progress(1.0)
    if word == "later" and context.attempt == 1:
        raise TryAgain
    if word == "never":
        raise MediaDamaged("broken")
    (context.workdir / "loud.txt").write_text(word.upper())
    return {"file": str(context.workdir / "loud.txt")}


def put_together(context: JobContext, results: Sequence[Any]) -> dict[str, Any]:
    return {"seen": [one.code if isinstance(one, PartError) else Path(one["file"]).read_text() for one in results]}


def in_parts(**options: Any) -> Pipeline:
    return Pipeline("loud", (Map("shout", cut, shout, put_together, **options),), Params, needs_url=False)


def test_parts_run_one_after_the_other_each_in_a_folder_of_its_own(tmp_path: Path) -> None:
    ran = testing.run(in_parts(pool="gpu", retry=RetryPolicy(2)), {"text": "one later three"}, workdir=tmp_path)
    assert ran.result == {"seen": ["ONE", "LATER", "THREE"]}
    assert [round(percent) for _, percent, _ in ran.progress] == [0, 33, 67, 67, 100, 100]
    assert not (tmp_path / "parts").exists()


def test_the_error_of_a_part_ends_the_run_or_is_collected() -> None:
    with pytest.raises(MediaDamaged):
        testing.run(in_parts(), {"text": "one never"})
    assert testing.run(in_parts(on_part_error="collect"), {"text": "one never"}).result == {"seen": ["ONE", "media_damaged"]}


def test_a_bug_of_a_part_is_collected_as_by_a_worker() -> None:
    stage = Map(
        "shout", cut, lambda context, part: {"n": 1 // part.number}, lambda context, results: {"all": results}, on_part_error="collect"
    )
    first, second = testing.run(Pipeline("loud", (stage,), Params, needs_url=False), {"text": "one two"}).result["all"]
    assert (first.code, second) == ("internal_error", {"n": 1})


def test_a_join_finds_no_more_than_it_would_find_in_a_run_of_its_own(tmp_path: Path) -> None:
    """Else a pipeline that passes its test fails on workers."""

    def notes(context: JobContext) -> Iterator[Part]:
        context.data["noted"] = True
        yield from cut(context)

    def finds(context: JobContext, results: Sequence[Any]) -> dict[str, Any]:
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        return {"files": files, "data": sorted(context.data)}

    def keep(context: JobContext) -> dict[str, int]:
        (context.workdir / "kept.txt").touch()
        return {"kept": 1}

    stages = (Stage("keep", keep), Map("shout", notes, shout, finds))
    ran = testing.run(Pipeline("loud", stages, Params, needs_url=False), {"text": "one two"}, workdir=tmp_path)
    assert (ran.data["files"], ran.data["data"]) == (["kept.txt", "parts/0/loud.txt", "parts/1/loud.txt"], ["kept"])


def test_a_part_publishes_nothing() -> None:
    def publishes(context: JobContext, part: Part) -> dict[str, Any]:
        return {"link": context.publish(context.workdir / part.files[0], "a.txt")}

    stage = Map("shout", cut, publishes, lambda context, results: {})
    with pytest.raises(BadParameters, match="in the join"):
        testing.run(Pipeline("loud", (stage,), Params, needs_url=False), {"text": "one"})
