"""Lists and cancellations by a text that is nowhere, in jobs with as much text as they may have."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C12", "searches for a text that is nowhere in 1,000 jobs of 16 kB"
JOB = {"pipeline": "sleep", "run_at": "2099-01-01T00:00:00Z", "metadata": {"note": "n" * 16_000}}


def prepare(client: Client) -> None:
    for _ in range(20):
        client.ask("POST", "/pipeline/batches", {"jobs": [JOB] * 50})


def run(client: Client) -> None:
    client.ask("GET", "/pipeline/jobs?q=nowhere")
    client.ask("POST", "/pipeline/jobs/cancel", {"q": "nowhere"})
