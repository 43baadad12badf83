"""`/pipeline/uploads`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, WithJsonSchema

from pipeline_jobs.web.http import tus
from pipeline_jobs.web.schemas.fields import Name, Parameters
from pipeline_jobs.web.schemas.pages import PageRequest, page_of

_Checksum = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(sha1 [A-Za-z0-9+/]{27}=|sha256 [A-Za-z0-9+/]{43}=)$"})]
_Metadata = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^([A-Za-z0-9_.-]{1,64}( ([A-Za-z0-9+/]{4}){0,50})?)?$"})]
_Bytes = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}$"})]


class UploadScope(Parameters):
    """The owner of an upload."""

    tenant_id: Name | None = Field(None, description="Absent: the key's tenant, or `default`.")
    workspace_id: Name | None = Field(
        None, description="Absent: the key's workspace, or `main`. Only jobs of this workspace can use the upload."
    )


class UploadListRequest(PageRequest):
    """Which uploads."""

    tenant_id: Name | None = Field(None, description="The tenant. Required with a key for all tenants.")
    workspace_id: Name | None = Field(None, description="Uploads of this workspace of the tenant.")


class _TusHeaders(Parameters):
    tus_resumable: str | None = Field(
        None,
        alias="Tus-Resumable",
        description="The tus version of the client. Optional.",
        json_schema_extra={"enum": [tus.VERSION]},
    )
    upload_checksum: _Checksum | None = Field(
        None, alias="Upload-Checksum", description="`sha1` or `sha256`, a space, and the digest of this request's body in Base64.",
        examples=["sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="],
    )  # fmt: skip


class BeginHeaders(_TusHeaders):
    """Headers of a request that starts an upload."""

    upload_length: _Bytes | None = Field(
        None,
        alias="Upload-Length",
        description="Size of the whole upload in bytes. Absent: the size of this request's body.",
        examples=["1048576"],
    )
    upload_metadata: _Metadata | None = Field(
        None,
        alias="Upload-Metadata",
        description="Pairs of a name and a Base64 value, separated by commas.",
        examples=["filename dGFsay5tcDQ="],
    )


class AppendHeaders(_TusHeaders):
    """Headers of a request that continues an upload."""

    upload_offset: _Bytes = Field(alias="Upload-Offset", description="Offset of the first byte of this request.", examples=["0"])


class TusHeaders(Parameters):
    """Headers of every tus request."""

    tus_resumable: str | None = Field(
        None, alias="Tus-Resumable", description="The tus version of the client.", json_schema_extra={"enum": [tus.VERSION]}
    )


class UploadPath(BaseModel):
    """Which upload."""

    upload_id: str = Field(description="24 hex digits.", examples=["3f9ac21b0d4e5f603f9ac21b"])


class Upload(BaseModel):
    """Media that a client uploads. Times are RFC 3339 in UTC."""

    upload_id: str = Field(examples=["3f9ac21b0d4e5f603f9ac21b"], description="24 hex digits.")
    url: str = Field(description="The `url` for jobs of this tenant and workspace, once the upload is complete.")
    tenant_id: str = Field(description="The tenant that it belongs to.")
    workspace_id: str = Field(description="The workspace whose jobs can use it.")
    length: int = Field(description="Size of the whole upload in bytes.")
    offset: int = Field(description="Number of bytes that are stored.")
    complete: bool = Field(description="Whether all bytes are there.")
    created_at: str = Field(description="When it was started.")
    completed_at: str | None = Field(description="When its last byte came; null: it has not.")
    expires_at: str = Field(description="When the upload expires. It is kept longer while a job that has not ended needs it.")
    metadata: dict[str, str] = Field(description="As in `Upload-Metadata`.")


UploadList = page_of("UploadList", "uploads", Upload, "One page of uploads, newest first.")
