"""Changes that write a row of the audit log each."""

from __future__ import annotations

from typing import Any

from tests.siege.attacker import Client

LINE, TITLE = "C11", "a schedule paused and resumed without end"


def prepare(client: Client) -> Any:
    return client.ask("POST", "/pipeline/schedules", {"cron": "0 0 1 1 *", "job": {"pipeline": "sleep"}})["schedule_id"]


def run(client: Client) -> None:
    client.ask("POST", f"/pipeline/schedules/{client.given}/pause")
    client.ask("POST", f"/pipeline/schedules/{client.given}/resume")
