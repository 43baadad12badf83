"""The page's own files, compressed once for all. Pages are not: what others wrote stands in them beside secrets (BREACH)."""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Response, request

_KINDS = ("text/css", "text/javascript", "image/svg+xml")


def compress(response: Response) -> Response:
    """An answer of `ui.static` as the browser asked for it."""
    if response.mimetype not in _KINDS or request.method != "GET" or response.status_code != 200:
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings.quality("gzip") > 0:
        response.direct_passthrough = False
        data = response.get_data()
        # The file was read to its end.
        response.close()
        response.set_data(_packed(data))
        response.headers["Content-Encoding"] = "gzip"
        # Other bytes than those that the tag was made for.
        if (tag := response.get_etag()[0]) is not None:
            response.set_etag(f"{tag}-gzip")
            response.make_conditional(request)
    return response


@lru_cache(maxsize=32)
def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)
