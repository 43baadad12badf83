"""The pipeline that a chaos run submits (`PIPELINE_MODULES=tests.chaos.pipeline`): short jobs that tell a journal outside the system.

A line when the body starts and one when it is over, however it is over. A start without another line is a run that was killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.pipelines import Map, Part, Pipeline, RetryPolicy, Stage, register
from tests.chaos import full
from tests.chaos.journal import AT, HOP, KILLS, MARK, BodyJournal
from tests.deaths import DEATHS, deaf

#: The longest nap between two words of progress, in seconds.
NAP_SECONDS = 0.05
ARTIFACT = "said.txt"

#: The run of this process that wrote its start last.
_run = ""


class Flaky(StageError):
    """It failed, and will not fail again."""

    code = "flaky"
    retryable = True


class ChaosParams(BaseModel):
    """What one job does."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(description="Comes back in the result and in the artifact.")
    seconds: float = Field(0.0, ge=0, le=600, description="How long it works, in seconds.")
    fail: Literal["", "always", "once"] = Field("", description="Fail at the end of the work.")
    poison: Literal["", "kill", "segfault", "memory", "worker"] = Field(
        "", description="Kill its own process in the middle of the work; `worker`: and the main process of its worker before."
    )
    process: bool = Field(False, description="Work in a child process.")
    deaf: bool = Field(False, description="Hear no cancel, as code stuck in a C library.")


def work(context: JobContext) -> Mapping[str, Any]:
    """The body."""
    params = ChaosParams.model_validate(context.params)
    journal = _begun(context)
    with _told(journal):
        if params.poison:
            _work(context, params.seconds / 2)
            _die(params.poison, journal)
        elif params.process:
            context.wait_process(context.popen(["sleep", f"{params.seconds:.3f}"]))
        elif params.deaf:
            deaf(params.seconds)
        else:
            _work(context, params.seconds)
        if params.fail == "always":
            raise StageError("told to fail")
        if params.fail == "once" and _first_time(context):
            raise Flaky
    return {"token": params.token}


def publish(context: JobContext) -> Mapping[str, Any]:
    """Publish a tiny file that says which run made it, and end the journal's lines of this run."""
    journal = _begun(context)
    with _told(journal):
        local = context.workdir / ARTIFACT
        full.write(local, f"{context.params['token']} {context.workdir.name}")
        link = context.publish(local, ARTIFACT)
    journal.write("end")
    return {"link": link}


def _begun(context: JobContext) -> BodyJournal:
    """The journal of this run, with its line of a start: by the first stage that runs, for one whose output is kept is passed over."""
    global _run
    journal = BodyJournal.of(context)
    if _run != journal.run:
        _run = journal.run
        journal.write("start")
    return journal


@contextmanager
def _told(journal: BodyJournal) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        journal.write(type(error).__name__)
        raise


def _work(context: JobContext, seconds: float) -> None:
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        context.progress(1 - left / seconds, "working")
        time.sleep(min(left, NAP_SECONDS))


def _first_time(context: JobContext) -> bool:
    """Whether this job has not been here before, in any process."""
    folder = context.settings.data_dir / "failed-once"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / context.job_id).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _die(how: str, journal: BodyJournal) -> None:
    if how == WORKER and (worker := _its_worker()) is not None:
        journal.write(KILLS)
        os.kill(worker, signal.SIGKILL)
    POISON[how]()


def _its_worker() -> int | None:
    """The main process of this worker, if it is there: an orphan has another parent, and that may be of this machine's own."""
    parent = os.getppid()
    try:
        environment = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return parent if f"{MARK}={os.environ.get(MARK)}".encode() in environment else None


#: How a job kills its own process. One that kills its worker does so first, and then goes as well.
WORKER = "worker"
POISON = {**DEATHS, WORKER: DEATHS["kill"]}

#: Most jobs of `CAPPED` that run at once.
CAP = 2
#: The pool of the middle stage of `POOLED`, and the file that crosses with the job: the runs that have worked for it, one a line.
GPU, TRAIL = "gpu", "trail.txt"

Does = Callable[[JobContext], Mapping[str, Any]]
STAGES = (Stage("work", work, weight=9), Stage("publish", publish))


