"""The commands and samples of the pages for users, run on the real stack in the order in which a page has them.

The lines of a page's ```bash blocks are run one by one. `NAME=value  # the `field` in the answer` takes the field from the last
answer. A ```json block that follows is a sample of the last answer: the answer must have all its members, and its ids stand for the
real ones in later commands.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT, Stack, environment
from tests.waiting import until

MakeStack = Callable[..., Stack]
ADDRESS = "http://127.0.0.1:8000"
ACTIVATE = ". .venv/bin/activate"
TAKEN = re.compile(r"(?P<name>[A-Z]+)=\S+\s+# the `(?P<field>\w+)` in the answer")
ASSIGNED = re.compile(r"(?P<name>[A-Z]+)=.*")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: The status of an answer is on a line of its own after it. Celery by its module: a console script may belong to another folder.
SHELL = f"""curl() {{ command curl --silent --show-error --max-time 120 --write-out '\\n%{{http_code}}' "$@"; }}
celery() {{ '{sys.executable}' -m celery "$@"; }}
"""


class Reader:
    """Does what a page says."""

    def __init__(self, stack: Stack, api: str, folder: Path, **variables: str) -> None:
        self.stack, self.api, self.folder = stack, api, folder
        self.given, self.variables = variables, dict(variables)
        #: The ids in the page's samples, with the real ones.
        self.ids: dict[str, str] = {}
        self.answer = ""
        self.curls = 0

    def read(self, page: str) -> None:
        blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
        for (language, text), following in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if language == "bash":
                self.block(text, sample=json.loads(following[1]) if following[0] == "json" and "..." not in following[1] else None)
            elif language == "python":
                self.python(text)

    def block(self, text: str, sample: Any) -> None:
        commands = [command for command in text.replace("\\\n", " ").splitlines() if command.strip()]
        for command in commands:
            last = command == commands[-1]
            refused = last and isinstance(sample, dict) and isinstance(sample.get("status"), int)
            self.do(command, sample["status"] if refused else None)
        if sample is not None:
            self.compare(sample, json.loads(self.answer))

    def do(self, command: str, status: int | None) -> None:
        if taken := TAKEN.fullmatch(command):
            self.variables[taken["name"]] = json.loads(self.answer)[taken["field"]]
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
        self.answer, _, status = self.shell(command.replace(ADDRESS, self.api)).rpartition("\n")
        assert int(status) == wanted if wanted else int(status) < 400, (command, self.answer)
        self.curls += 1

    def shell(self, text: str) -> str:
        return self.run("bash", "-ec", SHELL + text)

    def python(self, text: str) -> None:
        self.run(sys.executable, "-c", text.replace("https://example.com/talk.mp4", self.given["URL"]))

    def run(self, *command: str) -> str:
        env = environment(self.stack.settings, **self.variables)
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=180, check=False)
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def samples() -> Iterator[str]:
    """The address of the samples, as `make run` serves them."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT / "samples")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader sits: the files that the commands name are there."""
    folder = tmp_path / "reader"
    (folder / "samples").mkdir(parents=True)
    shutil.copy(ROOT / "samples" / "welcome.mp4", folder / "samples")
    return folder


def test_what_the_readme_shows_works(make_stack: MakeStack, samples: str, folder: Path) -> None:
    stack = make_stack()
    api = stack.api()
    stack.worker("jobs", "--autoscale=2,1")
    stack.maintenance()
    until(lambda: api.alive("/health/ready"), "beat's first duty")
    reader = Reader(stack, api.url, folder, API=api.url, URL=f"{samples}/welcome.mp4")
    reader.read("README.md")
    assert reader.curls > 25
    # The first command's job has a result, and the API asks for the key that was made.
    assert stack.client.get(reader.variables["JOB"]).result is not None
    assert api.get("/pipeline/jobs").status_code == 401


def test_the_readme_activates_the_environment_before_the_first_celery() -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    lines = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
    first = next(place for place, line in enumerate(lines) if re.match(r"(\w+=\$\()?celery ", line))
    assert ACTIVATE in lines[:first]
