"""What is shown of a job: a bar on a terminal, plain lines elsewhere, then the result."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from pipeline_jobs.up.display import JobView, result_lines, show_result


def job(status: str, progress: float = 0.0, stage: str | None = None, message: str | None = None, **more: Any) -> dict[str, Any]:
    return {"status": status, "progress": progress, "stage": stage, "message": message, "reason": None, "error": None, **more}


def plain() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_a_line_is_written_for_each_stage_and_ten_per_cent() -> None:
    console = plain()
    with JobView(console) as view:
        view.show(job("queued", reason="fair_share"))
        view.show(job("queued", 0.1, "fetch", reason="dispatched"))
        view.show(job("running", 1.0, "fetch", "1 of 9 MB"))
        view.show(job("running", 2.0, "fetch", "2 of 9 MB"))
        view.show(job("running", 11.0, "fetch", "9 of 9 MB"))
        view.show(job("running", 15.0, "probe"))
        view.show(job("completed", 100.0, "publish"))
    assert written(console).splitlines() == [
        "  queued      0.0 %  waits: fair_share",
        "  queued      0.1 %  a worker is about to start it",
        "  running     1.0 %  fetch: 1 of 9 MB",
        "  running    11.0 %  fetch: 9 of 9 MB",
        "  running    15.0 %  probe",
        "  completed 100.0 %  publish",
    ]


def test_on_a_terminal_a_bar_shows_stage_and_per_cent() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with JobView(console) as view:
        view.show(job("running", 42.0, "transcribe", "9 s of 21 s [half]"))
    assert "running" in written(console)
    assert " 42 %" in written(console)
    assert "transcribe: 9 s of 21 s [half]" in written(console)


def test_the_result_is_shown_as_it_is_and_wrapped_for_reading() -> None:
    console = plain()
    link = "http://127.0.0.1:8000/" + "a" * 120
    data = {"drive_url": link, "transcript": "[bold] " + "word " * 40, "keywords": ["sea", "bread"], "media": {}}
    show_result(console, job("completed", 100.0, result={"success": True, "data": data}))
    lines = written(console).splitlines()
    assert lines[0] == "Result:"
    assert lines[1].startswith("  transcript  [bold] word word")
    assert max(len(line) for line in lines if "http" not in line) <= 115
    assert "  keywords    sea, bread" in lines
    assert lines[-1] == f"  drive_url   {link}"


def test_what_is_not_there_is_not_shown() -> None:
    assert result_lines({"transcript": "", "summary": None, "language": "en", "keywords": []}) == [("language", "en")]


def test_a_failed_job_tells_its_code_and_error() -> None:
    console = plain()
    show_result(console, job("failed", 5.0, error="the source does not exist", error_detail={"code": "source_not_found"}))
    show_result(console, job("cancelled", 5.0))
    assert written(console).splitlines() == [
        "The job is failed [source_not_found]: the source does not exist",
        "The job is cancelled: no reason given",
    ]