def _short(context: JobContext) -> Mapping[str, Any]:
    """A quarter of the work."""
    with _told(_begun(context)):
        _work(context, float(context.params["seconds"]) / 4)
    return {}


def _last(context: JobContext) -> Mapping[str, Any]:
    return {**_short(context), **publish(context)}


def _staged(name: str, does: Does, *, hops: bool = True) -> Does:
    """A stage of a job that goes from pool to pool: it tells that it began, and adds its run to the trail that crosses.

    :param hops: another pool runs the next one.
    """

    def run(context: JobContext) -> Mapping[str, Any]:
        journal = _begun(context)
        journal.write(AT + name)
        with _told(journal):
            trail = [*_crossed(context), journal.run]
            full.write(context.workdir / TRAIL, "\n".join(trail))
        data = does(context)
        if hops:
            journal.write(HOP)
        return {**data, "trail": trail}

    return run


def _crossed(context: JobContext) -> list[str]:
    """The trail until now: what the stages before gave, and their file, must both be there."""
    kept: list[str] = context.data.get("trail", [])
    file = context.workdir / TRAIL
    if (file.read_text().splitlines() if file.exists() else []) != kept:
        raise StageError(f"the file that crossed does not say {kept}")
    return kept


def chaos(name: str, description: str, cap: int | None = None, stages: tuple[Stage, ...] = STAGES) -> Pipeline:
    """A pipeline of these stages."""
    return register(
        Pipeline(
            name,
            stages=stages,
            params=ChaosParams,
            needs_url=False,
            description=description,
            retry=RetryPolicy(max_attempts=2, backoff_seconds=0.5),
            max_concurrent=cap,
        )
    )


#: What runs of a job in parts call what they do, and what a part leaves.
SPLIT, PART, JOIN, HEARD = "split", "part", "join", "heard.txt"


def parts_of(token: str) -> int:
    """How many parts the job has: two to four."""
    return 2 + sum(map(ord, token)) % 3


def _split(context: JobContext) -> Iterator[Part]:
    journal, token = _begun(context), context.params["token"]
    journal.write(AT + SPLIT)
    with _told(journal):
        for number in range(parts_of(token)):
            full.write(context.workdir / f"{number}.txt", f"{token} {number}")
            yield Part({"number": number}, [f"{number}.txt"])
    journal.write(HOP)


def _part(context: JobContext, part: Part) -> Mapping[str, Any]:
    """A quarter of the work; the first part does all that the job is to do."""
    journal, token = _begun(context), context.params["token"]
    journal.write(AT + PART)
    with _told(journal):
        if Path(part.files[0]).read_text() != f"{token} {part.number}" or part.data != {"number": part.number}:
            raise StageError(f"part {part.number} was given {part.data} and another's file")
    (work if part.number == 0 else _short)(context)
    with _told(journal):
        full.write(context.workdir / HEARD, journal.run)
    journal.write("end")
    return {"number": part.number, "file": str(context.workdir / HEARD)}


def _join(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    """Who made each part, by what that left, in the order in which they come."""
    journal = _begun(context)
    journal.write(AT + JOIN)
    with _told(journal):
        heard = [[one["number"], Path(one["file"]).read_text()] for one in results]
    return {"token": context.params["token"], "heard": heard}


CHAOS = chaos("chaos", "Short jobs for the chaos run.")
CAPPED = chaos("chaos-capped", "The same, few at once.", CAP)
POOLED = chaos(
    "chaos-pooled", "Jobs that go to another pool and back.",
    stages=(
        Stage("before", _staged("before", _short)),
        Stage("work", _staged("work", work), weight=9, pool=GPU),
        Stage("after", _staged("after", _last, hops=False)),
    ),
)  # fmt: skip
PARTED = chaos(
    "chaos-parted", "Jobs whose work is done in parts, in another pool.",
    stages=(
        Map("hear", _split, _part, _join, pool=GPU, window=2, retry=RetryPolicy(max_attempts=2, backoff_seconds=0.5), weight=9),
        Stage("publish", publish),
    ),
)  # fmt: skip
