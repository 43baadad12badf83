"""Errors, commands and pipelines, from the code."""

from __future__ import annotations

import inspect

import click

from pipeline_jobs import exceptions
from pipeline_jobs.cli import jobs
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.pipelines import Pipeline
from tests.docs_site.operations import kind
from tests.docs_site.tables import table
from tests.unit.test_api_doc import codes_in_code, why_jobs_fail


def pages() -> dict[str, str]:
    return {
        "reference/errors.md": errors(),
        "reference/commands.md": commands(),
        "reference/pipelines.md": pipelines([MEDIA]),
    }


def errors() -> str:
    """Each code with its statuses, and what the code itself says of it."""
    statuses: dict[str, list[str]] = {}
    for status, code in sorted(codes_in_code()):
        statuses.setdefault(code, []).append(str(status))
    said = {one.code: (inspect.getdoc(one) or "").split("\n\n")[0] for one in classes()}
    refused = [[f"`{code}`", ", ".join(found), said.get(code, "")] for code, found in sorted(statuses.items())]
    failed = [[f"`{code}`", said.get(code, "")] for code in sorted(why_jobs_fail())]
    return (
        "# Errors\n\nEvery code, made from the code. [Troubleshooting](../howto/troubleshooting.md) says for each what "
        "causes it and what to do; [the HTTP API](../api.md#errors) shows the shape of an answer.\n\n## The `code` of a refused request\n\n"
        + table(("code", "status", "what it says"), refused)
        + "\n## The `error_detail.code` of a failed job\n\n"
        + table(("code", "what it says"), failed)
    )


def classes() -> list[type[exceptions.PipelineJobsError]]:
    found = [one for _, one in inspect.getmembers(exceptions, inspect.isclass)]
    return [one for one in found if issubclass(one, exceptions.PipelineJobsError)]


def commands() -> str:
    parts = [
        "# The command line\n\n`celery -A celery_app jobs COMMAND`, made from the commands' own help. "
        "[Celery](../celery.md) tells of Celery's own.\n"
    ]
    parts += [_command("jobs", name, jobs.commands[name], depth=2) for name in sorted(jobs.commands)]
    return "\n".join(parts)


def _command(above: str, name: str, command: click.Command, depth: int) -> str:
    path = f"{above} {name}"
    context = click.Context(command, info_name=path)
    rows = [
        [", ".join(f"`{one}`" for one in option.opts + option.secondary_opts), option.help or ""]
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").split("\f")[0]
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"{'#' * depth} {path}\n\n{text}\n\n```text\ncelery -A celery_app {path} {usage}\n```\n"]
    parts += [table(("option", "what"), rows)] if rows else []
    if isinstance(command, click.Group):
        parts += [_command(path, one, command.commands[one], depth + 1) for one in sorted(command.commands)]
    return "\n".join(parts)


def pipelines(found: list[Pipeline]) -> str:
    """What comes with the package, as `GET /pipeline/pipelines` tells it."""
    parts = [
        "# Pipelines\n\nWhat comes with the package, made from it. "
        "[A pipeline of your own](../howto/own-pipeline.md) says how to add one.\n"
    ]
    for one in found:
        stages = [[f"`{stage.name}`", str(stage.weight)] for stage in one.stages]
        fields = one.params.model_json_schema().get("properties", {})
        params = [
            [f"`{name}`", kind({"type": "object"} if "$ref" in told else told), told.get("description", "")]
            for name, told in fields.items()
        ]
        qualities = ", ".join(f"`{word}`" for word in one.qualities)
        parts.append(
            f"## {one.name}\n\n{one.description}\n\nQualities: {qualities}; the first one is the default.\n\n"
            f"### Stages of {one.name}\n\n{table(('stage', 'part of the progress'), stages)}\n"
            f"### Parameters of {one.name}\n\n{table(('parameter', 'type', 'what'), params)}"
        )
    return "\n".join(parts)
