"""An API key for a contender of ours."""

from __future__ import annotations

from benchmarks.kit.bench import Bench
from pipeline_jobs.access.api_keys import KeyStore, Role

TENANT = "acme"


def bearer(bench: Bench, fsync: str, role: Role = Role.SUBMIT) -> dict[str, str]:
    """The header of a key of the tenant `acme`."""
    _, text = KeyStore(bench.jobs(fsync).client.store).create(TENANT, role, actor="benchmark")
    return {"Authorization": f"Bearer {text}"}
