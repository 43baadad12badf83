"""The commands and samples of the pages for users, run on the real stack in the order in which a page has them.

The lines of a page's ```bash blocks are run one by one. `NAME=value  # the `field` in the answer` takes the field, or the header, from
the last answer. A ```json block that follows is a sample of the last answer: the answer must have all its members, and its ids stand
for the real ones in later commands.
"""

from __future__ import annotations

import base64
import json
import queue
import re
import shlex
import string
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from standardwebhooks import Webhook

from pipeline_jobs.states import JobStatus
from tests.acceptance.conftest import stacks_on
from tests.acceptance.films import folder_of, serving, short_film
from tests.bodies import MODULE
from tests.conftest import running_server, settings_on
from tests.stack import ROOT, Api, MakeStack, Stack, environment
from tests.waiting import until

ADDRESS, SAMPLES = "http://127.0.0.1:8000", "http://127.0.0.1:46363"
ACTIVATE = ". .venv/bin/activate"
TAKEN = re.compile(r"(?P<name>[A-Z]+)=\S+\s+# the `(?P<field>\w+)` in the answer")
ASSIGNED = re.compile(r"(?P<name>[A-Z]+)=.*")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: A command of Celery's, whose answer a variable may be given. It needs no shell but for its quotes and variables.
CELERY = re.compile(r"(?:(?P<name>[A-Z]+)=\$\()?celery -A celery_app (?P<words>.*?)(?(name)\))", re.DOTALL)
#: The status of an answer is on a line of its own after it.
SHELL = """curl() { command curl --silent --show-error --max-time 240 --write-out '\\n%{http_code}' "$@"; }
"""


