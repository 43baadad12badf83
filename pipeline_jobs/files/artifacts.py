"""Where published files are: a folder tree on any fsspec file system, with signed links to what is in it.

    {tenant}/{workspace}/{job}/{fence}/{name}

The fence keeps the runs of a job apart: what a run published counts only if that run's `finish` won, so a loser's
files are never pointed to, and the whole of `{tenant}/{workspace}/{job}` goes with the job.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import fsspec
from fsspec.implementations.local import LocalFileSystem
from itsdangerous import Signer

from pipeline_jobs import disk
from pipeline_jobs.exceptions import ConfigurationError, DiskFull, InvalidInput, PipelineJobsError, PublishError, StoreUnavailable
from pipeline_jobs.files import paced
from pipeline_jobs.files.paced import Pieces, Turn

#: Path of the API's endpoint that serves artifacts; `link` appends the artifact's own.
ROUTE = "/pipeline/artifacts/"

#: No tenant can have this name.
PROBE_FOLDER = "_probe"
PROBE_BYTES = 1 << 16

_SALT = "pipeline-jobs.artifact"
#: Parts that are not empty and do not begin with a dot.
_PATH = re.compile(r"[^./\\][^/\\]*(/[^./\\][^/\\]*)*")
#: AWS no longer takes the older signature that s3fs may fall back to. Other servers do not know the newer checksums, or give that of the
#: whole file with a part of it.
_S3 = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required") | {"signature_version": "s3v4"}
#: Tries to write into a folder that a deletion may be removing at the same moment.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Stat:
    """What the endpoint needs for its headers."""

    size: int
    #: Unix seconds, or None where the file system does not tell.
    modified: float | None


class ArtifactStore:
    """All artifacts of an installation. Paths are relative to its root, with `/`, and never begin with one."""

    def __init__(self, root_url: str, base_url: str, secret: Callable[[], str], reserve: Callable[[Path], int] = disk.reserve) -> None:
        """
        :param root_url: fsspec URL of the root (`file:///...`, `s3://bucket/folder`).
        :param base_url: of the API, without a trailing slash: what links begin with.
        :param secret: gives what signs links, when first needed; whoever has it can open every artifact.
        :param reserve: bytes that must stay free on the disk of a folder, where the root is on a local one.
        """
        self._root_url, self._base_url, self._secret = root_url, base_url, secret
        self._room = disk.Room(reserve)

    @cached_property
    def _tree(self) -> tuple[Any, str]:
        """The file system and the root in it, made when first needed: that of a bucket starts a thread, which no fork survives."""
        return _open_root(self._root_url)

    @property
    def _fs(self) -> Any:
        return self._tree[0]

    @property
    def _root(self) -> str:
        return self._tree[1]

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self._secret(), salt=_SALT)

    def make_ready(self) -> None:
        """Open now what the first use would open. :raises Exception: the root cannot be opened; each fsspec back end has its own."""
        _ = self._tree, self._signer

    def check_room(self, size: int) -> None:
        """Is there room for so many bytes more? A bucket is taken to have it.

        :raises DiskFull: less would be left on the disk than must stay free: the store's own log may be on it.
        """
        if self.folder and self._room.lacks(self.folder, size):
            raise DiskFull

    @property
    def folder(self) -> Path | None:
        """The root, where it is on a disk of this machine."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def lacks_room(self) -> str | None:
        """Why its disk takes nothing now, or None. :raises OSError: it cannot be asked."""
        return self._room.lacks(self.folder) if self.folder else None

    def disk_bytes(self) -> tuple[int, int] | None:
        """How many bytes of its disk are free, and how many must stay so. None: no disk of this machine has it, or cannot be asked."""
        try:
            return self._room.bytes(self.folder) if self.folder else None
        except OSError:
            return None

    def put(self, local: Path, path: str) -> int:
        """Store a copy of `local`. A reader sees the whole file or none; on a local disk it is there for good when this returns.

        :return: its size in bytes.
        :raises InvalidInput: `path` is not one of ours (see `check_path`).
        :raises PublishError: it could not be stored; `DiskFull`: there is no room for it.
        """
        target = self._full(path)
        with _publish_errors():
            # One that is not there is told of below.
            self.check_room(local.stat().st_size if local.exists() else 0)
            if isinstance(self._fs, LocalFileSystem):
                self._put_local(local, target)
            else:
                self._fs.put_file(str(local), target)
            return local.stat().st_size

    def write(self, data: bytes | Pieces, path: str, turn: Turn | None = None) -> None:
        """Store bytes under `path`; on a local disk they are there for good when this returns.

        :param turn: entered around each step of a large file on a local disk; by default that of jobs' files.
        :raises InvalidInput: `path` is not one of ours.
        :raises PublishError: it could not be stored; `DiskFull`: there is no room for it.
        """
        target = self._full(path)
        with _publish_errors():
            pieces = [data] if isinstance(data, bytes) else data
            self.check_room(sum(map(len, pieces)))
            if isinstance(self._fs, LocalFileSystem):
                self._write_local(pieces, target, turn)
            else:
                self._fs.pipe_file(target, b"".join(pieces))

    def fault(self) -> str | None:
        """Store a little, and remove it. :return: why nothing can be stored now, or None."""
        path = f"{PROBE_FOLDER}/{secrets.token_hex(8)}"
        try:
            if reason := self.lacks_room():
                return f"the artifact store: {reason}"
            self.write(bytes(PROBE_BYTES), path)
            self.delete_prefix(path)
        except (OSError, PublishError) as error:
            return f"the artifact store cannot be written: {error}"
        return None

    def open(self, path: str) -> IO[bytes]:
        """:raises FileNotFoundError: there is no such artifact (also for a path that is not one of ours). :raises StoreUnavailable:"""
        with _reading():
            file: IO[bytes] = self._fs.open(self._existing(path), "rb")
        return file

    def read(self, path: str) -> bytes:
        """The whole of it. :raises FileNotFoundError: there is no such artifact. :raises StoreUnavailable:"""
        with _reading(), self.open(path) as file:
            return file.read()

    def stat(self, path: str) -> Stat:
        """:raises FileNotFoundError: there is no such artifact (also for a path that is not one of ours). :raises StoreUnavailable:"""
        with _reading():
            info = self._fs.info(self._existing(path))
        if info["type"] != "file":
            raise FileNotFoundError(path)
        modified = info.get("mtime") or info.get("LastModified")
        return Stat(int(info["size"]), modified.timestamp() if hasattr(modified, "timestamp") else modified)

    def exists(self, path: str) -> bool:
        """There is such a file."""
        try:
            self.stat(path)
        except FileNotFoundError:
            return False
        return True

    def delete_prefix(self, prefix: str) -> None:
        """Delete a folder with all that is in it (`acme/main/job_...`); the empty folders above it go too.

        What is not there is deleted already.

        :raises InvalidInput: `prefix` is not one of ours, or would be the root.
        :raises PublishError: it could not be deleted.
        """
        target = self._full(prefix)
        with _publish_errors():
            try:
                self._fs.rm(target, recursive=True)
            except FileNotFoundError:
                pass
            if isinstance(self._fs, LocalFileSystem):
                self._remove_empty_parents(target)

    def delete_older(self, pattern: str, seconds: float) -> int:
        """Delete the folders that fit a pattern (`*/*/*/0`) and hold nothing younger than so many seconds. :return: how many.

        Looks at every folder: for the few that no record speaks for, not for cleaning up after jobs.
        """
        before = time.time() - seconds
        old = []
        for folder in self._fs.glob(f"{self._root}/{pattern}"):
            path = str(folder).removeprefix(self._root).lstrip("/")
            names = [str(name).removeprefix(self._root).lstrip("/") for name in self._fs.find(folder)]
            if all((self.stat(name).modified or 0) < before for name in names):
                old.append(path)
        for path in old:
            self.delete_prefix(path)
        return len(old)

    def link(self, path: str) -> str:
        """The address at which clients open the artifact: `{base_url}/pipeline/artifacts/{path}?signature=...`.

        It has no end date: it is good as long as the artifact is there.
        """
        return f"{self._base_url}{ROUTE}{quote(check_path(path))}?signature={self._signer.get_signature(path).decode('ascii')}"

    def verify(self, path: str, signature: str) -> bool:
        """The signature of a link belongs to this path (compared in constant time)."""
        try:
            return self._signer.verify_signature(check_path(path), signature)
        except (InvalidInput, UnicodeError):
            return False

    def _full(self, path: str) -> str:
        return f"{self._root}/{check_path(path)}"

    def _existing(self, path: str) -> str:
        try:
            return self._full(path)
        except InvalidInput:
            raise FileNotFoundError(path) from None

    def _put_local(self, local: Path, target: str) -> None:
        def copy(hidden: str) -> None:
            try:
                with local.open("rb") as source, open(hidden, "wb") as file:
                    paced.copy(source, file, self._root)
            except FileNotFoundError:
                if not local.exists():
                    raise PublishError(f"{local.name} is not there") from None
                raise

        self._place(copy, target)

    def _write_local(self, pieces: Pieces, target: str, turn: Turn | None) -> None:
        def fill(hidden: str) -> None:
            with open(hidden, "wb") as file:
                paced.write(file, pieces, turn or partial(paced.disk_turn, self._root))

        self._place(fill, target)

    def _place(self, fill: Callable[[str], None], target: str) -> None:
        """Write under another name in the same folder, then rename: one step for whoever looks. The name is on the disk, too."""
        folder, name = os.path.split(target)
        hidden = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
        for left in reversed(range(_TRIES)):
            try:
                self._fs.makedirs(folder, exist_ok=True)
                fill(hidden)
                os.replace(hidden, target)
                _sync_folder(folder)
                return
            except FileNotFoundError:
                # Another job of the same tenant was just deleted, and our folder, still empty, with it.
                if not left:
                    raise
            except BaseException:
                Path(hidden).unlink(missing_ok=True)
                raise

    def _remove_empty_parents(self, target: str) -> None:
        folder = os.path.dirname(target)
        while len(folder) > len(self._root):
            try:
                os.rmdir(folder)  # refuses one that somebody has just put something into
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = os.path.dirname(folder)


