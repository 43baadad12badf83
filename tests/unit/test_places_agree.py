"""What is declared in several places agrees: a limit, a webhook event, a command, a setting, a metric, a page, a role, a script,
a pipeline, a stage, a quality, a route. Whoever adds one and forgets a place is told here (docs/recipes.md)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
import pytest
from flask import Flask
from pydantic import BaseModel

from pipeline_jobs import cli
from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.access_commands import create_key
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.media.pipeline import MEDIA, RESULT
from pipeline_jobs.operation import metrics
from pipeline_jobs.pipelines import registry
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import scripts
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web import ui
from pipeline_jobs.web.access.policy import POLICIES, ROUTES, Policy
from pipeline_jobs.web.http import openapi
from pipeline_jobs.web.schemas.jobs import WebhookRequest
from pipeline_jobs.web.schemas.keys import ApiKey, KeyRequest
from pipeline_jobs.web.schemas.tenants import Limits, LimitsRequest
from pipeline_jobs.web.schemas.webhooks import EndpointChange, EndpointRequest
from pipeline_jobs.web.ui import tenants as limits_page
from pipeline_jobs.webhooks.targets import EVENTS, JOB_EVENTS
from tests.cases import each

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pipeline_jobs"
UI = PACKAGE / "web/ui"


@cache
def text_of(folder: Path, pattern: str, *without: str) -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted(folder.rglob(pattern)) if file.name not in without)


def lua() -> str:
    """All scripts, without their comments."""
    return re.sub(r"--.*", "", text_of(PACKAGE / "lua", "*.lua"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def words(model: type[BaseModel], field: str) -> set[str]:
    """The words of a list that a field may be, or may have."""
    found: set[str] = set()
    asked: list[Any] = [model.model_fields[field].annotation]
    while asked:
        one = asked.pop()
        if get_origin(one) is Literal:
            found |= set(get_args(one))
        else:
            asked += get_args(one)
    return found


# -- limits

LIMITS = get_type_hints(TenantLimits)
NUMBERS = [name for name in LIMITS if name != "paused"]


def test_a_limit_is_taken_and_shown_by_the_api_and_on_the_page() -> None:
    assert set(LimitsRequest.model_fields) == set(Limits.model_fields) == {*limits_page.LIMITS, "paused"} == set(LIMITS)


@each("name", NUMBERS)
def test_a_limit_has_the_type_that_it_is_declared_with_wherever_it_is_read(name: str) -> None:
    kind = next(one for one in get_args(LIMITS[name]) if one is not type(None))
    assert type(getattr(TenantLimits.from_numbers({name: 3.0}), name)) is kind or kind is float
    assert type(limits_page.read_limits({name: "3"})[name]) is kind


@each("name", NUMBERS)
def test_a_limit_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TenantLimits(**{name: -1})  # type: ignore[arg-type]
    assert refused.value.field == name


@each("name", LIMITS)
def test_a_limit_is_looked_at_by_a_script(name: str) -> None:
    assert re.search(rf"\.{name}\b", lua()), f"no script asks for {name}"


@each("name", LIMITS)
def test_a_limit_is_described(name: str) -> None:
    assert re.search(rf"`{name}`", page("fairness.md"))


# -- events

TEST_EVENT = "endpoint.test"


def test_the_api_takes_the_types_of_events_that_there_are() -> None:
    assert words(EndpointRequest, "events") == words(EndpointChange, "events") == set(EVENTS)
    assert words(WebhookRequest, "events") == set(JOB_EVENTS)


def test_a_script_tells_each_type_of_event_and_no_other() -> None:
    told = set(re.findall(r"\btype = '(\w+\.\w+)'", lua()))
    assert told | set(JOB_EVENTS) == {*EVENTS, TEST_EVENT}


def test_a_type_of_event_has_a_shape() -> None:
    shapes = Cell.of(Settings()).webhooks.sender._shapes
    assert {event.partition(".")[0] for event in (*EVENTS, TEST_EVENT)} == set(shapes)


def test_a_type_of_event_is_described() -> None:
    assert [event for event in (*EVENTS, TEST_EVENT) if f"`{event}`" not in page("webhooks.md")] == []


def test_streams_and_webhooks_tell_the_same_events() -> None:
    assert set(EVENTS) <= set(EventType)
    assert [event for event in EventType if f"`{event}`" not in page("events.md")] == []


# -- commands


def commands(group: click.Group = cli.jobs, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command that does something, by its words; not the name that one had before."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        elif not command.hidden:
            yield path + name, command


COMMANDS = dict(commands())


def test_every_command_that_is_written_can_be_given() -> None:
    written = [node for file in (PACKAGE / "cli").glob("*.py") for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    functions = [node for node in written if isinstance(node, ast.FunctionDef)]
    named = {one.name for one in functions if any(re.search(r"\bcommand\(", ast.unparse(by)) for by in one.decorator_list)}
    assert named == {getattr(command.callback, "__name__", "") for command in COMMANDS.values()}


def test_the_page_lists_every_command_and_no_other() -> None:
    listed = re.findall(r"^\| `jobs ([a-z ]+)[^`]*` \|", page("celery.md"), re.MULTILINE)
    assert sorted(name.strip() for name in listed) == sorted(COMMANDS)


@each("path", COMMANDS)
def test_a_command_says_what_it_does(path: str) -> None:
    assert COMMANDS[path].get_short_help_str(200).endswith(".")


@each("path", COMMANDS)
def test_a_test_gives_each_command(path: str) -> None:
    given = r",\s*".join(f'"{word}"' for word in path.split())
    tests = text_of(ROOT / "tests/integration", "*.py") + text_of(ROOT / "tests/acceptance", "*.py")
    assert re.search(rf'(run\(|"jobs",\s*|jobs, \[){given}', tests), f"no test gives `jobs {path}`"


# -- settings


@each("name", Settings.model_fields)
def test_a_setting_is_read(name: str) -> None:
    """In the package, or by a file that starts a process."""
    own = "".join((PACKAGE / file).read_text("utf-8") for file in ("settings.py", "pools/pool_settings.py"))
    read = (
        text_of(PACKAGE, "*.py", "settings.py")
        + (ROOT / "flowerconfig.py").read_text("utf-8")
        + "\n".join(re.findall(r"self\.\w+", own)).replace("self", "settings")
    )
    assert re.search(rf"settings(\(\))?\.{name}\b", read), f"nothing reads {name}"


def test_what_is_read_of_the_settings_is_there() -> None:
    read = set(
        re.findall(r"(?<!pipeline_jobs\.)\b_?settings\.([a-z]\w*)", re.sub(r"`[^`]*`|#.*", "", text_of(PACKAGE, "*.py", "settings.py")))
    )
    assert len(read) > 40
    assert {name for name in read if not hasattr(Settings, name)} - Settings.model_fields.keys() == set()


# -- metrics


def test_what_the_scripts_count_has_a_metric_and_the_other_way_round() -> None:
    counted = set(re.findall(r"\bcount\('(\w+)'", lua())) | set(re.findall(r"\bcount_by\([^,]+, '(\w+)'", lua()))
    # What is counted at each submit is by its name at once.
    counted |= set(re.findall(r"K\.counters\(\), '(\w+)\|'", lua()))
    assert counted == {name for name in metrics._COUNTERS if not name.startswith("canary_")}
    assert set(re.findall(r"\bobserve\('(\w+)'", lua())) == set(metrics._HISTOGRAMS)


def test_every_counter_begins_with_zero() -> None:
    counts = metrics.bounded({"created|acme|main": "1", "schedule_slots|acme|main|fired": "0"}, {"acme", "acme|main"})
    metrics._add_zeros(counts, [])
    assert [kind for kind in (*metrics._COUNTERS, *(f"{name}_sum" for name in metrics._HISTOGRAMS)) if not counts[kind]] == []


#: Where metrics are declared.
SHOWN = ("operation/metrics.py", "operation/process_metrics.py", "web/http/request_counts.py", "worker/own_metrics.py")


def test_every_metric_is_described() -> None:
    named = {name for file in SHOWN for name in re.findall(r'"(pipeline_\w+)"', (PACKAGE / file).read_text("utf-8"))}
    described = re.findall(r"^\| `(pipeline_\w+)", page("metrics.md"), re.MULTILINE)
    # That one comes from the table of conditions.
    assert sorted(name.removesuffix("_total") for name in described) == sorted({*named, "pipeline_condition"})
    counters = {name for name, _, _ in metrics._COUNTERS.values()}
    assert {f"{name}_total" for name in counters} <= set(described)


def test_each_metric_of_a_rule_and_of_the_dashboard_is_described_and_no_recorded_series_is_for_nobody() -> None:
    rules = text_of(ROOT / "docker/prometheus", "*.yml", "prometheus.yml")
    dashboard = text_of(ROOT / "docker/grafana", "*.json")
    described = {*re.findall(r"^\| `(pipeline_\w+)", page("metrics.md"), re.MULTILINE)}
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bpipeline_\w+", rules + dashboard)}
    assert used <= described
    recorded = re.findall(r"record: (\S+)", rules)
    assert {name for name in recorded if rules.count(name) + dashboard.count(name) < 2} == set()


# -- pages


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_api(Settings(enable_job_queue=True, enable_run_api=True, ui=True))


def pages(app: Flask) -> dict[str, str]:
    """Address by endpoint of what a person can look at."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("ui.") and "GET" in (rule.methods or ())]
    return {rule.endpoint: re.sub(r"<[^>]+>", "{}", rule.rule) for rule in rules if rule.endpoint != "ui.static"}


