"""The commands that pages name, in running text and in tables too, read as their programs read them: which words are a command, an option,
a service, a resource. Nothing is run but `docker compose ... --help`."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from typing import Any

import click
import yaml
from celery.bin.celery import celery as celery_command
from celery.worker.control import Panel

from pipeline_jobs.cli import jobs as jobs_command
from pipeline_jobs.worker import control, fitness
from tests.stack import ROOT
from tests.unit.test_docker import compose_command

CHART = ROOT / "deploy/helm/pipeline-jobs"
#: Words in capitals are the reader's to fill in.
YOURS = re.compile(r"[A-Z][A-Z_]*")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r"^ +(?:(-\w), )?(--[\w-]+)(?: (\w[\w ]*?))?(?: {2,}|$)", re.MULTILINE)
#: What ends a command in a shell's line.
_ENDS = frozenset(("|", ">", "&&", "&", ";", "..."))
#: The commands to workers that are ours; to import them adds them to Celery's own.
_OURS = (control, fitness)
#: What the cluster has, whoever installs what.
_KINDS = frozenset(("pod", "pods", "deploy", "secret"))
_VERBS = frozenset(("create", "delete", "describe", "exec", "get", "rollout"))
#: Options of kubectl and Helm that these pages use.
_CLUSTER_OPTIONS = frozenset(("--from-literal", "--set", "--reuse-values"))


class NoSuchThing(AssertionError):
    """A page names a command, an option, a service or a resource that there is not."""


def named_in(page: str) -> list[str]:
    """Every command of a page whose program is known here, with its alternatives (`list|show`) taken apart."""
    text = (ROOT / page).read_text("utf-8")
    lines = [line for block in _BLOCK.findall(text) for line in block.splitlines()]
    said = [*_INLINE.findall(_BLOCK.sub("", text)), *(line.split("  #")[0] for line in lines)]
    return [one for command in said if " " in command and command.split()[0] in READERS for one in _each_of(command)]


def _each_of(command: str) -> list[str]:
    several = re.search(r"\b\w+(?:\|\w+)+", command)
    return [command.replace(several[0], one) for one in several[0].split("|")] if several else [command]


def check(command: str) -> None:
    """:raise NoSuchThing: it could not be given like that."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise NoSuchThing(f"{command}: {error}") from error
    _check_words(words)


def _check_words(words: list[str]) -> None:
    READERS[words[0]](list(takewhile(lambda word: word not in _ENDS, words[1:])))


def _celery(words: list[str]) -> None:
    _click(celery_command, words[2:] if words[:2] == ["-A", "celery_app"] else words)


def _jobs(words: list[str]) -> None:
    _click(jobs_command, words)


def _click(command: click.Command, words: list[str]) -> None:
    context = click.Context(command, info_name=command.name, **command.context_settings)
    try:
        with warnings.catch_warnings():
            # Celery gives its worker two options -d.
            warnings.simplefilter("ignore", UserWarning)
            _, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise NoSuchThing(f"{command.name} {' '.join(words)}: {error}") from error
    if isinstance(command, click.Group):
        _subcommand(command, context, rest)
    elif command.name in ("inspect", "control") and words:
        _expect(words[0], Panel.meta, f"a command to workers (ours are in {_OURS})")


def _subcommand(group: click.Group, context: click.Context, rest: list[str]) -> None:
    if rest:
        found = group.get_command(context, rest[0])
        if found is None:
            raise NoSuchThing(f"{group.name} has no command {rest[0]}")
        _click(found, rest[1:])


def _expect(word: str, known: Any, what: str) -> None:
    if word not in known and not YOURS.fullmatch(word):
        raise NoSuchThing(f"{word} is not {what}: {', '.join(sorted(known))}")


def _docker(words: list[str]) -> None:
    if words[0] == "compose" and "-f" in words:
        _expect(words[2], ("docker/compose.yaml",), "our compose file")
        if words[3:]:
            _compose(words[3:])


def _compose(words: list[str]) -> None:
    """The subcommand, its options and the services behind them; of `exec` the command inside."""
    given = iter(words[1:])
    services = list(_without_options(given, options_of(words[0]), words[0] in ("exec", "run")))
    for service in services:
        _expect(service, services_of_compose(), "a service of compose.yaml")
    if services and words[0] in ("exec", "run"):
        _inside(services[0], list(given))


