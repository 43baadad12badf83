"""The commands of docs/cli.md are given in their order, and each works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template
from types import SimpleNamespace

from click.testing import CliRunner

from pipeline_jobs import cell as cells
from pipeline_jobs import cli
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.pipelines import Registry
from tests.integration.conftest import TEMPLATE, Cell

PAGE = Path(__file__).resolve().parents[2] / "docs/cli.md"
GIVEN = re.compile(r"^(?:(?P<name>[A-Z]+)=\$\()?pipeline-jobs (?P<words>.*?)(?(name)\))$")


def test_every_command_of_the_page_works(jobs: Cell) -> None:
    jobs.slots(1, "jobs@a/1")
    # What `make run` has: a reader knows no pipeline of the tests.
    pipelines = Registry()
    pipelines.register(MEDIA)
    cell = cells.Cell.of(jobs.settings, template=TEMPLATE, pipelines=pipelines)
    context, variables = SimpleNamespace(app=SimpleNamespace(cell=cell)), dict[str, str]()
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    assert len(lines) > 10
    for line in lines:
        given = GIVEN.match(line)
        assert given, line
        done = CliRunner().invoke(cli.jobs, shlex.split(Template(given["words"]).substitute(variables)), obj=context)
        assert done.exit_code == 0, (line, done.output)
        if given["name"]:
            variables[given["name"]] = done.stdout.strip()
