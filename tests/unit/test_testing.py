"""What `pipeline_jobs.testing` runs a pipeline with, and what it gives of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pipeline_jobs import testing
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InvalidInput, JobCancelled, SourceNotFound
from pipeline_jobs.pipelines import Pipeline, Stage


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
