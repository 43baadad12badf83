"""Uploads: media that a client sends us, for jobs whose `url` is `upload://{id}`. One of them, and how it is written: `upload.py`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping

from pipeline_jobs.exceptions import (
    MemoryFull,
    SourceNotFound,
    StorageFull,
    TooManyUploads,
    UnknownUpload,
    UploadInUse,
    UploadTooLarge,
)
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.upload import UPLOAD_ID, Checksum, Upload, UploadWriter, folder_of
from pipeline_jobs.job import dumps
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantContext

#: Uploads of a tenant at once.
MAX_UPLOADS = 10_000
#: Until the next look at an expired upload that a job needs, and how soon a tenant may try again that keeps too much, in seconds.
KEPT_SECONDS, FULL_RETRY_SECONDS = 60.0, 300
SWEEP_BATCH = 100


class Uploads:
    """All uploads of a cell."""

    def __init__(self, store: Store, settings: Settings, artifacts: ArtifactStore, look: Callable[[], None] = lambda: None) -> None:
        """:param look: at the server, so that the store knows how much of its memory a tenant may hold."""
        self._look = look
        self._store, self._settings, self._artifacts = store, settings, artifacts
        self._ttl_ms = int(settings.upload_ttl_seconds * 1000)

    def create(self, tenant_id: str, workspace_id: str, length: int, metadata: Mapping[str, str] | None = None) -> Upload:
        """Begin an upload of so many bytes; all of them count for the tenant's `max_storage_bytes` from now on.

        :raises UploadTooLarge: larger than this server takes.
        :raises DiskFull: the disk has no room for it.
        :raises StorageFull: the tenant would keep more bytes than it may; `TooManyUploads`: it has too many.
        :raises MemoryFull: it holds more than its share of the memory of the store.
        """
        self._look()
        TenantContext(tenant_id, workspace_id)
        if length > (most := self._settings.upload_max_bytes):
            raise UploadTooLarge(f"Upload-Length: this server takes at most {most} bytes")
        # Others that have begun may still need that room: each part is checked again as it comes.
        self._artifacts.check_room(length)
        upload_id = secrets.token_hex(12)
        folder = folder_of(tenant_id, workspace_id, upload_id)
        reply = self._store.run(
            "upload_create", id=upload_id, tenant=tenant_id, workspace=workspace_id, length=length, metadata=dumps(dict(metadata or {})),
            folder=folder, ttl_ms=self._ttl_ms, most=MAX_UPLOADS, share=self._store.share,
        )  # fmt: skip
        if reply.became == "many":
            raise TooManyUploads(retry_after=FULL_RETRY_SECONDS)
        if reply.became == "memory":
            raise MemoryFull(retry_after=FULL_RETRY_SECONDS)
        if reply.became == "storage":
            raise StorageFull("with this upload the tenant would exceed its storage limit", retry_after=FULL_RETRY_SECONDS)
        created, expires = int(reply.created_at), int(reply.expires_at)
        return Upload(upload_id, tenant_id, workspace_id, length, 0, created, expires, None if length else created, metadata or {})

    def get(self, upload_id: str) -> Upload:
        """:raises UnknownUpload:"""
        if not UPLOAD_ID.fullmatch(upload_id):
            raise UnknownUpload
        flat = self._store.record("upload", upload_id)
        if not flat:
            raise UnknownUpload
        return Upload.from_mapping(flat)

    def page(self, tenant_id: str, workspace_id: str | None = None, *, cursor: str | None = None, limit: int = 25) -> Page[Upload]:
        """A tenant's uploads, newest first.

        :param workspace_id: only of this one. There is no index of a workspace: others' records are passed over, so that a page may be
            short and still have a next one.
        :raises InvalidInput: the cursor is not one of ours.
        """
        index = self._store.keys("tenant_uploads", tenant_id)
        return page(self._store, "upload", index, cursor, limit, Upload.from_mapping, workspace_id=workspace_id)

    def write(self, upload: Upload, offset: int, read: Callable[[int], bytes], checksum: Checksum | None = None) -> Upload:
        """Append what `read(n)` gives (at most n bytes, `b""` at the end) at this offset.

        Bytes count as soon as a part of them is stored, and with a checksum when all of them have come and it is right.

        :raises UnknownUpload: it is gone.
        :raises UploadConflict: the upload is at another offset; `UploadLocked`: somebody else writes it.
        :raises MemoryFull: its tenant holds more than its share of the memory of the store.
        :raises UploadTooLarge: more came than the upload's length.
        :raises ChecksumMismatch: nothing was kept.
        :raises Interrupted: from `read`; what came before it is kept.
        :raises DiskFull: there is no room for more; the parts before are kept, unless it has a checksum.
        :raises StoreUnavailable: the store or the artifact store cannot take it now.
        """
        self._look()
        UploadWriter(self._store, self._artifacts, upload, offset, self._ttl_ms).write(read, checksum)
        return self.get(upload.upload_id)

    def delete(self, upload_id: str) -> None:
        """Remove an upload and its bytes.

        :raises UnknownUpload:
        :raises UploadInUse: a job that has not ended needs it.
        """
        reply = self._store.run("upload_remove", id=upload_id)
        if reply == "used":
            raise UploadInUse
        if reply == "unknown":
            raise UnknownUpload

    def open(self, tenant_id: str, workspace_id: str, upload_id: str) -> tuple[int, Iterator[bytes]]:
        """Size and bytes of a complete upload of this very tenant and workspace, without the network.

        :raises SourceNotFound: there is none (any more). :raises StoreUnavailable: it cannot be read now, which is not the job's fault.
        """
        try:
            upload = self.get(upload_id)
        except UnknownUpload:
            raise SourceNotFound("there is no such upload") from None
        names = self._store.lines("upload_parts", upload_id)
        if (upload.tenant_id, upload.workspace_id) != (tenant_id, workspace_id) or upload.completed_at is None:
            raise SourceNotFound("there is no such upload")
        return upload.length, self._parts(upload.folder, names)

    def _parts(self, folder: str, names: list[str]) -> Iterator[bytes]:
        for name in names:
            try:
                part = self._artifacts.read(f"{folder}/{name}")
            except FileNotFoundError:
                raise SourceNotFound("the upload was deleted") from None
            yield part

    def sweep(self) -> int:
        """Remove uploads past their time that no job needs; the purge deletes their files. :return: how many."""
        swept = 0
        while True:
            reply = self._store.run("upload_sweep", limit=SWEEP_BATCH, later_ms=int(KEPT_SECONDS * 1000))
            swept += int(reply.removed)
            if reply.looked_at < SWEEP_BATCH:
                return swept
