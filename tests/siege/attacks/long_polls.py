"""Requests that wait for a job that does not end."""

from __future__ import annotations

from typing import Any

from tests.siege.attacker import Client

LINE, TITLE = "C10", "64 long polls of a job that waits"


def prepare(client: Client) -> Any:
    return client.ask("POST", "/pipeline/jobs", {"pipeline": "sleep", "run_at": "2099-01-01T00:00:00Z"})["job_id"]


def run(client: Client) -> None:
    client.ask("GET", f"/pipeline/jobs/{client.given}", headers={"Prefer": "wait=60"})
    client.stop.wait(0.05)
