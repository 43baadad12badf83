"""`python -m tests.clients`: the document, both clients without a warning, their types. `--install`: what the TypeScript one needs."""

from __future__ import annotations

import json
import sys

from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from tests.clients.toolchain import DOCUMENT, PYTHON, PYTHON_CLIENT, TYPESCRIPT_CLIENT, Warned, node, npm, quietly


def write_document() -> None:
    """What `GET /openapi.json` answers, with every feature on."""
    web = create_api(Settings(enable_job_queue=True, enable_run_api=True)).test_client()
    answer = web.get("/openapi.json", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(json.dumps(answer.get_json()))


def make_python() -> None:
    generated = PYTHON_CLIENT / "pipeline_jobs_client/generated"
    said = quietly(
        PYTHON_CLIENT, str(PYTHON), "-m", "openapi_python_client", "generate", "--path", str(DOCUMENT), "--meta", "none", "--overwrite",
        "--config", "openapi-python-client.yaml", "--output-path", str(generated), "--fail-on-warning",
    )  # fmt: skip
    if "warning" in said.lower():
        raise Warned(said)
    quietly(PYTHON_CLIENT, str(PYTHON), "-W", "error", "-m", "compileall", "-q", "pipeline_jobs_client")
    quietly(PYTHON_CLIENT, str(PYTHON), "-m", "mypy")


def make_typescript() -> None:
    said = quietly(TYPESCRIPT_CLIENT, *node("node_modules/@hey-api/openapi-ts/bin/run.js"), OPENAPI=str(DOCUMENT))
    if "warn" in said.lower():
        raise Warned(said)
    quietly(TYPESCRIPT_CLIENT, *node("node_modules/typescript/bin/tsc"))


def main() -> None:
    if "--install" in sys.argv:
        quietly(TYPESCRIPT_CLIENT, *npm("ci"))
        return
    write_document()
    make_python()
    make_typescript()
    print(f"made {PYTHON_CLIENT.name} and {TYPESCRIPT_CLIENT.name} from {DOCUMENT.name}, without a warning")


if __name__ == "__main__":
    main()
