"""Each operation of the API is reached on the page by links and buttons from its first page, or the row says why not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.states import JobStatus

from .conftest import MakeClient
from .test_ui import UI, Browser, signed_in
from .world import URL, World

#: By operation: the page, or the form (and the button, `act`) that does it.
REACHED: dict[str, str] = {
    "jobs.create": "POST ui.submit", "jobs.list_": "GET ui.jobs", "jobs.get": "GET ui.job", "jobs.change": "POST ui.change_job",
    "jobs.delete": "POST ui.delete", "cancel.cancel": "POST ui.cancel", "retry.retry": "POST ui.retry",
    "batches.create": "POST ui.submit_many", "batches.list_": "GET ui.batches", "batches.get": "GET ui.batch",
    "workflows.list_": "GET ui.batches", "workflows.get": "GET ui.workflow", "workflows.svg": "GET ui.workflow",
    "workflows.cancel": "POST ui.cancel_workflow", "workflows.retry": "POST ui.retry_workflow", "signals.send": "POST ui.signal",
    "batches.cancel": "GET ui.ask_bulk cancel", "batches.cancel_jobs": "GET ui.ask_bulk cancel", "bulk.bulk": "GET ui.ask_bulk retry",
    "schedules.create": "POST ui.make_schedule", "schedules.list_": "GET ui.schedules", "schedules.get": "GET ui.schedule",
    "schedules.change": "POST ui.change_schedule change", "schedules.delete": "POST ui.change_schedule delete",
    "schedules.pause": "POST ui.change_schedule pause", "schedules.resume": "POST ui.change_schedule resume",
    "schedules.run": "POST ui.change_schedule run",
    "uploads.create": "POST ui.begin_upload", "uploads.list_": "GET ui.uploads", "uploads.get": "GET ui.upload",
    "uploads.append": "PATCH ui.continue_upload", "uploads.delete": "POST ui.delete_upload",
    "events.history": "GET ui.job", "events.token": "GET ui.job", "job_logs.logs": "GET ui.job", "transcripts.search": "GET ui.job",
    "pipelines.pipelines": "GET ui.form", "artifacts.artifact": "GET ui.job",
    "deliveries.of_job": "GET ui.job", "deliveries.list_": "GET ui.webhooks", "deliveries.get": "GET ui.delivery",
    "deliveries.redeliver": "POST ui.redeliver",
    "keys.create": "POST ui.make_key", "keys.list_": "GET ui.keys", "keys.revoke": "POST ui.revoke_key",
    "tenants.limits": "GET ui.tenant", "tenants.usage": "GET ui.tenant", "tenants.set_limits": "POST ui.set_limits",
    "webhooks.create": "POST ui.make_webhook", "webhooks.list_": "GET ui.webhooks", "webhooks.get": "GET ui.webhook",
    "webhooks.change": "POST ui.change_webhook change", "webhooks.delete": "POST ui.change_webhook delete",
    "webhooks.rotate": "POST ui.change_webhook rotate", "webhooks.test": "POST ui.change_webhook test",
    "webhook_secrets.secret": "POST ui.make_webhook show", "webhook_secrets.rotate": "POST ui.make_webhook rotate",
    "pipeline_limits.limits": "GET ui.oncall", "pipeline_limits.set_limits": "POST ui.set_pipeline_limits",
    "audit.audit": "GET ui.audit", "audit.of_tenant": "GET ui.tenant_audit", "health.installation": "GET ui.oncall",
}  # fmt: skip
#: What is not on the page, and why.
NOT_HERE: dict[str, str] = {
    "run.run": "a request that waits for its result: for programs; a person submits a job and looks at it",
    "workflows.create": "a graph is written by a program, or in a file for the command line",
    "workflows.mermaid": "a text for documents; the page shows the picture",
    "workflows.events": "a stream for programs; the workflow's page polls",
    "workflows.delete": "its jobs are deleted as those of any batch",
    "events.feed": "a stream of all events of a tenant, for programs; the lists poll",
    "sockets.follow": "the same as the event stream, which the job's page follows",
    "sockets.connect": "for programs",
    "artifacts.list_": "files whose jobs are gone are found by their ids, which a program has kept",
    "history.analytics": "evaluations for dashboards",
    "history.export": "an export for programs",
    "metrics.metrics": "for Prometheus",
    "scaling.scaling": "for an autoscaler",
    "health.live": "a probe",
    "health.accept": "a probe",
    "health.ready": "a probe; on call shows the same parts and more",
    "tenants.erase": "cannot be undone and is repeated until it is done: for a program, or by hand with care",
    "docs.openapi": "the document itself",
    "docs.page": "the document itself",
    "docs.static": "the document itself",
    "swagger.static": "the document itself",
    "site.page": "the documentation itself",
}
_FORM = re.compile(r'<form method="(get|post)" action="([^"]+)"(.*?)</form>', re.DOTALL)


@dataclass
class Walk:
    """All that can be reached from the first page by links, and the forms that are there."""

    browser: Browser
    client: FlaskClient
    seen: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)

    def go(self) -> set[str]:
        waiting = [UI]
        while waiting:
            address = waiting.pop()
            endpoint, names = self._endpoint(address, "GET"), sorted(set(re.findall(r"[?&](\w+)=", address)))
            # Each kind of page once; of a job and a schedule all there are, for they differ by their states.
            kind = address if endpoint in ("ui.job", "ui.schedule", "ui.ask_bulk", "ui.workflow") else f"{endpoint} {names}"
            if kind in self.seen:
                continue
            self.seen.add(kind)
            page = self.browser.get(address.removeprefix(UI))
            assert page.status_code < 400, (address, page.status_code)
            act = re.search(r"[?&]action=(\w+)", address)
            self.reached |= {f"GET {endpoint}"} | ({f"GET {endpoint} {act[1]}"} if act else set())
            self._forms(page.text)
            waiting += [unescape(link) for link in re.findall(rf'href="({UI}[^"#]*)"', page.text) if "/static/" not in link]
        return self.reached

    def _forms(self, text: str) -> None:
        for method, action, inner in _FORM.findall(text):
            found = f"{method.upper()} {self._endpoint(unescape(action), method.upper())}"
            self.reached |= {found, *(f"{found} {act}" for act in re.findall(r'name="act" value="(\w+)"', inner))}
        # What the script of the field for files asks.
        for begins, at in re.findall(r'data-drop="([^"]+)" data-at="([^"]+)"', text):
            asked = (("POST", begins), ("GET", at), ("PATCH", at))
            self.reached |= {f"{method} {self._endpoint(path, method)}" for method, path in asked}

    def _endpoint(self, address: str, method: str) -> str:
        adapter = self.client.application.url_map.bind("localhost")
        try:
            return str(adapter.match(address.partition("?")[0], method=method)[0])
        except HTTPException as error:
            raise AssertionError(f"{method} {address} leads nowhere") from error


def fill(world: World) -> None:
    """Something of everything."""
    cell = world.cell
    failed, done = world.put(), world.put()
    world.fail(failed.job_id, code="worker_lost")
    world.complete(done.job_id, title="x")
    cell.batches.create(NewBatch([NewJob(url=URL)] * 3, "acme"))
    for fails in (True, False):
        made = cell.workflows.create(NewWorkflow([NewNode("a", NewJob(pipeline="sleep"))], "acme", "main"))
        if fails:
            world.fail(str(made.job_ids[0]))
    parked = world.put(status=JobStatus.RUNNING)
    world.store.park(parked.job_id, parked.fence, "approval", None, "fail", "May it go on?")
    for paused in (True, False):
        cell.schedules.create(NewSchedule("0 * * * *", NewJob(pipeline="sleep", tenant_id="acme"), paused=paused))
    cell.webhooks.endpoints.test(cell.webhooks.endpoints.create("acme", "https://hooks.example/x")[0].endpoint_id)
    cell.uploads.create("acme", "main", 3)


def test_every_operation_that_a_person_needs_is_reached_by_links_and_buttons(make_client: MakeClient, world: World, tmp_path: Path) -> None:
    fill(world)
    reached: set[str] = set()
    for tenant in ("acme", ALL):
        client = make_client(data_dir=str(tmp_path))
        reached |= Walk(signed_in(client, world, tenant, Role.ADMIN), client).go()
    assert {operation: how for operation, how in REACHED.items() if how not in reached} == {}
    routes = {rule.endpoint for rule in client.application.url_map.iter_rules() if not rule.endpoint.startswith("ui.")}
    assert routes == REACHED.keys() | NOT_HERE.keys()
    assert REACHED.keys() & NOT_HERE.keys() == set()
    assert len(REACHED) >= 50
