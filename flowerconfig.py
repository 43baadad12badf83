"""Flower's configuration: `celery -A celery_app flower` reads it from the current folder.

Flower sees tasks, not jobs. A job's message carries its tenant, workspace and pipeline in the text that Celery shows for
the task's keyword arguments (nothing else of it: no URL, no parameters), and `format_task` makes that readable.

Who may look: whoever has the login. It is that of Flower's own settings (`FLOWER_BASIC_AUTH=name:password[,name:password]`, or
`FLOWER_AUTH` with an OAuth provider; see its manual), else the name `flower` with `PIPELINE_FLOWER_PASSWORD`, else with a password
that is drawn once and kept in the data folder. `/metrics` and `/healthcheck` stay open in Flower: close them at the proxy.
"""

import ast
import sys
from typing import Any

from tornado.options import options

from pipeline_jobs.access.secret_files import FLOWER_PASSWORD, FLOWER_USER, kept_secret
from pipeline_jobs.operation.flower_guard import guard
from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import one_line_errors

#: What the message of a job says of it, in the order shown.
_FIELDS = ("tenant", "workspace", "pipeline")


def format_task(task: Any) -> Any:
    """Show `tenant=acme workspace=main pipeline=media` for a job; leave other tasks as they are.

    :param task: Flower's copy of an event's task, or `(id, copy)` in the version that lists tasks. Changes the page only,
        not the REST API.
    """
    shown = task[1] if isinstance(task, tuple) else task
    about = _about(shown.kwargs)
    if about is not None:
        shown.kwargs = about
    return task


def _about(kwargsrepr: object) -> str | None:
    try:
        values = ast.literal_eval(str(kwargsrepr))
    except (SyntaxError, ValueError):  # cut off, or a repr that is no literal
        return None
    if not isinstance(values, dict) or not set(_FIELDS) <= values.keys():
        return None
    return " ".join(f"{name}={values[name]}" for name in _FIELDS)


with one_line_errors():
    _settings = load_settings()
guard(_settings.flower_host_list)

address = options.address or "127.0.0.1"
tasks_columns = "name,uuid,state,kwargs,result,received,started,runtime,worker"

# The environment and the command line were read before this file. An empty FLOWER_BASIC_AUTH is no login, and not one that nobody has.
if not (any(options.basic_auth or ()) or options.auth):
    _file = _settings.data_dir / FLOWER_PASSWORD
    basic_auth = [f"{FLOWER_USER}:{_settings.flower_password or kept_secret(_file)}"]
    _password = "PIPELINE_FLOWER_PASSWORD" if _settings.flower_password else f"the password in {_file}"
    sys.stderr.write(f"Flower: sign in as {FLOWER_USER} with {_password}\n")