class Reader:
    """Does what a page says."""

    def __init__(self, stack: Stack, api: str, samples: str, folder: Path, **variables: str) -> None:
        self.stack, self.api, self.samples, self.folder = stack, api, samples, folder
        self.given, self.variables = variables, dict(variables)
        #: The ids in the page's samples, with the real ones.
        self.ids: dict[str, str] = {}
        self.head, self.answer = "", ""
        self.curls = self.celerys = 0

    def read(self, page: str) -> None:
        text = (ROOT / page).read_text("utf-8")
        blocks = [block for block in BLOCK.finditer(text) if not block[2].startswith("HTTP/")]
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block[1] == "bash":
                shown = following and following[1] == "json" and BLOCK.sub("", text[block.end() : following.start()]).strip() == ""
                self.block(block[2], sample=json.loads(following[2]) if following and shown else None)
            elif block[1] == "python":
                self.python(block[2])

    def block(self, text: str, sample: Any) -> None:
        # An indented line belongs to the command before it.
        commands = re.split(r"\n(?=\S)", text.strip())
        for command in commands:
            last = command == commands[-1]
            refused = last and isinstance(sample, dict) and isinstance(sample.get("status"), int)
            self.do(command, sample["status"] if refused else None)
        if sample is not None:
            self.compare(sample, json.loads(self.answer))

    def do(self, command: str, status: int | None) -> None:
        if taken := TAKEN.fullmatch(command):
            header = re.search(rf"^{taken['field']}: (\S+)", self.head, re.MULTILINE)
            self.variables[taken["name"]] = header[1] if header else json.loads(self.answer)[taken["field"]]
        elif celery := CELERY.fullmatch(command):
            self.celery(celery["words"], celery["name"])
        elif assigned := ASSIGNED.match(command):
            if assigned["name"] not in self.given:
                self.variables[assigned["name"]] = self.shell(f'{command}\nprintf %s "${assigned["name"]}"')
        elif command.startswith("curl"):
            self.curl(command, status)
        elif command != ACTIVATE:
            self.shell(command)

    def curl(self, command: str, wanted: int | None) -> None:
        for sample, real in self.ids.items():
            command = command.replace(sample, real)
        said, _, status = self.shell(command.replace(ADDRESS, self.api).replace(SAMPLES, self.samples)).rpartition("\n")
        self.head, self.answer = said.split("\n\n", 1) if command.startswith("curl -i ") else ("", said)
        assert int(status) == wanted if wanted else int(status) < 400, (command, self.answer)
        self.curls += 1

    def celery(self, text: str, name: str | None) -> None:
        words = shlex.split(string.Template(text).safe_substitute(self.variables), comments=True)
        if words[0] in ("inspect", "control"):
            # So they return as soon as the worker has answered; otherwise they give a busy one a second.
            words += ("--timeout", "60", "--destination", "jobs@test")
        done = self.stack.celery(*words)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        if name and name not in self.given:
            self.variables[name] = done.stdout.strip()
        self.celerys += 1

    def shell(self, text: str) -> str:
        return self.run("bash", "-ec", SHELL + text)

    def python(self, text: str) -> None:
        self.run(sys.executable, "-c", text.replace("https://example.com/talk.mp4", self.given["URL"]))

    def run(self, *command: str) -> str:
        env = environment(self.stack.settings, **self.variables)
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, (command[-1], done.stdout, done.stderr)
        return done.stdout

    def compare(self, sample: Any, real: Any) -> None:
        """All members of the sample are in the answer; remembers its ids."""
        if isinstance(sample, dict) and isinstance(real, dict):
            assert sample.keys() <= real.keys(), (sample, real)
            for name, value in sample.items():
                self.compare(value, real[name])
                if name.endswith("_id") and isinstance(value, str) and re.search("[0-9]", value):
                    self.ids[value] = real[name]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The beginning of the sample: the words of all of it, and its pictures, cost each page that has it made twice as much."""
    return short_film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def folder(tmp_path: Path, film: bytes) -> Path:
    """Where the reader sits: the files that the commands name are there."""
    folder = tmp_path / "reader"
    (folder / "samples").mkdir(parents=True)
    for name in ("samples/welcome.mp4", "talk.mp4"):
        (folder / name).write_bytes(film)
    (folder / "part").write_bytes(b"12 bytes now")
    return folder


@pytest.fixture
def samples(folder: Path) -> Iterator[str]:
    """The address of the samples, as `make run` serves them."""
    with serving(folder_of(folder / "samples")) as address:
        yield address


@pytest.fixture(scope="module")
def installation(make_shared_stack: MakeStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stack, Api]:
    """All that pages about a running installation need, with its API. The films that one page has made are there for the next."""
    history = tmp_path_factory.mktemp("history") / "history.db"
    # A busy machine makes a film in minutes: its job keeps its lease meanwhile.
    stack = make_shared_stack(lease_seconds=60.0, history_url=f"sqlite:///{history}")
    *_, api = stack.together(partial(stack.worker, "jobs", "--autoscale=2,1"), stack.maintenance, stack.api)
    until(lambda: api.alive("/health/ready"), "beat's first duty")
    return stack, api


@pytest.fixture(scope="module")
def without_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Api]]:
    """An installation in which jobs stay where they are, for the pages about the API."""
    folder = tmp_path_factory.mktemp("without-worker")
    with running_server(folder / "server") as server, stacks_on(settings_on(server, folder), folder) as make:
        stack = make(run_timeout_seconds=1.0, modules=f"examples.demo_pipelines,examples.nightly_report,{MODULE}")
        yield stack, stack.api()


# From the page about security on, the API asks for a key: it comes last.
@pytest.mark.parametrize(("page", "curls"), [("api.md", 14), ("schedules.md", 6), ("webhooks.md", 2), ("security.md", 1)])
def test_what_the_pages_about_the_api_show_works(without_worker: tuple[Stack, Api], folder: Path, page: str, curls: int) -> None:
    stack, api = without_worker
    # One that waits for a signal.
    job = stack.submit(pipeline="nightly-report", params={"rows": []})
    reader = Reader(stack, api.url, "http://nowhere.example", folder, JOB=job.job_id)
    reader.read(f"docs/{page}")
    assert reader.curls >= curls


def test_what_the_pages_about_a_running_installation_show_works(installation: tuple[Stack, Api], samples: str, folder: Path) -> None:
    stack, api = installation
    pages = (
        ("tutorial/first-job.md", False),
        ("celery.md", True),
        ("operations.md", True),
        ("events.md", False),
        ("fairness.md", False),
        ("history.md", False),
    )
    for page, cancels in pages:
        job = stack.hold()
        Reader(stack, api.url, samples, folder, JOB=job.job_id).read(f"docs/{page}")
        if cancels:
            stack.until_status(job.job_id, JobStatus.CANCELLED)
    stack.cancel_all()


def test_what_the_readme_shows_works(installation: tuple[Stack, Api], samples: str, folder: Path) -> None:
    """From its last lines on, the API asks for a key: it comes after the other pages."""
    stack, api = installation
    reader = Reader(stack, api.url, samples, folder, API=api.url, URL=f"{samples}/welcome.mp4")
    reader.read("README.md")
    assert (reader.curls >= 14, reader.celerys > 4) == (True, True)
    # The first command's job has a result, and the API asks for the key that was made, a moment later: it looks once a second.
    assert stack.client.get(reader.variables["JOB"]).result is not None
    until(lambda: api.get("/pipeline/jobs").status_code == 401, "the API to ask for a key")


def test_the_receiver_of_webhooks_that_a_page_shows_takes_what_is_signed_and_nothing_else() -> None:
    _, text = next(block for block in BLOCK.findall((ROOT / "docs/webhooks.md").read_text("utf-8")) if block[0] == "py")
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    app, events = Flask("receiver"), queue.Queue[Any]()
    exec(text.replace("whsec_...", secret), {"app": app, "request": request, "queue": events, "first_time": {"msg_1"}.__contains__})
    body, now = json.dumps({"type": "job.completed"}), datetime.now(UTC)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp()))}
    for signature, status in ((Webhook(secret).sign("msg_1", now, body), 204), ("v1,AAAA", 401)):
        answer = app.test_client().post("/pipeline", data=body, headers={**headers, "webhook-signature": signature})
        assert answer.status_code == status
    assert (events.get_nowait(), events.empty()) == ({"type": "job.completed"}, True)


def test_the_readme_activates_the_environment_before_the_first_celery() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    lines = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
    first = next(place for place, line in enumerate(lines) if re.match(r"(\w+=\$\()?celery ", line))
    assert ACTIVATE in lines[:first]


def test_the_readme_shows_twelve_things_each_with_one_line_of_curl() -> None:
    _, _, section = (ROOT / "README.md").read_text("utf-8").partition("## Twelve things")
    things = re.split(r"^\*\*(\d+)\. ", section.partition("\n###")[0], flags=re.MULTILINE)[1:]
    shown = dict(zip(map(int, things[::2]), things[1::2], strict=True))
    curls = {number: re.findall(r"^curl .*$", text, re.MULTILINE) for number, text in shown.items()}
    assert list(curls) == list(range(1, 13))
    assert {number: lines for number, lines in curls.items() if len(lines) != 1 or lines[0].endswith("\\")} == {}
