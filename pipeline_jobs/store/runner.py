"""Runs the scripts by their names, with arguments by theirs, and sends the hints that they return."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import scripts
from pipeline_jobs.store.connection import raise_as_ours, store_errors
from pipeline_jobs.store.contract import Contract, as_sent, ms
from pipeline_jobs.store.reader import Reader, mapping
from pipeline_jobs.store.scripts import NO_TEMPLATE, HintTemplate
from pipeline_jobs.store.wire import Stored

#: Longest wait for the server's disk at a submit, in ms.
DISK_MS = 5_000
#: Series that a workspace has by its name, as `operation/metrics.py` shows them: jobs, their ends, two histograms.
SERIES_OF_A_WORKSPACE = 38


@dataclass(frozen=True, slots=True)
class Hint:
    """A message for the broker: this job may start now, with this fence."""

    job_id: str
    fence: int
    tenant_id: str
    workspace_id: str
    pipeline: str
    #: The job's own message (it came with callbacks or a chain), or None for the common template.
    message: str | None = None
    #: Whose queue it goes to (`WorkerClass.name`); empty: `jobs`.
    worker_class: str = ""


def drawn_call() -> int:
    """A number for one call of a script: no two of these days are the same. Of 14 digits, as many as Lua has of a number that it writes.

    Not of this process's own generator: a forked child would draw what its siblings draw.
    """
    return int.from_bytes(os.urandom(6), "big") >> 2


@dataclass(frozen=True, slots=True)
class _Call:
    """What each call of a script needs."""

    stored: Stored
    contract: Contract
    #: Its arguments as they are sent, with the values of its groups and what is drawn for each call.
    encoded: Callable[[dict[str, Any]], list[Any]]


def _encoder(contract: Contract, settings: tuple[str, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    if "once" in contract.groups:
        return lambda arguments: contract.encode(arguments, (*settings, drawn_call()))
    return partial(contract.encode, settings=settings)


class Runner(Reader):
    """The scripts of a cell."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        template: HintTemplate | None,
        publish: Callable[[Sequence[Hint]], None] | None,
    ) -> None:
        super().__init__(client, settings.key_prefix)
        self._template, self._publish = template or NO_TEMPLATE, publish
        lease_ms, announce_ms, rescue_ms = map(ms, (settings.lease_seconds, settings.announce_seconds, settings.rescue_seconds))
        self._groups: dict[str, tuple[float, ...]] = {
            "events": (settings.events_per_job, settings.events_per_tenant),
            "admits": (
                ms(settings.hint_seconds),
                settings.max_concurrent_jobs,
                -1 if settings.reserved_slots is None else settings.reserved_slots,
            ),
            "names": (settings.metrics_tenants, settings.metrics_workspaces, settings.metrics_series // SERIES_OF_A_WORKSPACE),
            "storage": (settings.max_storage_bytes_per_tenant,),
            "queue": (settings.max_queued_per_tenant, settings.max_queued, settings.submit_rate_per_key),
            "parks": (settings.max_parked_per_tenant,),
            "kept": (ms(settings.job_ttl_seconds), int(bool(settings.history_url))),
            "files": (ms(settings.artifact_ttl_seconds),),
            "leases": (lease_ms,),
            # Three beats may be missed before a worker's slots are taken for gone. Where beats are rare, rescues are the looks; a shorter
            # gap leaves a lease long enough to be renewed.
            "looks": (max(3 * announce_ms, 3000), max(lease_ms // 4, 2 * rescue_ms)),
            "crashes": (settings.max_crashes,),
            "once": (),
        }
        self._replicas = settings.store_replicas
        #: Called before each script, in the thread that runs it, which may wait there: for whoever else needs the store.
        self.before_script: Callable[[], None] = lambda: None
        self._calls: dict[str, _Call] = {}

    def run(self, script: str, /, *, keys: Sequence[str] = (), durably: bool = False, **arguments: Any) -> Any:
        """A script by its name (`lua/*/{name}.lua`), whose header says what it is called with and what it replies.

        :param keys: besides the prefix, where the header says `--@keys`.
        :param durably: wait until the server has its writes on its disk, and as many replicas as the settings say.
        :raises TypeError: an argument is missing, unknown or of the wrong type.
        """
        self.before_script()
        call = self._calls.get(script) or self._call_of(script)
        sent = call.encoded(arguments)
        if keys and not call.contract.takes_keys:
            raise TypeError(f"{script} is called without keys")
        if durably:
            reply = call.contract.decode(self._run_durably(call, sent))
        else:
            try:
                reply = call.contract.decode(self.wire.run(call.stored, [self.keys.prefix, *keys], sent))
            except Exception as error:
                raise_as_ours(error)
                raise
        if self._publish is not None and call.contract.gives_hints:
            self._send(self._publish, getattr(reply, "hints", ()))
        return reply

    def prepare(self, *names: str) -> None:
        """Make these scripts, so that processes that are forked from this one need not."""
        for name in names:
            self._call_of(name)

    def record_and_run(self, key: Sequence[str], script: str, /, **arguments: Any) -> tuple[dict[str, str], Any]:
        """A hash (by the parts of its key) and the reply of a script that only reads, in one round trip."""
        self.before_script()
        call = self._calls.get(script) or self._call_of(script)
        with store_errors():
            flat, reply = self.wire.call_and_run(("HGETALL", self.keys(*key)), call.stored, [self.keys.prefix], call.encoded(arguments))
        return mapping(flat), call.contract.decode(reply)

    def run_each(self, script: str, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
        """A script that only reads, once with each of these arguments, in one round trip."""
        if len(calls) < 2:
            return [self.run(script, **arguments) for arguments in calls]
        self.before_script()
        call = self._calls.get(script) or self._call_of(script)
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            for arguments in calls:
                call.stored.script(keys=[self.keys.prefix], args=call.encoded(dict(arguments)), client=pipe)
            return [call.contract.decode(reply) for reply in pipe.execute()]

    def clear_functions(self) -> int:
        """Remove the functions that other versions left on the server. One of them that still runs loads its own again.

        :return: how many.
        """
        own = {scripts.function(name, self._template).name for name in scripts.places()}
        with store_errors():
            try:
                listed: Any = self.wire.call("FUNCTION", "LIST", "LIBRARYNAME", f"{scripts.FUNCTION_PREFIX}*")
                others = {row[row.index("library_name") + 1] for row in listed} - own
                for name in others:
                    self.wire.call("FUNCTION", "DELETE", name)
            except redis.ResponseError:
                # The server takes no functions (now, or from us), or another maintenance worker has removed it.
                return 0
        return len(others)

    def _call_of(self, script: str) -> _Call:
        """Made when it is first asked for: a process uses few of them."""
        contract = scripts.contract(script)
        stored = Stored(
            scripts.function(script, self._template),
            lambda: self.client.register_script(scripts.source(script, self._template)),
        )
        settings = as_sent([value for group in contract.groups for value in self._groups[group]])
        call = _Call(stored, contract, _encoder(contract, settings))
        self._calls[script] = call
        return call

    def _run_durably(self, call: _Call, sent: Sequence[Any]) -> Any:
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            # WAITAOF speaks of the writes of its own connection: both must go the same way.
            call.stored.script(keys=[self.keys.prefix], args=sent, client=pipe)
            pipe.execute_command("WAITAOF", 1, self._replicas, DISK_MS)
            reply, (on_disk, replicas) = pipe.execute()
        if on_disk < 1:
            raise StoreUnavailable("the server did not write the job to its disk in time")
        if replicas < self._replicas:
            raise StoreUnavailable("too few replicas wrote the job to their disks in time")
        return reply

    @staticmethod
    def _send(publish: Callable[[Sequence[Hint]], None], hints: Sequence[Sequence[str]]) -> None:
        """Publish what a script returned: the broker is another server."""
        if hints:
            failpoints.reach("submit.before_publish")
            publish([Hint(h[0], int(h[1]), h[2], h[3], h[4], h[5] or None, h[6]) for h in hints])
