"""The files of parts: how many, and where they lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs import testing
from pipeline_jobs.context import JobContext
from pipeline_jobs.jobs import part_runs
from pipeline_jobs.jobs.part_runs import MAX_RESULT
from pipeline_jobs.pipelines import Map, NoParams, Part, Pipeline, Stage
from pipeline_jobs.stage import PartOutside
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


def test_what_a_part_leaves_in_very_many_files_is_no_large_row(parted: Parted) -> None:
    """Names count as what is said: a child that a hostile film has taken over may write any number of empty files."""

    def litter(context: JobContext, part: Part) -> None:
        for number in range(2000):
            (context.workdir / f"{'n' * 200}{number}").touch()

    hear = Map("hear", parted.split, litter, lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("litter", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="litter")
    parted.run_next()
    parted.run_next()
    (split,) = (key for key in parted.left() if ":parts:" in key) if not parted.seen(job).ended else ("",)
    assert not split or parted.cell.store.client.hstrlen(split, "r:0") <= 10 * MAX_RESULT


def test_a_part_that_is_given_very_many_files_is_no_large_row(parted: Parted) -> None:
    def split(context: JobContext) -> Iterator[Part]:
        files = [context.workdir / f"{'n' * 200}{number}" for number in range(2000)]
        for path in files:
            path.touch()
        yield Part({}, files)

    hear = Map("hear", split, lambda context, part: {}, lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("litter", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="litter")
    parted.run_next()
    (split_key,) = (key for key in parted.left() if ":parts:" in key) if not parted.seen(job).ended else ("",)
    assert not split_key or parted.cell.store.client.hstrlen(split_key, "i:0") <= 10 * MAX_RESULT


def litter(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"piece{number}" for number in range(count)]
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


@pytest.mark.parametrize(("count", "code"), [(500, None), (501, "part_too_large")])
def test_a_part_is_given_so_many_files(parted: Parted, count: int, code: str | None) -> None:
    def split(context: JobContext) -> list[Part]:
        return [Part({}, litter(context.workdir, count))]

    assert ended_with(parted, Map("hear", split, lambda context, part: {"files": len(part.files)}, count_of)) == code


@pytest.mark.parametrize(("count", "code"), [(500, None), (501, "part_too_large")])
def test_a_part_leaves_so_many_files(parted: Parted, count: int, code: str | None) -> None:
    def part(context: JobContext, part: Part) -> None:
        litter(context.workdir, count)

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
