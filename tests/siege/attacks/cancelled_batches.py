"""Batches that are cancelled as soon as they are made: what is left of them fills the store."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "A3", "1 MB batches of 60 jobs with 16 kB each, cancelled at once"
JOBS = [{"pipeline": "sleep", "metadata": {"text": "x" * 16_000}}] * 60


def run(client: Client) -> None:
    batch = client.ask("POST", "/pipeline/batches", {"jobs": JOBS})
    if batch and "batch_id" in batch:
        client.ask("POST", f"/pipeline/batches/{batch['batch_id']}/cancel")
