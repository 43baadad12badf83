"""Commands of the pages can be given as they stand: in a shell that somebody has just opened, from the top folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests import task_pages
from tests.cases import each
from tests.unit.test_docs import PAGES, ROOT

USERS = [
    name
    for name in PAGES
    if name == "README.md" or (name.startswith("docs/") and not name.startswith(("docs/evidence/", "docs/decisions/")))
]
COMMAND = re.compile(r"^(?:    )?(?:\w+=\$\()?celery -A celery_app ", re.MULTILINE)
#: Of whose ```bash blocks only the Python before them is run (here); all others are read by `tests.acceptance.test_pages`.
PYTHON_ONLY = {"howto/own-pipeline.md"}
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Runs the stage in parts of that page, with what it leaves to its reader: how sound is cut and recognised.
PARTED = """
def at_silences(audio):
    for name in ("one.wav", "two.wav"):
        audio.with_name(name).write_bytes(b"sound")
        yield name
def speech(path):
    return [path.name]
heard = testing.run(Pipeline("heard", (Map("hear", cut, recognise, join, pool="gpu", window=8),), Params, needs_url=False), {"text": "x"})
assert heard.data["words"] == ["one.wav", "two.wav"], heard.data
"""


def test_there_are_pages_and_commands() -> None:
    assert len(USERS) > 25
    assert sum(len(COMMAND.findall((ROOT / name).read_text("utf-8"))) for name in USERS) > 30


@each("name", USERS)
def test_celery_is_there_when_a_page_first_calls_it(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    first = COMMAND.search(text)
    assert first is None or ".venv/bin/activate" in text[: first.start()]


@each("name", USERS)
def test_compose_is_told_its_file(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert re.findall(r"docker compose (?!-f docker/compose\.yaml)(?:exec|up|build|restart|run|logs)\b.*", text) == []


@each("name", USERS)
def test_the_commands_of_a_page_are_run_by_a_test(name: str) -> None:
    if "```bash" not in (ROOT / name).read_text("utf-8"):
        return
    page = name.removeprefix("docs/")
    if page in {f"howto/{one}.md" for one in task_pages.PAGES}:
        # `test_task_pages.py` holds that each task of theirs is done.
        return
    runners = ("tests/acceptance/test_pages.py", "tests/integration/test_cli_page.py", "tests/runbooks.py")
    assert page in PYTHON_ONLY or any(f'{page}"' in (ROOT / runner).read_text("utf-8") for runner in runners)


def test_the_python_of_the_pages_for_authors_runs() -> None:
    """In a process of its own: it registers pipelines."""
    words, approval, pools, parts, tested = PYTHON_BLOCK.findall((ROOT / "docs/howto/own-pipeline.md").read_text("utf-8"))
    said, secret = PYTHON_BLOCK.findall((ROOT / "docs/logs.md").read_text("utf-8"))
    (reused,) = PYTHON_BLOCK.findall((ROOT / "docs/reuse.md").read_text("utf-8"))
    imports = "import logging\nfrom pydantic import Field, SecretStr\nfrom pipeline_jobs.pipelines import Wait\n"
    names = imports + "make = publish = transcode = fetch = hear = render = count\nfiles = []\n"
    runs = f"{said}\ntest_words = testing.run(Pipeline('said', (Stage('count', count),), Params, needs_url=False), {{'text': 'x'}})\n"
    pipelines = f"{names}{approval}\n{pools}\n{parts}\n{PARTED}{reused}\n"
    code = f"{words}\n{tested}\ntest_words_are_counted()\n{pipelines}{runs}{secret}\nParams(token='x', password='y')\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_takes_its_configuration_as_the_page_says(tmp_path: Path) -> None:
    """Without containers: a copy, with a file for the key that there is."""
    program = shutil.which("promtool")
    assert program, "Debian: apt install prometheus"
    for rules in (ROOT / "docker/prometheus").glob("*.yml"):
        shutil.copy(rules, tmp_path)
    text = (ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8")
    assert "credentials_file: /run/secrets/api-key" in text
    assert "let `credentials_file` name a file" in (ROOT / "docs/monitoring.md").read_text("utf-8")

    def check(key: Path) -> int:
        (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/api-key", str(key)))
        return subprocess.run([program, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, check=False).returncode

    (tmp_path / "key").touch()
    assert check(tmp_path / "key") == 0
    assert check(tmp_path / "none") != 0
