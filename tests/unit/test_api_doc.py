"""`docs/api.md` beside the OpenAPI document: each route with its statuses, each error code with its status, each field and parameter."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs import exceptions
from pipeline_jobs.context import StageTimeout
from pipeline_jobs.jobs import pool_gate, signals
from pipeline_jobs.media.languages import LanguageUnsupported
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.stage import HopFailed, PartOutside, PartsLost, PartTooLarge, TooManyParked, TooManyParts
from pipeline_jobs.store import readable
from pipeline_jobs.web import problems
from pipeline_jobs.web.http.operation_names import OPERATIONS
from tests.cases import each
from tests.docs_site import operations as operations_pages

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs/api.md").read_text("utf-8")
#: Things with a page of their own, by how their paths and schemas begin: there their fields are named.
PAGES = {
    "logs": "logs.md",
    "schedules": "schedules.md",
    "events": "events.md",
    "webhook": "webhooks.md",
    "deliver": "webhooks.md",
    "/ws": "events.md",
    "params.media": "media.md",
}
#: In the table of endpoints, but of no program's interest, so not in the document.
FOR_PEOPLE = {("GET", "/pipeline/ui"), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/pipeline/docs/")}
#: Errors of the server itself, which no operation declares.
NOT_DOCUMENTED = {405, 417}
#: Errors that only stand above others, and one that its route answers by a status of its own.
NEVER_ALONE = (exceptions.TryLater, exceptions.RequestError, exceptions.ChecksumMismatch)

Rows = dict[tuple[str, str], set[int]]


document = cache(operations_pages.document)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method.upper(), path, told) for path, item in document()["paths"].items() for method, told in item.items()]


def section(heading: str) -> str:
    """The text under a heading that begins so, until the next one."""
    return re.split(r"^## ", API[re.search(rf"^## {re.escape(heading)}", API, re.MULTILINE).end() :], flags=re.MULTILINE)[0]  # type: ignore[union-attr]


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    rows = []
    for line in text[text.index(f"\n| {head} |") + 1 :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def plain(path: str) -> str:
    """With every parameter called alike."""
    return re.sub(r"\{\w+\}", "{}", path.partition("?")[0])


def routes_of(cell: str) -> list[tuple[str, str]]:
    """The routes that a cell names: `A`, `B /path`; `A /path`, `B .../more`; `A /path/x`, `/y`."""
    found: list[tuple[str, str]] = []
    methods: list[str] = []
    waiting: list[str] = []
    path = ""
    for span in re.findall(r"`([^`]+)`", cell):
        method, _, rest = span.rpartition(" ")
        if span.isupper():
            waiting.append(span)
            continue
        if method:
            methods, waiting = [*waiting, method], []
            path = path.rstrip("/") + rest.removeprefix("...") if rest.startswith("...") else rest
        else:
            path = path.rpartition("/")[0] + rest
        found += [(one, plain(path)) for one in methods]
    return found


def told_routes() -> list[tuple[list[tuple[str, str]], set[int]]]:
    """Each row of the table of endpoints: its routes, and the statuses of its good answers."""
    rows = table(API, "endpoint")
    return [(routes_of(row[0]), {int(one) for one in re.findall(r"\d{3}", row[2])}) for row in rows]


def codes_in_code() -> set[tuple[int, str]]:
    """Each code of a problem with its status: where the web face refuses, HTTP's own, and our errors."""
    found = {(status, code) for status, code in problems._CODES.items()} | {(500, "internal_error")}
    for file in (ROOT / "pipeline_jobs/web").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                match node.args[:2]:
                    case [ast.Constant(int(status)), ast.Constant(str(code))]:
                        found.add((status, code))
                    case [ast.Name(), ast.Constant(str(code))]:
                        # Of the places for streams: all of a tenant's are taken, or all of the process's.
                        found |= {(429, code), (503, code)}
                    case [ast.Constant(int(status)), ast.JoinedStr()]:
                        found |= {(status, "foreign_tenant"), (status, "foreign_workspace")}
    # Named by their error: the route says another status than the error has elsewhere.
    found |= {(404, "unknown_pipeline"), (460, "checksum_mismatch")}
    for _, kind in (one for module in (exceptions, signals, pool_gate, readable) for one in inspect.getmembers(module, inspect.isclass)):
        if not issubclass(kind, exceptions.PipelineJobsError) or kind in NEVER_ALONE:
            continue
        known = [problems._STATUS[one] for one in kind.__mro__ if one in problems._STATUS]
        found |= {(status, kind.code) for status in known[:1]}
    return found


