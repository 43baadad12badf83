"""Batches of a thousand jobs, and their cancels."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C12", "a loop of batches of 1,000 jobs and their cancels"
JOBS = [{"pipeline": "sleep", "tags": ["siege"]}] * 1000


def run(client: Client) -> None:
    batch = client.ask("POST", "/pipeline/batches", {"jobs": JOBS})
    if batch and "batch_id" in batch:
        client.ask("POST", f"/pipeline/batches/{batch['batch_id']}/cancel")