def _without_options(given: Iterator[str], known: dict[str, bool], one_only: bool) -> Iterator[str]:
    for word in given:
        name, sign, _ = word.partition("=")
        if not word.startswith("-"):
            yield word
            if one_only:
                return
            continue
        _expect(name, known, "an option")
        if known[name] and not sign:
            value = next(given)
            if name == "--scale":
                yield value.partition("=")[0]


def _inside(service: str, words: list[str]) -> None:
    """What `exec` runs in a container: our commands by `with-secrets`, others by the secrets that the service has."""
    text = " ".join(words)
    for secret in re.findall(r"/run/secrets/([\w-]+)", text):
        _expect(secret, secrets_of_service(service), f"a secret of {service}")
    if words[:1] == ["with-secrets"]:
        _check_words(words[1:])
    elif words[:1] == ["celery"]:
        raise NoSuchThing(f"{text}: in a container it knows no address of the store; put with-secrets before it")


@cache
def options_of(subcommand: str) -> dict[str, bool]:
    """The options of `docker compose SUBCOMMAND`, and whether each takes a value."""
    done = subprocess.run([*compose_command(), subcommand, "--help"], capture_output=True, text=True, check=False)
    usage = re.search(rf"^Usage: .*\b{subcommand}\b", done.stdout, re.MULTILINE)
    if done.returncode or not usage:
        raise NoSuchThing(f"docker compose has no command {subcommand}")
    # Of exec's -T compose says "docker compose exec" where the name of a value would be.
    return {name: bool(value) and " " not in value for short, long, value in _OPTION.findall(done.stdout) for name in (short, long) if name}


@cache
def _compose_file() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8")))


def services_of_compose() -> frozenset[str]:
    return frozenset(_compose_file()["services"])


def secrets_of_service(service: str) -> frozenset[str]:
    return frozenset(_compose_file()["services"][service].get("secrets", ()))


def _kubectl(words: list[str]) -> None:
    inner = words[words.index("--") + 1 :] if "--" in words else []
    own = words[: words.index("--")] if inner else words
    _expect(own[0], _VERBS, "a verb of kubectl")
    for word in own[1:]:
        if word.startswith("--"):
            _expect(word.partition("=")[0], _CLUSTER_OPTIONS, "an option of kubectl that a test knows")
        elif "/" in word:
            _resource(word)
    if own[0] in ("delete", "describe", "get"):
        _expect(own[1], _KINDS | kinds_of_chart(), "a kind")
    if inner:
        _check_words(inner)


def _resource(word: str) -> None:
    kind, _, name = word.partition("/")
    _expect(kind, _KINDS, "a kind")
    _, _, part = name.partition("-")
    _expect(part, deployments_of_chart(), "a deployment of the chart")


@cache
def deployments_of_chart() -> frozenset[str]:
    """What comes behind the release's name in the names of its deployments."""
    texts = [file.read_text("utf-8") for file in (CHART / "templates").glob("*.yaml")]
    return frozenset(part for text in texts for part in re.findall(r'"pipeline-jobs\.deployment" \(dict "root" \. "part" "([\w-]+)"', text))


@cache
def kinds_of_chart() -> frozenset[str]:
    texts = [file.read_text("utf-8") for file in (CHART / "templates").iterdir()]
    return frozenset(kind.lower() for text in texts for kind in re.findall(r"^kind: (\w+)", text, re.MULTILINE))


def _helm(words: list[str]) -> None:
    for word in words[2:]:
        if not word.startswith("--") and "=" not in word and not (ROOT / word / "Chart.yaml").is_file():
            raise NoSuchThing(f"{word} is no chart")
    for name in [name for word in words if "=" in word for name in [word.partition("=")[0]]]:
        _value_of_chart(name)


def _value_of_chart(name: str) -> None:
    """`worker.slots`, say; below `env` is any setting."""
    values: Any = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    for part in name.split("."):
        if values == {}:
            return
        _expect(part, values, f"a value of the chart ({name})")
        values = values[part]


def _python(words: list[str]) -> None:
    if words[:1] == ["-m"] and not YOURS.fullmatch(words[1]):
        _module(words[1])


def _gunicorn(words: list[str]) -> None:
    for word in words:
        if ":" in word:
            _module(word.removeprefix("python:").partition(":")[0])


def _module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise NoSuchThing(f"there is no module {name}")


def _up(words: list[str]) -> None:
    """Text that has said before what `up` is of."""
    _compose(["up", *words])


READERS = {
    "celery": _celery, "jobs": _jobs, "docker": _docker, "kubectl": _kubectl, "helm": _helm, "python": _python, "gunicorn": _gunicorn,
    "up": _up,
}  # fmt: skip