def codes_told() -> set[tuple[int, str]]:
    found = set()
    for statuses, codes, *_ in table(section("Errors"), "status"):
        names, numbers = re.findall(r"`(\w+)`", codes), [int(one) for one in statuses.split(", ")]
        found |= set(zip(numbers, names, strict=True)) if len(numbers) > 1 else {(numbers[0], name) for name in names}
    return found


def why_jobs_fail() -> set[str]:
    """Codes of a failed job: of the stages' errors, of a run that is stopped for its size, and those that scripts write."""
    of_stages = {kind.code for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, exceptions.StageError)}
    written = re.compile(r"\{code = '(\w+)'|code, error = '(\w+)'")
    in_scripts = {a or b for file in (ROOT / "pipeline_jobs/lua").rglob("*.lua") for a, b in written.findall(file.read_text("utf-8"))}
    assert {"deadline_exceeded", "expired"} <= in_scripts
    of_parts = (PartOutside, PartsLost, PartTooLarge, TooManyParts)
    others = (exceptions.WorkTooLarge, LanguageUnsupported, StageTimeout, TooManyParked, HopFailed, *of_parts)
    return of_stages | in_scripts | {one.code for one in others}


def words_in_code(text: str) -> set[str]:
    """What stands between backticks or in a block."""
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {word for one in (*blocks, *spans) for word in re.findall(r"[A-Za-z_][\w-]*", one)}


def pages_of(name: str) -> set[str]:
    """The words of the pages that tell of a path or a schema: the contract, and the page of its own if the thing has one."""
    own = next((page for start, page in PAGES.items() if start in name.lower()), None)
    return words_in_code(API) | (words_in_code((ROOT / "docs" / own).read_text("utf-8")) if own else set())


def home_of(schema: str) -> str:
    """The file that describes a schema (`pipeline_jobs/web/schemas/`): it mirrors the things of the API."""
    if schema.startswith("params."):
        # Of a pipeline, whose params have no file there.
        return schema
    for file in (ROOT / "pipeline_jobs/web/schemas").glob("*.py"):
        if re.search(rf"^class {schema}\(", file.read_text("utf-8"), re.MULTILINE):
            return file.stem
    return ""


def examples() -> list[dict[str, Any]]:
    """The JSON blocks that are whole."""
    found = []
    for block in re.findall(r"^```json\n(.*?)^```", API, re.MULTILINE | re.DOTALL):
        try:
            found.append(json.loads(block))
        except json.JSONDecodeError:
            # "..." in the place of a list.
            continue
    return found


def test_the_readers_of_this_file_see_what_they_should() -> None:
    assert routes_of("`POST`, `GET /a`, `PUT .../{x}/b`") == [("POST", "/a"), ("GET", "/a"), ("PUT", "/a/{}/b")]
    assert routes_of("`POST /a/{id}/pause`, `/resume`") == [("POST", "/a/{}/pause"), ("POST", "/a/{}/resume")]
    assert len(codes_in_code()) > 60
    assert {(409, "job_not_waiting"), (429, "queue_full"), (404, "feature_disabled"), (426, "upgrade_required")} <= codes_in_code()
    assert len(examples()) > 10


def test_every_route_is_in_the_table_and_no_other() -> None:
    told = {route for routes, _ in told_routes() for route in routes} - FOR_PEOPLE
    there = {(method, plain(path)) for method, path, _ in operations()}
    assert {route for route in told if route[0] != "HEAD"} == there