def test_every_module_of_the_page_is_served() -> None:
    with_routes = {file.stem for file in UI.glob("*.py") if re.search(r"^@blueprint\.(get|post)\(", file.read_text("utf-8"), re.MULTILINE)}
    assert with_routes == {module.__name__.rpartition(".")[2] for module in ui.ROUTES}


def test_every_page_is_described(app: Flask) -> None:
    described = set(re.findall(r"^\| `(/pipeline/ui[^`]*)`", page("ui.md"), re.MULTILINE))
    assert {re.sub(r"\{\w+\}", "{}", path) for path in described} == set(pages(app).values()) - {"/pipeline/ui/sign-in"}


def test_a_page_is_linked_from_another(app: Flask) -> None:
    links = text_of(UI, "*.html") + text_of(UI, "*.py")
    assert [endpoint for endpoint in pages(app) if not re.search(rf"['\"]{re.escape(endpoint)}['\"]", links)] == []


def test_a_page_has_its_template_and_each_template_a_page() -> None:
    drawn = set(re.findall(r'\bpage\(\s*"(\w+)"', text_of(UI, "*.py")))
    there = {file.stem for file in (UI / "templates").glob("*.html")}
    assert drawn <= there
    assert {name for name in there if not name.startswith("_")} - drawn == {"base", "macros"}


