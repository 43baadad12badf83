"""Which outputs of other jobs a run may use, and which of its own they may (docs/reuse.md).

A stage with a `version` is taken to give the same whenever it is given the same. What it is given is hashed to a key: its version, the
parameters that matter to it, the quality, and all that the stages before it gave, each one's data and the content of its files. The store
looks the key up within the tenant and workspace of the job's own record (`lua/lib/reuse.lua`), whatever a run may ask for.

What the stages before gave is hashed stage by stage, not as it lies in the folder in the end: a stage that was taken over by a hostile
file may leave a folder like that of any other file, but it cannot undo what was hashed before it began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline_jobs.job import Job, dumps
from pipeline_jobs.jobs.parents import Parents
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.records import in_order
from pipeline_jobs.runlog.secret_params import revealed
from pipeline_jobs.settings import Settings

#: Of the keys: of another form there is no entry.
FORM = 1


class Reuse:
    """Of one run."""

    def __init__(self, job: Job, pipeline: Pipeline, settings: Settings, parents: Parents) -> None:
        self._job, self._pipeline, self._settings, self._parents = job, pipeline, settings, parents
        self._places = {stage.name: number for number, stage in enumerate(pipeline.stages)}
        #: Most bytes that a tenant keeps for other jobs.
        self.most = settings.max_reuse_bytes_per_tenant

    def key(self, stage: Stage, given: Sequence[str]) -> str | None:
        """What stands for all that a stage is given; None: it runs for each job.

        :param given: a hash of what each stage before it gave, in order; fewer than there are stages before it: the others are not known.
        """
        place = self._places[stage.name]
        if not (stage.version and self._job.reuse and self.most) or len(given) != place:
            return None
        # What is at a URL is not known before the first stage has fetched it.
        if place == 0 and self._job.url is not None:
            return None
        version = stage.version(self._settings) if callable(stage.version) else stage.version
        asked = revealed(self._job.params, self._job.secret_params)
        params = {name: value for name, value in asked.items() if stage.params is None or name in stage.params}
        parts = [FORM, self._pipeline.name, stage.name, version, self._job.quality, in_order(params), list(given)]
        # Any stage may read what the jobs gave that this one depended on.
        if (of_parents := self._parents.digest) is not None:
            parts.append(of_parents)
        # Likewise a signal that has come before its wait. That of an earlier wait is in what that one gave.
        early = {name: in_order(one["payload"]) for name, one in self._job.signals.items() if self._places.get(name, -1) > place}
        if early:
            parts.append(in_order(early))
        return hashlib.sha256(dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def may_take(self, stage: Stage) -> bool:
        """False: somebody wants this stage to run, whatever there is (a retry from a stage on)."""
        since = self._places.get(self._job.fresh_from or "", len(self._places))
        return self._places[stage.name] < since
