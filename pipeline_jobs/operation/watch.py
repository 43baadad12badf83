"""What a process finds out about itself and its machine, and its announcement: who it is, its version, its settings, its clock.

Two daemon threads: one announces, one tries what may hang (a write to the artifact store, the broker), so that a hanging artifact store
does not make the process count as lost.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import structlog

from pipeline_jobs import __version__
from pipeline_jobs import disk as disks
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore, check_root
from pipeline_jobs.job import SCHEMA
from pipeline_jobs.operation.checks import can_be_filled
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import presence
from pipeline_jobs.store.guard import data_folder
from pipeline_jobs.store.presence import About
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: Between two tries of the artifact store and the broker, in seconds; after how long a try counts as failed.
TRY_SECONDS, HANGS_SECONDS = 15.0, 15.0
#: How long the first announcement is waited for, and how soon it is tried again, in seconds.
FIRST_SECONDS, FIRST_AGAIN_SECONDS = 20.0, 1.0
#: A clock is not compared with the server's over a round trip that took longer, in seconds.
ROUND_TRIP_SECONDS = 1.0


#: Settings that each process may have its own of: its machine's folders and addresses, what it runs, how large it is.
OF_EACH = frozenset(
    ("redis_url", "data_dir", "work_dir_setting", "modules", "max_concurrent_jobs", "self_test", "job_memory_bytes", "work_bytes",
     "disk_reserve_bytes", "http_host", "http_port", "http_workers", "redis_port", "exporter_port", "flower_port", "flower_password",
     "flower_hosts", "worker_metrics_port", "metrics_host", "metrics_port")
)  # fmt: skip
#: Settings that API processes alone act on.
OF_THE_API = frozenset(
    ("enable_job_queue", "enable_run_api", "public_url", "http_threads", "http_streams", "http_streams_per_tenant",
     "http_connections_per_address", "trusted_proxies", "require_keys", "ui", "ui_session_seconds", "max_body_bytes",
     "upload_max_bytes", "request_seconds", "send_seconds", "run_timeout_seconds", "api_metrics")
)  # fmt: skip


class Watch:
    """Looks after one process, and announces it. `start` it in that process: threads do not survive a fork."""

    def __init__(self, store: Store, settings: Settings, broker: Callable[[], str | None], *, kind: str, node: str, name: str = "") -> None:
        """
        :param broker: gives None, or why the broker is not ready.
        :param kind: as `About.kind`. :param node: what a restart keeps, `jobs@host`.
        :param name: `{node}/{8 hex}`; drawn if not given.
        """
        self.kind, self.name = kind, name or f"{node}/{secrets.token_hex(4)}"
        self._store, self._settings, self._broker = store, settings, broker
        # Not the cell's: it is opened here, before the children of a worker are forked, and a bucket's does not survive that.
        self._artifacts = ArtifactStore(settings.artifacts_root, settings.base_url, store.secret, settings.disk_reserve)
        self._skew_ms: int | None = None
        self._fingerprint: dict[str, str] | None = None
        self._store_folder: Path | None = None
        #: What was tried last, and since when a try has been going on (monotonic seconds).
        self._tried: dict[str, str] = {}
        self._trying_since: float | None = None
        self._stop, self._announced = threading.Event(), threading.Event()

    def start(self) -> None:
        """Announce this process from now on, until `leave`."""
        for name, loop in (("watch", self._announce_on), ("watch-try", self._try_on)):
            threading.Thread(target=loop, name=name, daemon=True).start()

    def until_announced(self) -> None:
        """Wait for the first announcement, but not for a store that is away. What else announces this process comes after it: a job worker
        or an API of which nobody knows what it is passes for one of an earlier version."""
        self._announced.wait(FIRST_SECONDS)

    def leave(self) -> None:
        """This process ends on purpose: nobody need look for it."""
        self._stop.set()
        try:
            presence.leave(self._store, self.name)
        except StoreUnavailable as error:
            logger.info("the end of this process was not announced", error=error.message)

    def announce(self, refused: str = "") -> None:
        """:param refused: why this process does not start. :raises StoreUnavailable:"""
        self._measure_clock()
        about = About(self.kind, build(), self._settings_said(), self._skew_ms, self.findings(), refused, SCHEMA)
        presence.announce(self._store, self.name, about)
        self._announced.set()
        if self._stop.is_set() and not refused:
            # It was told to leave meanwhile.
            presence.leave(self._store, self.name)

    def refuse(self, reason: str) -> None:
        """Tell the operator that this process does not start, if the store is there."""
        try:
            self.announce(reason)
        except StoreUnavailable:
            return

    def findings(self) -> dict[str, str]:
        """What is wrong here, by the names of `operation.conditions`. Waits for nothing but a local disk."""
        return {name: text for name, text in {**self._tried, **self._disks(), **self._hanging()}.items() if text}

    def look_once(self) -> dict[str, str]:
        """What is wrong here, as `findings`, for a command. Waits for the artifact store and the broker, but not for ever."""
        trying = threading.Thread(target=self.try_all, kwargs={"writes": True}, daemon=True)
        trying.start()
        trying.join(HANGS_SECONDS)
        return self.findings()

    def try_all(self, *, writes: bool = False) -> None:
        """Try the artifact store, and connect to the broker. May take as long as these make it wait.

        :param writes: write a little to the artifact store, whoever else does.
        """
        self._trying_since = time.monotonic()
        try:
            tried = {"artifacts_unwritable": self._try_artifacts(writes)} if self.kind != "beat" else {}
            if not self._settings.broker_is_store:
                tried["broker_away"] = self._broker() or ""
            self._tried = tried
        finally:
            self._trying_since = None

    def _try_artifacts(self, writes: bool) -> str:
        try:
            check_root(self._settings.artifacts_root)
        except ConfigurationError as error:
            return error.message
        return self._artifacts.fault() or "" if writes or self._writes() else ""

    def _writes(self) -> bool:
        try:
            return presence.tries_artifacts(self._store, self.name, 2 * TRY_SECONDS)
        except StoreUnavailable:
            return False

    def _announce_on(self) -> None:
        while not self._stop.is_set():
            try:
                self.announce()
            except StoreUnavailable as error:
                logger.info("this process is not announced", seldom=True, error=error.message)
            except Exception:
                logger.exception("this process is not announced, will try again")
            # Others wait for the first one.
            self._stop.wait(presence.ANNOUNCE_SECONDS if self._announced.is_set() else FIRST_AGAIN_SECONDS)

    def _try_on(self) -> None:
        while not self._stop.is_set():
            try:
                self.try_all()
            except Exception:
                logger.exception("the artifact store and the broker could not be tried, will try again")
            self._stop.wait(TRY_SECONDS)

    def _hanging(self) -> dict[str, str]:
        since = self._trying_since
        if since is None or time.monotonic() - since < HANGS_SECONDS:
            return {}
        name = "artifacts_unwritable" if self._settings.broker_is_store else "broker_away"
        return {name: f"it has not answered for {time.monotonic() - since:.0f} s"}

    def _disks(self) -> dict[str, str]:
        """Disks of this machine: of artifacts and uploads, and of the server's data if it runs here."""
        return {"files_disk_full": self._room_for_files(), **self._store_disk()}

    def _files(self) -> Path | None:
        """The folder of artifacts and uploads, if it is on a disk of this machine."""
        try:
            return self._artifacts.folder
        except Exception:  # each fsspec back end has errors of its own; `try_all` tells of them
            return None

    def _room_for_files(self) -> str:
        folder = self._files()
        try:
            return (folder and disks.too_full(folder, self._settings.disk_reserve)) or ""
        except OSError as error:
            return f"the disk cannot be asked: {error}"

    def _store_disk(self) -> dict[str, str]:
        folder = self._find_store_folder()
        if folder is None:
            return {}
        try:
            full = disks.too_full(folder, self._settings.disk_reserve)
            if full:
                return {"store_disk_full": full}
            shared = can_be_filled(folder, self._files(), self._settings.work_dir)
        except OSError as error:
            return {"store_disk_full": f"the disk cannot be asked: {error}"}
        return {"store_disk_shared": str(folder)} if shared else {}

    def _find_store_folder(self) -> Path | None:
        """Remembered: a server whose disk is full ends, and can then not be asked. Until it was asked once: that of the local stack."""
        if self._store_folder is None:
            try:
                self._store_folder = data_folder(self._store, self._settings.redis_url)
            except StoreUnavailable:
                pass
        local = self._settings.data_dir / "redis"
        return self._store_folder or (local if local.is_dir() else None)

    def _measure_clock(self) -> None:
        """How far this clock is ahead: the server's is read in the middle of the round trip, or nearly."""
        asked, began = time.time(), time.monotonic()
        server = self._store.now()
        took = time.monotonic() - began
        if took <= ROUND_TRIP_SECONDS:
            self._skew_ms = round((asked + took / 2) * 1000) - server

    def _settings_said(self) -> dict[str, str]:
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self._settings, self._store.secret())
        return self._fingerprint


def fingerprint(settings: Settings, secret: str) -> dict[str, str]:
    """Hashes of the settings that processes should have in common and that are not the defaults, by field. Nobody can read a value from
    them; who knows it can tell.

    :param secret: the installation's.
    """
    shared = {name: getattr(settings, name) for name in Settings.model_fields if name not in OF_EACH}
    # The folder that is used, wherever it is named.
    shared["artifacts_url"] = settings.artifacts_root
    values = {name: value for name, value in shared.items() if value != Settings.model_fields[name].default}
    return {name: _hash(secret, f"{name}={value}") for name, value in values.items()}


def _hash(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()[:8]


@cache
def build() -> str:
    """The version of this code, with a hash of it: two commits may have one version."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".lua")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
