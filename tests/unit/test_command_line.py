"""What all commands have in common: JSON, tables, completion, and the command without the app."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from pipeline_jobs.cli import console
from tests.cases import each
from tests.unit.test_places_agree import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


@each("path", COMMANDS)
def test_every_command_takes_json(path: str) -> None:
    flags = [one for one in COMMANDS[path].params if isinstance(one, click.Option) and one.name == "as_json"]
    assert [one.opts for one in flags] == [["--json"]]


def table(width: int, *rows: tuple[str, ...]) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(console.drawn(rows))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_at_a_terminal_a_table_is_cut_to_its_width_and_ids_are_whole(width: int) -> None:
    job_id = "job_1795531908_dfd097b5"
    lines = table(width, ("JOB", "URL", "ERROR"), (job_id, "https://example.com/" + "x" * 90, "[red]it broke[/red]"))
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert job_id in lines[1]
    assert ("[red]it broke[/red]" in lines[1]) is (width == 200)


def test_what_would_steer_the_terminal_is_not_printed() -> None:
    assert console.shown(["a\x1b[31mb\nc", None, "", 0]) == ["a [31mb c", "-", "-", "0"]


@pytest.mark.parametrize(("seconds", "said"), [(5, "5s"), (130, "2m"), (7300, "2h"), (200_000, "2d"), (-60, "0s")])
def test_an_age_is_short(seconds: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    assert console.age((1_000_000 - seconds) * 1000) == said


def pipeline_jobs(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "pipeline_jobs", *words], cwd=folder, env=whole, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str, tmp_path: Path) -> None:
    made = pipeline_jobs(tmp_path, _PIPELINE_JOBS_COMPLETE=f"{shell}_source")
    assert (made.returncode, "_PIPELINE_JOBS_COMPLETE" in made.stdout) == (0, True), made.stderr


def test_completion_needs_no_good_settings(tmp_path: Path) -> None:
    asked = {"_PIPELINE_JOBS_COMPLETE": "bash_complete", "COMP_WORDS": "pipeline-jobs exp", "COMP_CWORD": "1"}
    done = pipeline_jobs(tmp_path, PIPELINE_REDIS_URL="nope", **asked)
    assert done.stdout == "plain,explain\n"


def test_a_wrong_setting_is_one_line_also_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PIPELINE_LEASE_SECONDS=soon\n", "utf-8")
    done = pipeline_jobs(tmp_path, "list", PYTHON_DOTENV_DISABLED="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: PIPELINE_LEASE_SECONDS")
    assert done.stderr.count("\n") == 1