# -- roles

EVERY = set(Role)


def test_a_role_is_taken_and_shown_by_the_api() -> None:
    assert words(KeyRequest, "role") == words(ApiKey, "role") == {role.value for role in Role}


def test_a_policy_says_which_roles_it_lets_in() -> None:
    for policy in set(Policy) - {Policy.PUBLIC}:
        said = {role for role in Role if re.search(rf"\b{role.value}\b", openapi._NEEDS[policy])}
        assert (said or EVERY) == policy.roles, policy


@pytest.mark.parametrize("role", Role)
def test_a_role_is_described(role: Role) -> None:
    assert role in Policy.READ.roles, "every role may read"
    assert re.search(rf"^\| `{role.value}` \|", page("security.md"), re.MULTILINE)


@pytest.mark.parametrize("role", Role)
def test_the_command_line_says_what_a_role_may(role: Role) -> None:
    option = next(one for one in create_key.params if one.name == "role")
    assert isinstance(option, click.Option)
    assert f"{role.value}: " in (option.help or "")


# -- scripts


def test_every_script_is_called_and_only_those_that_there_are() -> None:
    called = set(re.findall(r'\brun(?:_each)?\(\s*"(\w+)"', text_of(PACKAGE, "*.py")))
    assert called == set(scripts.places())


@each("name", sorted(scripts.places()))
def test_every_script_can_be_made(name: str) -> None:
    """Its header is one, and its keys and what it refers to are there."""
    assert scripts.source(name).startswith("#!lua")


