"""docs/from-celery.md as it stands there: the app of the page, before and after its three lines, with the workers of both."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_jobs.states import JobStatus
from tests.stack import ROOT, MakeStack, environment
from tests.waiting import until

PAGE = (ROOT / "docs/from-celery.md").read_text()
DIFF = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()

#: What a team's own process does: prints what it got.
CALLS = """
import json, shop
film, mail = shop.order("acme", "film-1"), shop.mail.delay("ann")
print(json.dumps([film.get(timeout=60), shop.app.AsyncResult(film.id).result, film.id, mail.get(timeout=60), film.state]))
"""


def app(without: str) -> str:
    return "".join(line[1:] + "\n" for line in DIFF if not line.startswith(without))


def test_three_lines_are_enough() -> None:
    added = [line for line in DIFF if line.startswith("+")]
    removed = [line for line in DIFF if line.startswith("-")]
    assert (len(added), len(removed)) == (3, 1)


@pytest.mark.parametrize("without", ["+", "-"], ids=["before", "after"])
def test_the_app_of_the_page_runs(make_stack: MakeStack, tmp_path: Path, without: str) -> None:
    (tmp_path / "shop.py").write_text(app(without))
    stack = make_stack()
    broker = stack.settings.redis_url.rsplit("/", 1)[0] + "/1"
    env = {"PYTHONPATH": str(tmp_path), "SHOP_BROKER": broker}
    if without == "-":
        stack.worker("jobs", "--autoscale=1,1", PIPELINE_MODULES="shop", PYTHONPATH=str(tmp_path), SHOP_BROKER=broker)
    command = (sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "solo", "-n", "shop@test", "-l", "INFO")
    process = stack.run("shop", *command, **env)
    until(lambda: "shop@test ready" in stack.log("shop") or process.poll() is not None, "the team's own worker")
    done = subprocess.run(
        [sys.executable, "-c", CALLS], env=environment(stack.settings, **env), capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    value, again, job_id, told, state = json.loads(done.stdout)
    assert (value, again, told, state) == ("film-1 in 480 lines", "film-1 in 480 lines", "told ann", "SUCCESS")
    if without == "-":
        job = stack.client.get(job_id)
        assert (job.tenant_id, job.pipeline, job.status) == ("acme", "shop.render", JobStatus.COMPLETED)
        assert "shop.render" not in stack.log("shop").split("ready")[1]
