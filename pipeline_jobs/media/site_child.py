"""The child process that runs yt-dlp: `python -m pipeline_jobs.media.site_child ORDER.json`.

A process of its own, because yt-dlp has no guard of its own against addresses inside our network: an audit hook on
every socket that is connected asks the address table, and a hook can never be removed again. It also refuses to start
programs (ffmpeg and other downloaders would connect past the hook) and holds the size cap by a limit of the system.

Writes lines of JSON to stdout: `{"bytes": since the last, "progress": 0.0-1.0}`..., then one of `{"files": [...], "title": ...}` or
`{"error": code, "message": text}` with a code of `exceptions`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TextIO

from ssrfguard import BlockedAddressError

from pipeline_jobs.addresses import source_policy
from pipeline_jobs.media import site_runtime

# yt-dlp takes it where it is installed, and it connects from C, where no audit hook sees it.
sys.modules["curl_cffi"] = None  # type: ignore[assignment]

import yt_dlp  # noqa: E402

#: Audit events that would leave the hook's reach: other programs, and their like.
_PROGRAMS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn"})

#: Most memory that an extractor may take, in bytes.
MEMORY_BYTES = 512 * 1024**2

#: yt-dlp's logger: its words are not for clients.
_QUIET = logging.Logger("yt-dlp", level=logging.CRITICAL + 1)

Say = Callable[[dict[str, Any]], None]


class Refused(Exception):
    """Ends the child with an error code and a text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Guard:
    """The audit hook. `blocked` says that it has refused an address, however yt-dlp words what came of it."""

    def __init__(self, allow_private: bool, program: str | None = None) -> None:
        """:param program: the only one that may be started. Its own sockets are beyond the hook: it is started without any permission."""
        self.policy = source_policy(allow_private)
        self.blocked = False
        self._program = program

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._check(args[0], args[1])
        elif event == "ftplib.connect":
            self.blocked = True
            raise PermissionError("only HTTP is spoken here")
        elif event in _PROGRAMS and not (event == "subprocess.Popen" and self._program is not None and args[0] == self._program):
            raise PermissionError("no other programs here")

    def _check(self, sock: socket.socket, address: Any) -> None:
        if address is None:  # sendmsg on a connected socket
            return
        try:
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                raise ValueError
            self.policy.check_address(ip_address(str(address[0]).partition("%")[0]))
            if address[1] not in self.policy.allowed_ports:
                raise ValueError
        except (ValueError, BlockedAddressError):
            self.blocked = True
            raise PermissionError("this address may not be fetched") from None


def options(order: dict[str, Any], say: Say) -> dict[str, Any]:
    """yt-dlp's parameters: one video, native downloaders, no config, cookies, cache, or post-processing."""

    told: dict[str, int] = {}

    def hook(status: dict[str, Any]) -> None:
        done = status.get("downloaded_bytes") or 0
        name = str(status.get("filename"))
        total = status.get("total_bytes") or status.get("total_bytes_estimate")
        if done > order["max_bytes"]:
            raise Refused("source_too_large", f"the source has more than the {order['max_bytes']} bytes that this server accepts")
        say({"bytes": max(0, done - told.get(name, 0)), "progress": min(done / total, 1.0) if total else 0.0})
        told[name] = done

    return {
        # Picture and sound apart are joined by us; yt-dlp would need ffmpeg for it.
        "format": "bv*+ba/b/ba",
        "format_sort": [f"res:{order['height']}"],
        "outtmpl": {"default": f"{order['stem']}.%(format_id)s.%(ext)s"},
        "restrictfilenames": True,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "max_filesize": order["max_bytes"],
        "external_downloader": {"default": "native"},
        "hls_prefer_native": True,
        "ffmpeg_location": "/nonexistent",
        "js_runtimes": site_runtime.runtimes(),
        "allow_unplayable_formats": False,
        "cachedir": False,
        "usenetrc": False,
        "proxy": "",
        "socket_timeout": 20,
        "retries": 2,
        "fragment_retries": 2,
        # A film with a hole is none.
        "skip_unavailable_fragments": False,
        "fixup": "never",
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": _QUIET,
        "progress_hooks": [hook],
    }


