"""What a run may use of the operator's language model."""

from __future__ import annotations

from collections.abc import Callable

from pipeline_jobs.exceptions import MachineFault, StoreUnavailable
from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store


def spender(store: Store, settings: Settings, job: Job) -> Callable[[int], str]:
    """`JobContext.spend` of a run. :raises MachineFault: (of what is returned) the store cannot be asked."""

    def spend(tokens: int) -> str:
        try:
            return str(store.run("spend_tokens", id=job.job_id, fence=job.fence, amount=tokens, most=settings.llm_tokens_per_tenant))
        except StoreUnavailable as error:
            raise MachineFault(f"the tokens cannot be noted: {error}") from error

    return spend