@each("row", told_routes(), ids=lambda row: " ".join(row[0][0]) if isinstance(row, tuple) else "")
def test_a_row_of_the_table_has_the_statuses_of_its_routes(row: tuple[list[tuple[str, str]], set[int]]) -> None:
    routes, statuses = row
    by_route = {(method, plain(path)): {int(one) for one in told["responses"]} for method, path, told in operations()}
    there = {status for route in routes for status in by_route.get(route, statuses)}
    assert statuses <= there
    # What else there is are errors.
    assert {status for status in there - statuses if status < 400} == set()


def test_every_code_of_an_error_is_in_the_table_with_its_status_and_no_other() -> None:
    assert codes_told() == codes_in_code()
    statuses = {int(status) for _, _, told in operations() for status in told["responses"] if int(status) >= 400}
    assert {status for status, _ in codes_told()} - NOT_DOCUMENTED == statuses


def test_every_code_of_a_failed_job_is_told_and_no_other() -> None:
    rows = table(section("Errors"), "code")
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} == why_jobs_fail()


@pytest.mark.parametrize(("heading", "schema"), [("Create a job", "JobRequest"), ("Batches", "BatchRequest"), ("Tenants", "LimitsRequest")])
def test_a_table_of_fields_has_those_of_the_document_and_no_other(heading: str, schema: str) -> None:
    told = {name for row in table(section(heading), "field") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(document()["components"]["schemas"][schema]["properties"])


@each(
    "schema",
    ["Job", "ErrorDetail", "Upload", "BulkCancel", "NewBatch", "NewApiKey", "UsageDay", "Erasure", "PipelineLimits",
     "WebhookEndpoint", "Delivery", "JobList"],
)  # fmt: skip
def test_an_example_has_every_field_of_what_it_shows(schema: str) -> None:
    fields = set(document()["components"]["schemas"][schema]["properties"])
    assert any(set(one) == fields for one in examples()), sorted(fields)


#: Of the pipelines only the built-in one is described there; the others are the tests' and the examples'.
SCHEMAS = [schema for schema in sorted(document()["components"]["schemas"]) if schema.partition(".")[2] in ("", "media")]


@each("schema", SCHEMAS)
def test_every_field_is_named(schema: str) -> None:
    fields = set(document()["components"]["schemas"][schema].get("properties", ()))
    assert fields - pages_of(home_of(schema)) == set()


@each(("method", "path", "told"), operations(), ids=lambda part: part if isinstance(part, str) else "")
def test_every_parameter_and_header_of_a_request_is_named(method: str, path: str, told: dict[str, Any]) -> None:
    names = {one["name"] for one in told.get("parameters", ()) if one["in"] != "path"}
    assert names - pages_of(path) == set()


def undescribed() -> Iterator[str]:
    """Properties and parameters of which the document does not say what they are."""
    for name, schema in document()["components"]["schemas"].items():
        yield from (f"{name}.{field}" for field, told in schema.get("properties", {}).items() if not told.get("description"))
    for method, path, told in operations():
        yield from (f"{method} {path}: {one['name']}" for one in told.get("parameters", []) if not one.get("description"))


def test_every_property_and_parameter_is_described() -> None:
    assert list(undescribed()) == []


def test_the_document_says_where_the_api_is_and_what_its_licence_is() -> None:
    assert document()["servers"] == [{"url": "/"}]
    elsewhere = create_api(Settings(enable_job_queue=True, public_url="https://jobs.example/x")).test_client()
    assert elsewhere.get("/openapi.json", environ_base={"REMOTE_ADDR": "127.0.0.1"}).get_json()["servers"] == [
        {"url": "https://jobs.example/x"}
    ]
    assert document()["info"]["license"]["name"] in (ROOT / "README.md").read_text("utf-8")


def test_every_operation_has_a_name_that_a_method_can_bear_and_no_name_is_left_over() -> None:
    names = [told["operationId"] for _, _, told in operations()]
    assert sorted(names) == sorted(OPERATIONS.values())
    assert len(set(names)) == len(names)
    # A verb and a thing; a client in another language makes camel case of it.
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
