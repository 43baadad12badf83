"""The jobs of a batch as the script takes them: what all have once, of each what it has of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pipeline_jobs.files.upload import SCHEME
from pipeline_jobs.job import Asked, NewJob, default_of, dumps, stored_field
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.webhooks.targets import check_own

_NO_TIME = False

#: What decides most of a record: pipeline, quality, params as fields, attempts, where it starts. Usually the same for all jobs of a batch.
Kind = tuple[str, str | None, tuple[str, ...], int, tuple[tuple[str, Any], ...]]
#: All that a job of a batch usually says. Of the next one like it only the URL is looked at.
_USUAL = frozenset({"url", "quality", "pipeline", "tenant_id", "workspace_id", "params", "metadata"})


class Packer:
    """Checks the jobs of a batch one after another: what it knows of the one before most often holds for the next."""

    def __init__(self, client: Client) -> None:
        self._client = client
        #: The last usual job: its pipeline's name and quality as they were asked, the pipeline, its kind.
        self._usual: tuple[tuple[str, str | None], Pipeline, Kind] | None = None
        #: The last pipeline and params, and the fields that they are.
        self._params: tuple[tuple[str, Mapping[str, Any]], tuple[str, ...]] | None = None
        #: Each so far has an address, which is no upload's, and nothing else of its own.
        self.only_urls = True

    def pack(self, new: NewJob) -> tuple[list[Any], Kind]:
        """A job's own fields, behind its times, and its kind. :raises InvalidInput: names the field. :raises UnknownPipeline:"""
        usual, asked = not new.params and not new.metadata and vars(new).keys() <= _USUAL, (new.pipeline, new.quality)
        if not (usual and new.url) or new.url.startswith(SCHEME):
            self.only_urls = False
        if usual and self._usual is not None and self._usual[0] == asked:
            self._client.check_url(self._usual[1], new.url)
            item = [_NO_TIME, _NO_TIME] if new.url is None else [_NO_TIME, _NO_TIME, "url", new.url]
            return item, self._usual[2]
        pipeline, kind = self._kind(new)
        webhook = check_own(new.webhook, allow_private=self._client.settings.webhook_allow_private) if new.webhook else None
        if usual:
            self._usual = asked, pipeline, kind
        return _own_fields(new, webhook), kind

    def _kind(self, new: NewJob) -> tuple[Pipeline, Kind]:
        """All of it is checked but its webhook."""
        pipeline, quality = self._client.check(new)
        start = tuple(self._client.registry.start_of(new.pipeline).items())
        return pipeline, (new.pipeline, quality, self._fields_of(pipeline, new), new.max_attempts or pipeline.retry.max_attempts, start)

    def _fields_of(self, pipeline: Pipeline, new: NewJob) -> tuple[str, ...]:
        if self._params is None or self._params[0] != (new.pipeline, new.params):
            self._params = None
            kept = pipeline.stored_params(new.params).items()
            self._params = (new.pipeline, new.params), tuple(part for name, value in kept if value for part in stored_field(name, value))
        return self._params[1]


@dataclass(frozen=True, slots=True)
class Packed:
    """Jobs as the script takes them: `[deadline ms, longest wait ms, field, value, ...]`, and the fields that all of them have."""

    numbers: list[int]
    items: list[list[Any]]
    common: list[Any]
    #: The highest that some of them need, for pools or parts; 0: none does.
    schema: int = 0
    #: They are of one kind, and of each there is only an address.
    only_urls: bool = False

    @classmethod
    def of(cls, numbers: list[int], items: list[list[Any]], kinds: list[Kind], *, only_urls: bool = False) -> Packed:
        # Usually the very same one.
        different = set({id(kind): kind for kind in kinds}.values())
        schema = max((dict(start).get("schema", 0) for *_, start in different), default=0)
        if len(different) == 1:
            return cls(numbers, items, _kind_fields(kinds[0]), schema, only_urls)
        for item, kind in zip(items, kinds, strict=True):
            item.extend(_kind_fields(kind))
        return cls(numbers, items, [], schema)

    def sent(self, ids: Sequence[str], items: list[list[Any]]) -> dict[str, Any]:
        """The script's `jobs` and `urls`. :param items: these jobs', with what else each has."""
        if self.only_urls and items is self.items:
            return {"jobs": dumps(ids), "urls": dumps([item[3] for item in items])}
        return {"jobs": dumps([[job_id, *item] for job_id, item in zip(ids, items, strict=True)]), "urls": None}

    def without(self, places: set[int]) -> Packed:
        """These left out."""
        left = [place for place in range(len(self.numbers)) if place not in places]
        return Packed([self.numbers[place] for place in left], [self.items[place] for place in left], self.common)


#: What a job of a batch has of its own, with the defaults: all that is asked of a job, but what decides its kind.
_OWN = {one.name: default_of(one) for one in fields(Asked) if one.name not in ("quality", "params")}


def _own_fields(new: NewJob, webhook: Mapping[str, Any] | None) -> list[Any]:
    """As `Job.to_mapping` writes them: what is absent is the default."""
    fields: list[Any] = [
        _NO_TIME if new.deadline_seconds is None else int(new.deadline_seconds * 1000),
        _NO_TIME if new.start_within_seconds is None else int(new.start_within_seconds * 1000),
    ]
    for name, value in vars(new).items():
        if value is not None and name in _OWN and value != _OWN[name]:
            fields += stored_field(name, webhook if name == "webhook" else value)
    return fields


def _kind_fields(kind: Kind) -> list[str]:
    pipeline, quality, params, max_attempts, start = kind
    fields = ["pipeline", pipeline, *(part for name, value in start if value is not None for part in stored_field(name, value))]
    if quality is not None:
        fields += ("quality", quality)
    fields += params
    if max_attempts != 1:
        fields += ("max_attempts", str(max_attempts))
    return fields
