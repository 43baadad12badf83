"""`/pipeline/uploads`."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from pipeline_jobs.web.http import tus
from pipeline_jobs.web.schemas.fields import (
    Name,
    PageRequest,
    Parameters,
)

_Checksum = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(sha1 [A-Za-z0-9+/]{27}=|sha256 [A-Za-z0-9+/]{43}=)$"})]
_Metadata = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^([A-Za-z0-9_.-]{1,64}( ([A-Za-z0-9+/]{4}){0,50})?)?$"})]
_Bytes = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}$"})]


class UploadScope(Parameters):
    """Whose upload it is."""

    tenant_id: Name | None = Field(None, description="Absent: the key's tenant, else `default`.")
    workspace_id: Name | None = Field(None, description="Absent: the key's workspace, else `main`. Only its jobs can use the upload.")


class UploadListRequest(PageRequest):
    """Which uploads."""

    tenant_id: Name | None = Field(None, description="Of this tenant. Required with a key of all tenants.")
    workspace_id: Name | None = Field(None, description="Of this workspace of it.")


class _TusHeaders(Parameters):
    tus_resumable: str | None = Field(
        None,
        alias="Tus-Resumable",
        description="The version of tus that you speak; absent is fine.",
        json_schema_extra={"enum": [tus.VERSION]},
    )
    upload_checksum: _Checksum | None = Field(
        None, alias="Upload-Checksum", description="`sha1` or `sha256`, a space, the digest of this request's body in Base64.",
        examples=["sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="],
    )  # fmt: skip


class BeginHeaders(_TusHeaders):
    """Headers of a request that begins an upload."""

    upload_length: _Bytes | None = Field(
        None, alias="Upload-Length", description="Bytes of the whole upload. Absent: those of this request's body.", examples=["1048576"]
    )
    upload_metadata: _Metadata | None = Field(
        None,
        alias="Upload-Metadata",
        description="Pairs of a word and a value in Base64, separated by commas.",
        examples=["filename dGFsay5tcDQ="],
    )


class AppendHeaders(_TusHeaders):
    """Headers of a request that goes on with one."""

    upload_offset: _Bytes = Field(alias="Upload-Offset", description="Where the bytes of this request begin.", examples=["0"])


class TusHeaders(Parameters):
    """Of any request of tus."""

    tus_resumable: str | None = Field(
        None, alias="Tus-Resumable", description="The version of tus that you speak.", json_schema_extra={"enum": [tus.VERSION]}
    )


class UploadPath(BaseModel):
    """Which upload."""

    upload_id: str = Field(description="24 hex digits.", examples=["3f9ac21b0d4e5f603f9ac21b"])


class Upload(BaseModel):
    """Media of a client's own. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Upload")

    upload_id: str = Field(examples=["3f9ac21b0d4e5f603f9ac21b"])
    url: str = Field(description="What a job of this tenant and workspace takes as `url`, once the upload is complete.")
    tenant_id: str
    workspace_id: str
    length: int = Field(description="Bytes of the whole.")
    offset: int = Field(description="Bytes that are stored.")
    complete: bool
    created_at: str
    completed_at: str | None
    expires_at: str = Field(description="When it may be removed, if no job that has not ended needs it then.")
    metadata: dict[str, str] = Field(description="As in `Upload-Metadata`.")


class UploadList(BaseModel):
    """One page of uploads, newest first."""

    uploads: list[Upload]
    count: int = Field(description="How many are on this page.")
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")
