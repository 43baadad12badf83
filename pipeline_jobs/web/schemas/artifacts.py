"""`/pipeline/artifacts`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.web.schemas.fields import Name, Parameters
from pipeline_jobs.web.schemas.pages import PageRequest, page_of


class ArtifactPath(BaseModel):
    """Which file."""

    path: str = Field(description="`{tenant}/{workspace}/{job}/{fence}/{name}`, as in the link of the job's result.")


class KeptListRequest(PageRequest):
    """Whose folders to list."""

    tenant_id: Name | None = Field(None, description="The tenant. Absent: the key's.")
    workspace_id: Name | None = Field(None, description="Only of this workspace.")


class KeptFolder(BaseModel):
    """The files of a job whose record was removed. Times are RFC 3339 in UTC."""

    job_id: str = Field(description="The job that made them.")
    tenant_id: str = Field(description="The tenant of the job.")
    workspace_id: str = Field(description="The workspace of the job.")
    bytes: int = Field(description="Size of all its files.")
    expires_at: str = Field(description="When they may be removed; before that only if the tenant is at its storage limit.")


KeptList = page_of("KeptList", "artifacts", KeptFolder, "One page of the files that are kept after their jobs' records, newest job first.")


class RangeHeaders(Parameters):
    """Headers of a request for a file."""

    range: str | None = Field(None, alias="Range", description="One range of bytes.", examples=["bytes=0-1023"])


class SignatureQuery(BaseModel):
    """What makes a link ours."""

    model_config = ConfigDict(extra="forbid")

    signature: str = Field("", max_length=1024, description="As in the link.")
