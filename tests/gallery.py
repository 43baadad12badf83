"""Every page of the web page in its states, for what looks at all of them: axe, widths, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.files.artifacts import RunArtifacts
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.stack import ROOT, Stack

UI = "/pipeline/ui"
FILM = "https://media.lumen.example/physics/lecture-07.mp4"
LINES = (
    ("Good morning. Today we look at what glaciers remember.", "Dr. Brandt"),
    ("When the last gap between two grains closes, a little air is caught.", "Dr. Brandt"),
    ("That bubble is never opened again until someone drills.", "Dr. Brandt"), ("But how do you know the year?", "Student"),
    ("The layers are counted, as the rings of a tree.", "Dr. Brandt"), ("And where two layers are alike, a volcano helps.", "Dr. Brandt"),
)  # fmt: skip
_CUES = "WEBVTT\n\n00:00:00.000 --> 00:00:05.000\nstoryboard.jpg#xywh=0,0,160,90\n"


@dataclass(frozen=True)
class Gallery:
    """By a name for its picture, the address of each page in a state: full, or (`bare-`) empty; and of those that say what went wrong."""

    pages: dict[str, str]
    wrong: dict[str, str]
    #: Of the job with a film, of a running one, and of the batch with failed jobs.
    film: str
    running: str
    batch: str


class Painter:
    """Makes something of everything in a stack without workers."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.cell, self.client, self.folder = stack.app.cell, stack.client, folder
        self.store = stack.client.store

    def job(self, tenant: str = "lumen", title: str = "", **fields: Any) -> str:
        more = {"metadata": {"title": title}} if title else {}
        return self.client.submit(NewJob(**{"pipeline": "media", "url": FILM, "tenant_id": tenant, **more, **fields})).job_id

    def start(self, job_id: str) -> int:
        claimed = self.store.claim(job_id, self.client.get(job_id).fence, worker="cpu-1", run="r")
        assert not isinstance(claimed, ClaimRefused), claimed
        self.store.progress(job_id, claimed.fence, 20, "fetch", "fetching")
        self.store.progress(job_id, claimed.fence, 43, "transcribe", "part 9 of 13")
        return claimed.fence

    def fail(self, job_id: str, code: str = "source_forbidden") -> str:
        fence, said = self.start(job_id), "media.lumen.example answers 403"
        detail = {"code": code, "message": said, "stage": "fetch", "retryable": True}
        self.store.finish(job_id, fence, JobStatus.FAILED, error=said, error_detail=detail)
        return job_id

    def film(self, tenant: str = "lumen") -> str:
        """A job with all that the built-in pipeline can make."""
        job_id = self.job(tenant, tags=("weekly",))
        fence = self.start(job_id)
        run = RunArtifacts(self.cell.artifacts, f"{tenant}/main/{job_id}/{fence}")
        (self.folder / "storyboard.vtt").write_text(_CUES)
        names = {"media": ROOT / "samples" / "harbor.mp4", "storyboard": self.folder / "storyboard.vtt"}
        links = {name: run.publish(path, f"{'video' if name == 'media' else name}{path.suffix}") for name, path in names.items()}
        lines = [{"start": n * 1.5, "end": n * 1.5 + 1.5, "text": text, "speaker": who} for n, (text, who) in enumerate(LINES * 5)]
        chapters = [{"start": start, "title": title} for start, title in ((0, "Welcome"), (3, "Air in a bubble"), (9, "Questions"))]
        data = {
            "title": "How glaciers remember, lecture 7", "segments": lines, "chapters": chapters, "artifacts": links, "language": "en",
            "transcript": " ".join(text for text, _ in LINES), "summary": LINES[1][0], "keywords": ["ice core", "carbon dioxide"],
            "warnings": ["The film has no captions of its own."],
        }  # fmt: skip
        self.store.finish(job_id, fence, JobStatus.COMPLETED, result={"success": True, "data": data}, artifacts=run.prefix)
        return job_id

    def batch(self, tenant: str = "lumen") -> str:
        made = self.cell.batches.create(NewBatch([NewJob(url=FILM)] * 6, tenant, metadata={"title": "Autumn term, all lectures"}))
        first, second, *_ = filter(None, made.job_ids)
        self.fail(first)
        self.fail(second)
        return str(made.batch.batch_id)

    def everything(self) -> Gallery:
        self.store.announce("cpu-1", 6, [])
        film, batch = self.film(), self.batch()
        failed = self.fail(self.job(title="Titration, demonstration"), "worker_lost")
        running, waiting = self.job(title="Complex analysis II, week 9"), self.job(title="Field trip: tides at Texel")
        self.start(running)
        self.client.submit(NewJob(pipeline="sleep", tenant_id="harbour", metadata={"title": "Morning show"}))
        after = self.job(title="Cut of the field trip", depends_on=(waiting,))
        flow = self.cell.workflows.create(
            NewWorkflow([NewNode("a", NewJob(pipeline="sleep")), NewNode("b", NewJob(pipeline="sleep"), ("a",))], "lumen", "main")
        )
        timed = self.cell.schedules.create(NewSchedule("0 22 * * *", NewJob(pipeline="sleep", tenant_id="lumen"), name="Nightly feed"))
        hook = self.cell.webhooks.endpoints.create("lumen", "https://hooks.lumen.example/done", description="The website")[0].endpoint_id
        sent = self.cell.webhooks.endpoints.test(hook)
        self.cell.uploads.create("lumen", "main", 3_000_000, {"filename": "lecture-08.mov"})
        of = {"film": film, "failed": failed, "running": running, "waiting": waiting, "after": after}
        pages = {
            "overview": "", "overview-lumen": "?tenant_id=lumen", "jobs": "/jobs", "jobs-failed": "/jobs?status=failed&group=error_code",
            **{f"job-{name}": f"/jobs/{job_id}" for name, job_id in of.items()},
            "job-change": f"/jobs/{waiting}/change", "bulk": f"/bulk?action=cancel&batch_id={batch}&tenant_id=lumen",
            "chosen": f"/jobs/chosen?action=delete&id={failed}&id={film}&id={running}",
            "submit": "/submit?pipeline=media&tenant_id=lumen", "submit-like": f"/submit?like={film}",
            "many": "/submit/many?tenant_id=lumen",
            "uploads": "/uploads?tenant_id=lumen", "batches": "/batches", "batch": f"/batches/{batch}",
            "workflow": f"/workflows/{flow.batch.batch_id}", "schedules": "/schedules",
            "schedule": f"/schedules/{timed.schedule.schedule_id}",
            "schedule-new": "/schedules/new", "webhooks": "/tenants/lumen/webhooks", "webhook": f"/webhooks/{hook}",
            "delivery": f"/deliveries/{sent}",
            "keys": "/tenants/lumen/keys", "limits": "/tenants/lumen", "limits-default": "/tenants/*", "audit": "/audit",
            "audit-lumen": "/tenants/lumen/audit",
            "fairness": "/fairness",
            "forecast": "/fairness?of=lumen&weight=3", "oncall": "/oncall", "pause": "/oncall/pause?of=lumen",
            # A tenant that has nothing yet.
            "bare-overview": "?tenant_id=bare", "bare-jobs": "/jobs?tenant_id=bare", "bare-batches": "/batches?tenant_id=bare",
            "bare-schedules": "/schedules?tenant_id=bare", "bare-webhooks": "/tenants/bare/webhooks",
            "bare-uploads": "/uploads?tenant_id=bare",
            "bare-keys": "/tenants/bare/keys", "bare-limits": "/tenants/bare", "bare-chosen": "/jobs?tenant_id=bare&q=nothing",
        }  # fmt: skip
        wrong = {
            "wrong-address": "/nothing/here", "wrong-job": "/jobs/job_1_00000000", "wrong-filter": "/jobs?colour=red",
            "wrong-word": "/jobs?find=colour:red", "wrong-share": "/shared?token=x",
            "wrong-forecast": "/fairness?of=lumen&weight=-1",
        }  # fmt: skip
        every, bad = ({name: UI + path for name, path in some.items()} for some in (pages, wrong))
        return Gallery(every, bad, film, running, batch)
