"""What a file is, by its first bytes. The name and the content type that a server gave are not believed."""

from __future__ import annotations

import re
from enum import Enum

#: How many bytes `kind` wants to see; fewer is fine if the file is shorter.
HEAD = 1024


class Kind(Enum):
    MEDIA = "media"
    #: HTML: a site's page that may show a video.
    PAGE = "page"
    #: A list of other addresses or files (HLS, DASH, ffconcat, ...): never opened, it could name anything.
    PLAYLIST = "playlist"
    UNKNOWN = "unknown"


# The comments are taken once and never given back (`*+`): otherwise each of n comments may end at any `-->` after it, which is
# 2^n ways to find out that no page follows.
_PAGE = re.compile(
    rb"\A\s*(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)*+<(!doctype\s+html|html|head|body|script|meta|title)\b", re.IGNORECASE | re.DOTALL
)
_PLAYLIST = re.compile(
    rb"\A\s*(#EXTM3U|#EXT-X-|ffconcat\s|\[playlist\]|(<\?xml[^>]*\?>\s*)?<(MPD|SmoothStreamingMedia|AssetMap|playlist|asx|smil)\b|"
    rb"file\s+['\"\w/.]|v=0\s+o=|RTSPtext)",
    re.IGNORECASE,
)
_MAGIC = (
    re.compile(rb"\A....(ftyp|moov|mdat|free|wide|skip|pnot)", re.DOTALL),  # MP4, MOV, 3GP
    re.compile(rb"\A(RIFF|RIFX|RF64)....(WAVE|AVI )", re.DOTALL),
    re.compile(rb"\A\x1a\x45\xdf\xa3"),  # Matroska, WebM
    re.compile(rb"\AOggS|\AfLaC|\AFLV\x01|\AID3|\A#!AMR|\Acaff|\AFORM....AIF", re.DOTALL),
    re.compile(rb"\A\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF, WMV, WMA
    re.compile(rb"\A\x00\x00\x01\xba"),  # MPEG programme stream
    re.compile(rb"\A\x47.{187}\x47", re.DOTALL),  # MPEG transport stream
    re.compile(rb"\A\xff[\xe2-\xe7\xf1-\xff]"),  # MP3 and AAC without a tag
)


def kind(head: bytes) -> Kind:
    """What a file that begins with these bytes is."""
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _PLAYLIST.match(text):
        return Kind.PLAYLIST
    if _PAGE.match(text):
        return Kind.PAGE
    if any(magic.match(head) for magic in _MAGIC):
        return Kind.MEDIA
    return Kind.UNKNOWN


def is_hls(head: bytes) -> bool:
    """The playlist is one of HLS (RFC 8216)."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:7].upper() == b"#EXTM3U"


def is_mp4(head: bytes) -> bool:
    """The file is of the MP4 family, a sequence of boxes."""
    return _MAGIC[0].match(head) is not None
