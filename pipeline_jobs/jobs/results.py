"""Results of jobs. A small one lies in the record. A larger one is a file of its run's own folder, and the record has a reference to it:

    {"success": true, "data": {what fits of the data}, "result_ref": "{tenant}/{workspace}/{job}/{fence}/result.json", "result_bytes": n}

The reference stands wherever the result would be copied: in lists, webhooks and Celery's messages. The file is counted, fenced and removed
as what the run published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline_jobs.exceptions import InvalidInput, ResultGone, ResultTooLarge
from pipeline_jobs.files.artifacts import ArtifactStore, RunArtifacts
from pipeline_jobs.job import StepResult, dumps, reference_of
from pipeline_jobs.pipelines import DEGRADED, WARNINGS, Pipeline

#: Largest result that lies in the record, in bytes of JSON: the record is in the store's memory, and each webhook copies it.
MAX_IN_RECORD = 16 * 1024
#: Largest that a link, a chain or a chord is given by value: it lies in the broker's memory.
MAX_BY_VALUE = 256 * 1024
#: Largest of all: who asks for it by Celery has it in memory.
MAX_RESULT = 16 * 1024**2
#: Name of the file.
NAME = "result.json"
#: How much of the data a reference has, in bytes of JSON; longest text of it, in characters; how many fields are looked at.
PREVIEW_BYTES, PREVIEW_TEXT, PREVIEW_FIELDS = 192, 60, 32


@dataclass(frozen=True, slots=True)
class Result:
    """What a pipeline gave."""

    #: `StepResult.to_dict()`
    whole: Mapping[str, Any]
    text: bytes

    @classmethod
    def of(cls, pipeline: Pipeline, data: Mapping[str, Any], *, cached: bool = False) -> Result:
        """:param data: of all stages. :param cached: some of them did not run, since other jobs had given their output.

        :raises InvalidInput: it is no JSON, or no Unicode.
        :raises ResultTooLarge: it has more than `MAX_RESULT` bytes of it.
        """
        whole = StepResult(True, picked(pipeline, data), cached=cached).to_dict()
        try:
            text = dumps(whole).encode()
        except UnicodeEncodeError:
            # The store would refuse it at each of its runs.
            raise InvalidInput("the result has text that is not valid Unicode") from None
        if len(text) > MAX_RESULT:
            raise ResultTooLarge(
                f"the result has {len(text)} bytes of JSON, more than {MAX_RESULT}: publish it as an artifact and return the link"
            )
        return cls(whole, text)

    def kept(self, files: RunArtifacts) -> Mapping[str, Any]:
        """What the record has of it. A large one is written into the run's folder first.

        :raises PublishError: it could not be.
        """
        if len(self.text) <= MAX_IN_RECORD:
            return self.whole
        path = files.write(self.text, NAME)
        return {**self.whole, "data": preview(self.whole["data"]), "result_ref": path, "result_bytes": len(self.text)}

    def handed_on(self, kept: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a link, a chain or a chord is given."""
        return self.whole if len(self.text) <= MAX_BY_VALUE else kept


def picked(pipeline: Pipeline, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a pipeline picks of its stages' data, with their warnings and the names of those that failed, picked or not."""
    chosen = pipeline.result(data)
    said = {name: data[name] for name in (WARNINGS, DEGRADED) if isinstance(data.get(name), list) and data[name]}
    return {**chosen, **{name: value for name, value in said.items() if name not in chosen}} if said else chosen


def fetch(artifacts: ArtifactStore, job_id: str, result: Any, most: int = MAX_RESULT) -> Any:
    """A job's result as its pipeline gave it.

    :param result: what its record or its meta has. Of another task's it is given back as it is, whatever it looks like.
    :param most: a larger one, in bytes, stays a reference.
    :raises ResultGone: its file is not there. :raises StoreUnavailable: the artifact store cannot be asked.
    """
    path = reference_of(job_id, result)
    if path is None or result["result_bytes"] > most:
        return result
    try:
        return json.loads(artifacts.read(path))
    except FileNotFoundError:
        raise ResultGone from None


def preview(data: Mapping[str, Any]) -> dict[str, Any]:
    """Of the first fields those that fit: texts, which are cut, numbers and flags."""
    shown, left = {}, PREVIEW_BYTES
    for name, value in islice(data.items(), PREVIEW_FIELDS):
        if isinstance(value, Mapping | list | tuple):
            continue
        short = value[:PREVIEW_TEXT] + "..." if isinstance(value, str) and len(value) > PREVIEW_TEXT else value
        size = len(dumps({name: short}).encode())
        if size <= left:
            shown[name], left = short, left - size
    return shown
