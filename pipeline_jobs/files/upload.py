"""One upload: its record, and who writes its bytes.

The record in the store is the truth: its offset says how many bytes count. The bytes are in the artifact store, as parts that are
written once: `{tenant}/{workspace}/upload-{id}/{offset}-{size}-{token}`. A part is stored first and counted after (one script), so a
writer that dies between the two leaves a file that nobody points to, and a client that asks for the offset sends those bytes again.
Who writes is decided by a token in the record: a second writer is refused, one that lost its lock counts for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from pipeline_jobs.exceptions import (
    ChecksumMismatch,
    DiskFull,
    InvalidInput,
    MemoryFull,
    PublishError,
    StoreUnavailable,
    UnknownUpload,
    UploadConflict,
    UploadLocked,
    UploadTooLarge,
)
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.paced import Turns
from pipeline_jobs.records import Layout, Moment
from pipeline_jobs.store.store import Store

#: What a job's `url` begins with to name an upload.
SCHEME = "upload://"
UPLOAD_ID = re.compile(r"[0-9a-f]{24}")
#: Bytes of a part, and of one look at what comes: a part is kept in memory until it is stored.
PART_BYTES, PIECE_BYTES = 4 * 1024 * 1024, 64 * 1024
#: Parts of an upload: a sender of tiny pieces must not fill the store. A file of a byte takes a block of the disk, which no limit of the
#: tenant counts: a small upload has so few parts, one more for each so many bytes.
MAX_PARTS, LEAST_PARTS, BYTES_A_PART = 10_000, 100, 16 * 1024
#: How long a writer that says nothing keeps its lock, and how often one says that it lives, in seconds.
LOCK_SECONDS, RENEW_SECONDS = 60.0, 10.0
#: Whose step is next to be synced, of all uploads of this process.
TURNS = Turns()
logger = structlog.get_logger(__name__)


class Interrupted(Exception):
    """The sender stopped before its end: what came until then is kept."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a sender says that its bytes hash to."""

    #: A name of `ALGORITHMS`.
    algorithm: str
    digest: bytes


#: tus asks for SHA-1 at least.
ALGORITHMS = ("sha1", "sha256")


@dataclass(frozen=True, slots=True)
class Upload:
    """The record of an upload. Times are Unix milliseconds by the server's clock."""

    upload_id: str
    tenant_id: str
    workspace_id: str
    #: Bytes: promised, and here.
    length: int
    offset: int
    created_at: Moment
    #: When it may be removed, if no job needs it then.
    expires_at: Moment
    completed_at: Moment | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """What a job is given."""
        return SCHEME + self.upload_id

    @property
    def folder(self) -> str:
        return folder_of(self.tenant_id, self.workspace_id, self.upload_id)

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Upload:
        """From what `HGETALL` gave."""
        return cls(**_LAYOUT.read(flat))

    def to_dict(self) -> dict[str, Any]:
        return {**_LAYOUT.show(self), "url": self.url, "complete": self.completed_at is not None}


_LAYOUT = Layout(Upload)


def folder_of(tenant_id: str, workspace_id: str, upload_id: str) -> str:
    """Where its parts are in the artifact store."""
    return f"{tenant_id}/{workspace_id}/upload-{upload_id}"


