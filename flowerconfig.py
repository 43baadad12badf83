"""Flower's configuration: `celery -A celery_app flower` reads it from the current folder.

Flower sees tasks, not jobs. A job's message carries its tenant, workspace and pipeline in the text that Celery shows for
the task's keyword arguments (nothing else of it: no URL, no parameters), and `format_task` makes that readable.

Who may look: on loopback everyone on this machine. Elsewhere a login is required here, by Flower's own settings in the
environment (`FLOWER_BASIC_AUTH=name:password[,name:password]`, or `FLOWER_AUTH` with an OAuth provider; see its manual).
Even with a login `/metrics` and `/healthcheck` stay open in Flower: close them at the proxy.
"""

import ast
import ipaddress
import os
from typing import Any

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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


address = os.environ.get("FLOWER_ADDRESS") or "127.0.0.1"
tasks_columns = "name,uuid,state,kwargs,result,received,started,runtime,worker"

if os.environ.get("FLOWER_BASIC_AUTH") == "":
    basic_auth: list[str] = []  # Flower would take it for a login that nobody has

_LOGIN = os.environ.get("FLOWER_BASIC_AUTH") or os.environ.get("FLOWER_AUTH")
# In a container it must listen on every address, and the port is published on the host's loopback only.
_LOOPBACK_BY_PUBLISHING = os.environ.get("FLOWER_PUBLISHED_ON_LOOPBACK") == "1"
if not (_is_loopback(address) or _LOGIN or _LOOPBACK_BY_PUBLISHING):
    raise SystemExit(f"Flower on {address} needs a login: set FLOWER_BASIC_AUTH=name:password, or FLOWER_ADDRESS=127.0.0.1")
