"""Uploads by tus 1.0, in pieces, going on where a lost connection stopped them."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import BinaryIO

import httpx

from pipeline_jobs_client.errors import checked
from pipeline_jobs_client.generated.api.uploads import continue_upload, get_upload, start_upload
from pipeline_jobs_client.generated.client import AuthenticatedClient
from pipeline_jobs_client.generated.models import Upload
from pipeline_jobs_client.generated.types import UNSET, File
from pipeline_jobs_client.patience import PASSING, attempt, seconds_of

#: How often in a row a piece may be sent in vain.
TRIES = 10
#: The server has the piece before, or is still at it: ask where to go on.
_AGAIN = PASSING | {408, 409, 423}


def upload(
    client: AuthenticatedClient, file: BinaryIO, length: int, *, metadata: Mapping[str, str], tenant_id: str | None, piece: int
) -> Upload:
    """Send all of a file.

    :raises Refused: the API will not have it (`disk_full`, `storage_full`, ...).
    :raises httpx.TransportError: the API could not be reached ten times in a row.
    """
    told = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in metadata.items())
    started = checked(
        start_upload.sync(client=client, upload_length=str(length), upload_metadata=told or UNSET, tenant_id=tenant_id or UNSET)
    )
    offset = vain = 0
    while offset < length:
        file.seek(offset)
        reached = _send(client, started.upload_id, offset, file.read(piece), last=vain + 1 == TRIES)
        vain = 0 if reached > offset else vain + 1
        offset = reached
    return checked(get_upload.sync(started.upload_id, client=client))


def _send(client: AuthenticatedClient, upload_id: str, offset: int, data: bytes, *, last: bool) -> int:
    """Send a piece once; where to go on, which is where it was if nothing of it is known to have arrived.

    :param last: raise what is wrong, also if trying again might help.
    """
    try:
        sent = continue_upload.sync_detailed(upload_id, client=client, body=File(payload=BytesIO(data)), upload_offset=str(offset))
        if sent.status_code == 204:
            return int(sent.headers["Upload-Offset"])
        if last or sent.status_code not in _AGAIN:
            checked(sent.parsed)
        time.sleep(seconds_of(sent.headers, 0))
    except (httpx.TransportError, json.JSONDecodeError):
        # No answer, or a page of a proxy's own: part of the piece may have arrived.
        if last:
            raise
        time.sleep(1)
    return _reached(client, upload_id, offset)


def _reached(client: AuthenticatedClient, upload_id: str, offset: int) -> int:
    """Where to go on; where it was, if the server cannot say that now."""
    told, pause = attempt(lambda: get_upload.sync_detailed(upload_id, client=client), 1)
    if told is None:
        time.sleep(pause)
        return offset
    return checked(told.parsed).offset