class UploadWriter:
    """One request that writes an upload, under its lock."""

    def __init__(self, store: Store, artifacts: ArtifactStore, upload: Upload, offset: int, ttl_ms: int) -> None:
        self._store, self._artifacts, self._upload, self._ttl_ms = store, artifacts, upload, ttl_ms
        self._token = secrets.token_hex(8)
        #: Up to where it counts, and up to where it is stored.
        self._counted = self._stored = offset
        #: Parts that may be stored and do not count.
        self._waiting: list[str] = []
        self._interrupted: Interrupted | None = None
        #: All has come: the last part counts as the lock is given back.
        self._ended = False
        self._renewed = time.monotonic()

    def write(self, read: Callable[[int], bytes], checksum: Checksum | None) -> None:
        parts = self._lock()
        try:
            if parts >= most_parts(self._upload.length):
                raise InvalidInput(f"the upload has {parts} parts: start a new one and send larger parts", field="body")
            digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
            for pieces in self._parts(read):
                if digest is not None:
                    for piece in pieces:
                        digest.update(piece)
                self._keep(pieces)
                if digest is None and (self._interrupted is not None or not self._ended):
                    self._advance()
            if self._interrupted is not None:
                raise self._interrupted
            if checksum is not None and digest is not None and not hmac.compare_digest(digest.digest(), checksum.digest):
                raise ChecksumMismatch
            self._advance(release=True)
        except BaseException:
            self._give_up()
            raise

    def _parts(self, read: Callable[[int], bytes]) -> Iterator[list[bytearray]]:
        """What comes, in parts, until it ends or breaks off. Nothing of a part that goes beyond the upload's length.

        A part stays in pieces: to join them is to hold the interpreter's lock for as long, while other requests wait.
        """
        pieces: list[bytearray] = []
        size = 0
        while True:
            left = self._upload.length - self._stored - size
            try:
                piece = read(min(PIECE_BYTES, left) if left else 1)
            except Interrupted as error:
                self._interrupted = error
                piece = b""
            if piece and not left:
                raise UploadTooLarge(f"the body exceeds the upload's length of {self._upload.length} bytes")
            if pieces and len(pieces[-1]) < PIECE_BYTES:
                pieces[-1] += piece
            else:
                pieces.append(bytearray(piece))
            size += len(piece)
            if not piece or size >= PART_BYTES:
                self._ended = not piece
                yield pieces
                if not piece:
                    return
                pieces, size = [], 0
            elif time.monotonic() - self._renewed >= RENEW_SECONDS:
                self._say([], self._counted, LOCK_SECONDS)

    def _keep(self, pieces: list[bytearray]) -> None:
        size = sum(map(len, pieces))
        if not size:
            return
        name = f"{self._stored:015d}-{size}-{self._token}"
        # Noted before: a disk or a bucket may have taken what it could not say it took.
        self._waiting.append(name)
        try:
            self._artifacts.write(pieces, f"{self._upload.folder}/{name}", partial(TURNS.turn, self._upload.tenant_id))
        except DiskFull:
            raise
        except PublishError as error:
            raise StoreUnavailable("the artifact store cannot store the upload now") from error
        self._stored += size

    def _lock(self) -> int:
        """:return: how many parts there are."""
        lock_ms = int(LOCK_SECONDS * 1000)
        reply = self._store.run(
            "upload_lock_at_offset",
            id=self._upload.upload_id,
            token=self._token,
            offset=self._counted,
            lock_ms=lock_ms,
            share=self._store.share,
        )
        if reply.became == "unknown":
            raise UnknownUpload
        if reply.became == "locked":
            raise UploadLocked
        if reply.became == "memory":
            raise MemoryFull(retry_after=int(LOCK_SECONDS))
        if reply.became == "offset":
            raise UploadConflict(int(reply.offset))
        return int(reply.parts)

    def _advance(self, *, release: bool = False) -> None:
        # Until the answer is here nobody knows whether these count: a server that dies, or is slow, may have done it or be about to.
        sent, self._waiting = self._waiting, []
        try:
            self._say(sent, self._stored, 0 if release else LOCK_SECONDS)
        except UploadLocked:
            # An earlier sending, whose answer was lost, may have counted them; by now nothing of this writer's will.
            counted = set(self._store.lines("upload_parts", self._upload.upload_id))
            self._waiting = [name for name in sent if name not in counted]
            raise
        self._counted = self._stored

    def _say(self, parts: list[str], offset: int, lock: float) -> None:
        reply = self._store.run(
            "upload_advance", id=self._upload.upload_id, token=self._token, before=self._counted, now=offset, lock_ms=int(lock * 1000),
            ttl_ms=self._ttl_ms, parts=parts,
        )  # fmt: skip
        self._renewed = time.monotonic()
        if reply.became == "unknown":
            raise UnknownUpload
        if reply.became == "lost":
            raise UploadLocked

    def _give_up(self) -> None:
        """Give the lock back and remove what does not count. If that fails too, the lock ends by itself, the files go with the upload."""
        try:
            for name in self._waiting:
                self._artifacts.delete_prefix(f"{self._upload.folder}/{name}")
            self._say([], self._counted, 0)
        except UnknownUpload:
            # Removed meanwhile: what was written after that has no record that would ever remove it.
            self._artifacts.delete_prefix(self._upload.folder)
        except (UploadLocked, StoreUnavailable, PublishError) as error:
            logger.warning("the parts of an interrupted upload cannot be deleted", upload_id=self._upload.upload_id, error=str(error))


def most_parts(length: int) -> int:
    """Of an upload of so many bytes."""
    return min(MAX_PARTS, LEAST_PARTS + length // BYTES_A_PART)


def is_upload_url(url: str) -> bool:
    """It names an upload, as far as its form goes."""
    return url.startswith(SCHEME) and UPLOAD_ID.fullmatch(url.removeprefix(SCHEME)) is not None
