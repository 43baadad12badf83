"""The fields of a new job that its form keeps folded, in people's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_jobs.job import ACCEPTED
from pipeline_jobs.web.schemas.jobs import JobRequest

#: Those that the form has under places of their own; the others it lists one after the other.
PLACED = ("pipeline", "url", "quality", "tenant_id", "workspace_id", "params", "priority", "tags")


@dataclass(frozen=True, slots=True)
class OtherField:
    """A folded field of the form. Left empty it is not sent, so that the API's own default holds."""

    name: str
    label: str
    #: What it is for: as the API's documentation says it, unless that speaks of how it is written there.
    help: str
    #: Its values and the words for them; none: it is typed.
    choices: Mapping[str, str]


_LABELS: Mapping[str, str] = {
    "max_attempts": "Attempts, at most", "deadline_seconds": "Must have ended after (seconds)",
    "retain_seconds": "Files are kept for (seconds)",
    "start_within_seconds": "Must have started after (seconds)", "run_at": "Not before", "depends_on": "After these jobs (ids)",
    "on_dependency_failure": "If one of those fails", "metadata": "Metadata (JSON)", "reuse": "What earlier jobs made",
    "webhook": "Tell this address when it ends",
}  # fmt: skip
_HELP: Mapping[str, str] = {
    "run_at": "Empty: as soon as possible.",
    "depends_on": "Jobs of the same tenant that must have ended, separated by commas.",
    "on_dependency_failure": "What becomes of this job if one of them fails or is cancelled.",
    "retain_seconds": "How long its files stay after its end, and at least as long as its record. Empty: as the operator has set it.",
    "max_attempts": "If a stage fails with an error that may pass. Empty: the pipeline's own number.",
    "webhook": 'An https address, or `{"url": ..., "events": [...]}`. What it is sent is signed with the tenant\'s secret.',
    "reuse": "A stage that was given the same in an earlier job of the workspace need not run again.",
}
_CHOICES: Mapping[str, Mapping[str, str]] = {
    "on_dependency_failure": {"fail": "it fails", "cancel": "it is cancelled", "run": "it runs anyway"},
    "reuse": {"true": "is used again", "false": "is not used: all stages run"},
}


def _field(name: str) -> OtherField:
    about = JobRequest.model_fields[name].description or ""
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    return OtherField(name, label, _HELP.get(name, about), _CHOICES.get(name, {}))


OTHERS = tuple(_field(name) for name in JobRequest.model_fields if name in ACCEPTED and name not in PLACED)