@each("file", [file for file in sorted(PACKAGE.rglob("*.py")) if re.search(r"\brun(_each)?\(", file.read_text("utf-8"))])
def test_a_call_of_a_script_has_the_names_that_the_script_declares(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="run"), args=[ast.Constant(str(script))]) if script in scripts.places():
                declared = scripts.contract(script)
                given = [keyword.arg for keyword in node.keywords if keyword.arg not in ("keys", "durably")]
                assert set(given) - {None} <= set(declared.names), script
                needed = {one.name for one in declared.fixed if not one.optional} | ({declared.rest.name} if declared.rest else set())
                assert None in given or needed <= set(given), script


# -- pipelines, stages, qualities

#: As the package declares them; what is installed may be of yesterday.
CONFIGURED = ConfigParser(comment_prefixes=("#",))
CONFIGURED.read(ROOT / "setup.cfg", "utf-8")
BUILT_IN = dict(re.findall(r"^(\w+) = (\S+)$", CONFIGURED["options.entry_points"]["pipeline_jobs.pipelines"], re.MULTILINE))
#: Its own proof of life, which is loaded by whoever has a cell.
CANARY = "pipeline_jobs.operation.canary"


def test_every_pipeline_that_the_package_makes_is_found_by_an_entry_point() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if re.search(r"^\w+ = register\(", file.read_text("utf-8"), re.MULTILINE)]
    made = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    assert made - {CANARY} == set(BUILT_IN.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_pipeline_says_what_it_does(name: str) -> None:
    import_module(BUILT_IN[name])
    pipeline = registry.get(name)
    assert pipeline.description.endswith(".")
    assert [param for param, about in pipeline.params.model_fields.items() if not about.description] == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_pipeline_is_in_the_glossary(name: str) -> None:
    assert re.search(rf"\*\*Pipeline\*\*[^*]*`{name}`", page("glossary.md"))


def test_every_module_that_is_a_stage_is_in_the_pipeline() -> None:
    modules = {
        file.stem for file in (PACKAGE / "media").glob("*.py") if re.search(r"^def run\(context:", file.read_text("utf-8"), re.MULTILINE)
    }
    assert modules == {stage.name for stage in MEDIA.stages}


@each("stage", [stage.name for stage in MEDIA.stages])
def test_a_stage_is_tested_by_itself(stage: str) -> None:
    assert re.search(rf"from pipeline_jobs\.media import .*\b{stage}\b", text_of(ROOT / "tests/unit/media", "test_*.py"))


@each("stage", [stage.name for stage in MEDIA.stages])
def test_a_stage_is_described(stage: str) -> None:
    assert re.search(rf"^\| `{stage}` \|", page("api.md"), re.MULTILINE)


def given_by(stage: str) -> set[str]:
    """The keys of what a stage returns."""
    tree = ast.parse((PACKAGE / f"media/{stage}.py").read_text("utf-8"))
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    given = [node.value for node in ast.walk(run) if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)]
    return {key.value for one in given for key in one.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


@each("stage", [stage.name for stage in MEDIA.stages])
def test_what_a_stage_gives_goes_to_the_client_or_to_a_later_stage(stage: str) -> None:
    read = set(re.findall(r'data(?:\.get\(|\[)"(\w+)"', text_of(PACKAGE / "media", "*.py")))
    assert given_by(stage), "what it returns is written as a dict"
    assert given_by(stage) <= {*RESULT, *read}


def test_a_quality_is_one_that_the_stages_understand_and_is_described() -> None:
    # `fetch` and `transcode` read the number of lines out of it.
    assert [quality for quality in MEDIA.qualities if not re.fullmatch(r"[1-9]\d{2,3}p", quality)] == []
    assert MEDIA.qualities[0] == "1080p", "the stages' own default"
    described = re.search(r"^`quality` of a `media` job: (.*)\.$", page("api.md"), re.MULTILINE)
    assert described
    assert set(re.findall(r"`(\w+)`", described[1])) == set(MEDIA.qualities)


# -- routes


def test_every_module_of_the_api_is_served(app: Flask) -> None:
    files = [file for file in (PACKAGE / "web/api").glob("*.py") if re.search(r"^routes = ", file.read_text("utf-8"), re.MULTILINE)]
    assert {file.stem for file in files} <= set(app.blueprints)


def test_a_route_has_its_policy_and_each_policy_a_route(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(POLICIES)
    assert [route for route, times in Counter(chain(*ROUTES.values())).items() if times > 1] == [], "it stands under two policies"
