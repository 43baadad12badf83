"""A command that a page names, in running text, in a table or in a block, is one: its options, services, resources and modules are there.

Blocks are run by other tests, those for containers and Kubernetes only by `make docker-test` and `make chart`; nobody types what stands in
a sentence. So all are read here, by `tests.typed_commands`.
"""

from __future__ import annotations

import pytest

from tests.cases import each
from tests.typed_commands import NoSuchThing, check, named_in
from tests.unit.test_commands_of_pages import USERS
from tests.unit.test_docker import compose_command

COMPOSE = "docker compose -f docker/compose.yaml"
#: What a renamed thing would look like.
WRONG = {
    "a service": f"{COMPOSE} restart apis",
    "a service of several": f"{COMPOSE} up --detach worker beats",
    "a service that is to be more": f"{COMPOSE} up --detach --scale workers=3",
    "a service without the name of its file": "up --detach --no-deps api",
    "an option of compose": f"{COMPOSE} up --detached worker",
    "a subcommand of compose": f"{COMPOSE} begin worker",
    "the file": "docker compose -f docker/stack.yaml ps",
    "a secret": f"{COMPOSE} exec redis sh -c 'cat /run/secrets/redis-password'",
    "no secrets": f"{COMPOSE} exec api-1 celery -A celery_app jobs doctor",
    "a command in a container": f"{COMPOSE} exec -T api-1 with-secrets celery -A celery_app jobs doctors",
    "a command": "celery -A celery_app jobs examine",
    "a command of a group": "jobs key make",
    "an option": "jobs list --state failed",
    "an option of celery": "celery -A celery_app worker --autoscaled=5,1",
    "a command to workers": "celery inspect statistics",
    "a deployment": "kubectl rollout restart deploy/RELEASE-apis",
    "a kind": "kubectl describe scaledobjects.example",
    "a command in a pod": "kubectl exec deploy/RELEASE-api -- celery -A celery_app jobs doctors",
    "a chart": "helm install shop deploy/charts/pipeline-jobs",
    "a value": "helm upgrade shop deploy/helm/pipeline-jobs --set keda.on=true",
    "a module": "python -m pipeline_jobs.exporter",
    "a module of gunicorn": "gunicorn -c python:pipeline_jobs.web.configuration wsgi:app",
    "a quotation mark": "jobs list --status 'failed",
}


@pytest.fixture(autouse=True, scope="module")
def _compose() -> None:
    """Skips where there is none: its options are asked of itself."""
    compose_command()


@each("page", USERS)
def test_every_command_that_a_page_names_could_be_given(page: str) -> None:
    for command in named_in(page):
        check(command)


def test_there_are_commands_of_each_kind_in_the_pages() -> None:
    found = [command for page in USERS for command in named_in(page)]
    assert {command.split()[0] for command in found} == {"celery", "jobs", "docker", "kubectl", "helm", "python", "gunicorn", "up"}
    assert len(found) > 150
    table = named_in("docs/runbooks.md")
    assert f"{COMPOSE} restart NAME" in table
    assert "kubectl rollout restart deploy/RELEASE-NAME" in table


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_there_is_found(what: str) -> None:
    with pytest.raises(NoSuchThing):
        check(WRONG[what])


def test_alternatives_are_read_one_by_one() -> None:
    assert {f"celery -A celery_app jobs schedules {one}" for one in ("list", "pause", "resume", "run")} <= set(
        named_in("docs/schedules.md")
    )