def fetch(order: dict[str, Any], say: Say) -> dict[str, Any]:
    """Do what the order says, in the current folder.

    :raises Refused: what the page shows is not for this server.
    """
    with yt_dlp.YoutubeDL(options(order, say)) as downloader:
        info = downloader.extract_info(order["url"], download=False)
        if info is None or info.get("_type", "video") != "video":
            raise Refused("not_media", "the page lists several media or none; give the address of one")
        if info.get("is_live"):
            raise Refused("not_media", "the source is a live stream, which has no end")
        if (info.get("duration") or 0) > order["max_seconds"]:
            raise Refused("media_too_large", f"the media lasts {info['duration']} s; this server accepts {order['max_seconds']:g} s")
        downloader.process_ie_result(info, download=True)
    files = sorted(path.name for path in Path().glob(f"{order['stem']}.*") if path.suffix not in (".json", ".report", ".part", ".ytdl"))
    if not files:
        raise Refused("source_too_large", f"the source has more than the {order['max_bytes']} bytes that this server accepts")
    return {"files": files, "title": info.get("title")}


def refusal(error: Exception, guard: Guard, url: str = "") -> Refused:
    """What yt-dlp raised, as one of our codes. It tells kinds of failures apart by text only."""
    if guard.blocked:
        return Refused("source_forbidden", "the site led to an address that may not be fetched")
    if isinstance(error, Refused):
        return error
    cause = error.exc_info[1] if isinstance(error, yt_dlp.utils.DownloadError) and error.exc_info else error
    if isinstance(error, MemoryError) or isinstance(cause, MemoryError):
        return Refused("source_too_large", "the page is larger than this server accepts")
    text = f"{error}\n{cause}"
    if isinstance(cause, Refused):
        return cause
    if isinstance(cause, yt_dlp.utils.UnsupportedError):
        return Refused("not_media", "the address gives a web page without a video or sound that could be found")
    if "HTTP Error 404" in text or "HTTP Error 410" in text:
        return Refused("source_not_found", "the site answered that there is no such media")
    if "Requested format is not available" in text:
        return Refused("not_media", f"no media could be had from this page{wants(url)}")
    if any(word in text for word in ("Video unavailable", "Private video", "removed", "not available", "does not exist")):
        return Refused("source_not_found", "the site says that the media is private, removed or not available here")
    if isinstance(error, OSError) and "File too large" in text:
        return Refused("source_too_large", "the source is larger than this server accepts")
    if any(word in text for word in ("HTTP Error 5", "HTTP Error 429", "timed out", "Connection refused", "resolve", "Unable to connect")):
        return Refused("source_unavailable", "the site cannot be reached now")
    return Refused("not_media", f"no media could be had from this page{wants(url)}")


def wants(url: str) -> str:
    """What is missing here for this site, in words; empty: nothing that is known of."""
    if site_runtime.program() is None and yt_dlp.extractor.get_info_extractor("Youtube").suitable(url):
        return f": this site needs JavaScript, which this server cannot run (pip install '{site_runtime.EXTRA}')"
    return ""


def main(order_file: str, out: TextIO) -> None:
    """Carry out the order in `order_file`; reports go to `out`."""
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))

    def say(report: dict[str, Any]) -> None:
        out.write(json.dumps(report) + "\n")
        out.flush()

    # A page has no cap of yt-dlp's: one without end would fill the memory.
    program = site_runtime.program()
    memory = site_runtime.MEMORY_BYTES if program else MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (order["max_bytes"] + 1, order["max_bytes"] + 1))
    guard = Guard(order["allow_private"], program)
    sys.addaudithook(guard)
    try:
        say(fetch(order, say))
    except Exception as error:
        refused = refusal(error, guard, order["url"])
        say({"error": refused.code, "message": str(refused)})


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main(sys.argv[1], sys.__stdout__ or sys.stdout)
