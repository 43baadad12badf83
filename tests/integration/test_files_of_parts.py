"""The files of parts: how many, and where they lie."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs import testing
from pipeline_jobs.context import JobContext
from pipeline_jobs.jobs import part_runs
from pipeline_jobs.pipelines import Map, NoParams, Part, Pipeline, Stage
from pipeline_jobs.stage import PartOutside
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


def litter(folder: Path, count: int, length: int = 8) -> list[Path]:
    """So many empty files with names of this length."""
    paths = [folder / f"{number:0{length}}" for number in range(count)]
    for path in paths:
        path.touch()
    return paths


def ended_with(parted: Parted, hear: Map) -> str | None:
    """The code with which a job ends whose stage in parts is this one."""
    parted.cell.client.registry.register(Pipeline("files", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="files")
    parted.run_all()
    return (parted.seen(job).error_detail or {}).get("code")


def count_of(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    return {"all": len(results)}


#: Names lie in one row: so many of them, and so long ones, and what becomes of a job that has one more.
FILES = [(500, 8, None), (501, 8, "part_too_large"), (163, 201, None), (164, 201, "part_too_large")]


@pytest.mark.parametrize(("count", "length", "code"), FILES)
def test_a_part_is_given_so_many_files(parted: Parted, count: int, length: int, code: str | None) -> None:
    def split(context: JobContext) -> list[Part]:
        return [Part({}, litter(context.workdir, count, length))]

    assert ended_with(parted, Map("hear", split, lambda context, part: {"files": len(part.files)}, count_of)) == code


@pytest.mark.parametrize(("count", "length", "code"), FILES)
def test_a_part_leaves_so_many_files(parted: Parted, count: int, length: int, code: str | None) -> None:
    """A child that a hostile film has taken over may write any number of empty ones."""

    def part(context: JobContext, part: Part) -> None:
        litter(context.workdir, count, length)

    assert ended_with(parted, Map("hear", lambda context: [Part()], part, count_of)) == code


@pytest.mark.parametrize("named", ["../outside", "/etc/hostname", "link", "folder/../../outside"])
@pytest.mark.parametrize("fan_out", ["worker", "in process"])
def test_a_part_is_given_files_of_its_job_s_folder_only(parted: Parted, named: str, fan_out: str) -> None:
    def split(context: JobContext) -> list[Part]:
        (context.workdir.parent / "outside").touch()
        (context.workdir / "folder").mkdir()
        (context.workdir / "link").symlink_to(context.workdir.parent / "outside")
        return [Part({}, [named])]

    hear = Map("hear", split, lambda context, part: {}, count_of)
    if fan_out == "worker":
        assert ended_with(parted, hear) == "part_outside"
        return
    with pytest.raises(PartOutside, match="part 0"):
        testing.run(Pipeline("files", (hear,), NoParams, needs_url=False), {})


def test_a_part_may_be_given_a_file_by_a_name_that_begins_with_dots(parted: Parted) -> None:
    def split(context: JobContext) -> list[Part]:
        return [Part({}, litter(context.workdir / ".", 1)), Part({}, [shutil.move(context.workdir / "words", context.workdir / "..words")])]

    assert ended_with(parted, Map("hear", split, lambda context, part: {}, count_of)) is None


def test_inputs_are_written_in_pages_of_so_many_parts_and_so_many_files() -> None:
    def sizes(files: Sequence[int]) -> list[tuple[int, int]]:
        rows = [("", {str(number): Path() for number in range(count)}) for count in files]
        return [(first, len(page)) for first, page in part_runs.pages(rows)]

    assert sizes([]) == []
    assert sizes([1] * 250) == [(0, 100), (100, 100), (200, 50)]
    assert sizes([500] * 5) == [(0, 2), (2, 2), (4, 1)]
    assert sizes([2000, 1, 2000]) == [(0, 1), (1, 1), (2, 1)]
