"""The words of the tus protocol 1.0 (tus.io/protocols/resumable-upload): its headers, read and written."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from email.utils import formatdate

from pipeline_jobs.files.upload import ALGORITHMS, Checksum, Upload
from pipeline_jobs.web.problems import Refused

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination,checksum"
CONTENT_TYPE = "application/offset+octet-stream"
#: Longest Upload-Metadata, in characters, and most entries of it.
MAX_METADATA, MAX_ENTRIES = 4096, 20
#: As tus has it; no standard status of HTTP.
CHECKSUM_MISMATCH = 460

_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SIZES = {"sha1": 20, "sha256": 32}


def check_version(given: str | None) -> None:
    """:raises Refused: 412, the client speaks another version. One that names none (curl) is served."""
    if given is not None and given != VERSION:
        raise Refused(
            412, "tus_version", f"Tus-Resumable: this server supports {VERSION}", field="Tus-Resumable", headers={"Tus-Version": VERSION}
        )


def number(name: str, given: str | None) -> int:
    """A header that is a number of bytes.

    :raises Refused: 400, it is missing or no such number.
    """
    if given is None:
        raise _malformed(name, "is required")
    if not _NUMBER.fullmatch(given):
        raise _malformed(name, "must be a number of bytes, 0 or more")
    return int(given)


def metadata(given: str | None) -> dict[str, str]:
    """`Upload-Metadata: filename dGFsay5tcDQ=,private` as `{"filename": "talk.mp4", "private": ""}`.

    :raises Refused: 400
    """
    if not given:
        return {}
    name = "Upload-Metadata"
    if len(given) > MAX_METADATA:
        raise _malformed(name, f"must have at most {MAX_METADATA} characters")
    found: dict[str, str] = {}
    for entry in given.split(","):
        key, _, value = entry.strip(" ").partition(" ")
        if not _KEY.fullmatch(key) or key in found or len(found) >= MAX_ENTRIES:
            raise _malformed(name, f"must be at most {MAX_ENTRIES} pairs of a unique ASCII name and a Base64 value")
        try:
            text = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise _malformed(name, f"the value of {key!r} must be UTF-8 in Base64") from None
        if _CONTROL.search(text):
            raise _malformed(name, f"the value of {key!r} has control characters")
        found[key] = text
    return found


def checksum(given: str | None) -> Checksum | None:
    """`Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`

    :raises Refused: 400
    """
    if given is None:
        return None
    algorithm, _, value = given.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if algorithm not in ALGORITHMS or len(digest) != _SIZES[algorithm]:
        raise _malformed("Upload-Checksum", f"must be one of {', '.join(ALGORITHMS)}, a space, and the digest in Base64")
    return Checksum(algorithm, digest)


def headers(upload: Upload) -> Mapping[str, str]:
    """What an answer says of an upload."""
    return {
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.length),
        "Upload-Expires": formatdate(upload.expires_at / 1000, usegmt=True),
        "Cache-Control": "no-store",
    }


def capabilities(max_bytes: int) -> Mapping[str, str]:
    """The answer to OPTIONS."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def _malformed(name: str, what: str) -> Refused:
    return Refused(400, "malformed_header", f"{name}: {what}", field=name)