def _sync_folder(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class RunArtifacts:
    """What one run publishes, under its own prefix `{tenant}/{workspace}/{job}/{fence}`. `publish` is `JobContext.publish`."""

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._store = store
        self._sizes: dict[str, int] = {}
        self._own: set[str] = set()
        self.prefix = check_path(prefix)

    def publish(self, local_path: Path, name: str) -> str:
        """Store a file of the run under `name`; a second one of the same name replaces it.

        :return: the link for clients.
        :raises InvalidInput: the name climbs out of the prefix or is otherwise not one of ours.
        :raises PublishError: it could not be stored.
        """
        path = f"{self.prefix}/{check_path(name)}"
        # Noted before: a bucket may have taken what it could not say it took.
        self._sizes.setdefault(path, 0)
        self._sizes[path] = self._store.put(local_path, path)
        return self._store.link(path)

    def write(self, data: bytes, name: str) -> str:
        """Store bytes of our own beside what the run published, under this name or one like it. :return: the path. :raises PublishError:"""
        while (path := f"{self.prefix}/{name}") in self._sizes.keys() - self._own:
            name = f"_{name}"
        self._own.add(path)
        self._sizes[path] = len(data)
        self._store.write(data, path)
        return path

    @property
    def any(self) -> bool:
        """Whether there may be a file of this run; one without a byte is one, too."""
        return bool(self._sizes)

    @property
    def bytes(self) -> int:
        """How much this run has stored."""
        return sum(self._sizes.values())


def check_path(path: str) -> str:
    """The path itself, if it is one of ours: relative, no part empty, hidden or a way up, no odd characters.

    :raises InvalidInput: it is not.
    """
    if not _PATH.fullmatch(path) or not path.isprintable() or len(path.encode()) > 1024:
        raise InvalidInput("this is not the path of an artifact", field="path")
    return path


def check_root(root_url: str) -> None:
    """Open the artifact store of this URL, as a process starts: a wrong one shows then, not at the first job.

    Asks no other machine: one that is away now may be back when it is needed.

    :raises ConfigurationError: nothing can be stored there: no such file system, its package is missing, or its folder cannot be made.
    """
    try:
        fs, root = _open_root(root_url)
        if isinstance(fs, LocalFileSystem):
            os.makedirs(root, exist_ok=True)
            if not os.access(root, os.W_OK | os.X_OK):
                raise PermissionError(f"no right to write to {root}")
    except Exception as error:  # each fsspec back end has errors of its own
        raise ConfigurationError(f"PIPELINE_ARTIFACTS_URL cannot be used ({type(error).__name__}): {error}") from error


def _open_root(root_url: str) -> tuple[Any, str]:
    """The file system, and the folder on it."""
    options: dict[str, Any] = {"config_kwargs": _S3} if root_url.startswith("s3://") else {}
    if root_url.startswith("file:"):
        # fsspec takes the %20 of a file URL for the name itself.
        root_url = url2pathname(urlsplit(root_url).path)
    fs, root = fsspec.core.url_to_fs(root_url, **options)
    return fs, str(root).rstrip("/")


@contextmanager
def _told_as(kind: type[PipelineJobsError], text: str, *known: type[Exception]) -> Iterator[None]:
    """Each fsspec back end has errors of its own: they are told as one of ours. :param known: what needs no other words."""
    try:
        yield
    except (kind, *known):
        raise
    except Exception as error:
        raise kind(f"{text} ({type(error).__name__})") from error


_reading = partial(_told_as, StoreUnavailable, "the artifact store cannot be read now", FileNotFoundError)
_publish_errors = partial(_told_as, PublishError, "the store of artifacts failed", InvalidInput)
