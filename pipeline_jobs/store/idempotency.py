"""Idempotency-Keys: how a request is known again, and what is answered when a request was accepted, now or before.

A key of a tenant's is remembered for 24 hours with what it made and a fingerprint of its request (`lua/lib/accept.lua`): the same request
sent again gets what the first one made, another request with the same key is refused (`KeyReused`).

The fingerprint hashes what is not the default, so a field that a later release adds changes no fingerprint until somebody uses it. The
release before hashed every field. For one release both forms are sent and the scripts take either; the old form is the one that is
remembered, because processes of the release before, which run beside this one during an upgrade, know no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from pipeline_jobs.job import FORMER, Job, NewJob, by_former_names, differing, dumps
from pipeline_jobs.store.rates import Rate, Sender

#: A key as the store keeps it, and the forms of its request's fingerprint, separated by a space.
Idempotency = tuple[str, str]

#: The fields of a new job as the release before hashed them. A request that uses any other has the new form only.
_BEFORE = (
    "url", "quality", "pipeline", "params", "tenant_id", "workspace_id", "priority", "max_attempts", "deadline_seconds", "ttl_seconds",
    "run_at", "depends_on", "on_dependency_failure", "depends_within", "tags", "metadata", "webhook",
)  # fmt: skip
_values_before = attrgetter(*(FORMER.get(name, name) for name in _BEFORE))
_NAMES_BEFORE = frozenset(_BEFORE)
#: The same by their names of today.
_FIELDS_BEFORE = frozenset(FORMER.get(name, name) for name in _BEFORE)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that a request made."""

    job: Job
    #: Submit rates that it was held against, as the script tells them.
    told_rates: str = ""
    #: Its Idempotency-Key had made the job before; the record is as it is by now.
    replayed: bool = False

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The same, read when somebody asks."""
        return Rate.read(self.told_rates)


def idempotency(key: str | None, sender: Sender | None, *forms: str | None, what: str = "") -> Idempotency | None:
    """What a script is given for a request with this key; None: the request has none.

    :param forms: texts that say which request it is: the one to be remembered first; None is left out.
    :param what: sets apart the keys of requests of another kind.
    """
    if key is None:
        return None
    scope = sender.scope if sender else ""
    # Hashed: a client's key may hold anything, a key of the store may not.
    return digest(f"{what}\n{scope}\n{key}" if what else f"{scope}\n{key}"), " ".join(map(digest, filter(None, forms)))


def forms_of_job(new: NewJob) -> tuple[str | None, str]:
    """How the request for a job is known again."""
    own = _differing(new)
    return repr(_values_before(new)) if own.keys() <= _NAMES_BEFORE else None, dumps(own)


def first_form_of_job(new: NewJob) -> str | None:
    """The first of `forms_of_job`, which most often is all that is needed: another is looked for only when this one is not what is known.
    None: it takes both to know."""
    return repr(_values_before(new)) if vars(new).keys() <= _FIELDS_BEFORE else None


def forms_of_batch(tenant_id: str, workspace_id: str, metadata: Mapping[str, Any], jobs: list[Any]) -> tuple[str | None, str]:
    """The same for a batch. :param jobs: the new jobs, and what stands for those that could not be read."""
    before = [_before(job, _differing(job)) if isinstance(job, NewJob) else asdict(job) for job in jobs]
    whose = [tenant_id, workspace_id, dict(metadata)]
    return None if None in before else dumps([*whose, before]), dumps(
        [*whose, [_differing(job) if isinstance(job, NewJob) else differing(job) for job in jobs]]
    )


def forms_of_schedule(new: Any) -> tuple[str | None, str]:
    """The same for a schedule (`NewSchedule`)."""
    job = _before(new.job, _differing(new.job))
    return None if job is None else dumps({**asdict(new), "job": job}), dumps({**differing(new), "job": _differing(new.job)})


def _before(new: NewJob, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """All fields of a new job, as the release before knew them; None: it knew not all that this one uses (`own`)."""
    return dict(zip(_BEFORE, _values_before(new), strict=True)) if own.keys() <= _NAMES_BEFORE else None


def _differing(new: NewJob) -> dict[str, Any]:
    """What is not the default: a field that was given another name is the same request."""
    return by_former_names(differing(new))


def digest(text: str) -> str:
    """128 bits of SHA-256, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
