"""Google Drive as a place for copies of results: a folder a tenant, in the folder (or shared drive) that `PIPELINE_GDRIVE_FOLDER` names.

A file is made under an id that was drawn before (`files.generateIds`): Drive takes each id once, so an upload that is sent twice, or by two
processes at once, is one file. A file exists when its last byte has arrived; a killed upload leaves nothing.

developers.google.com/workspace/drive/api/guides/manage-uploads. Extra `[gdrive]`.
"""

from __future__ import annotations

import importlib
import json
import mimetypes
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import requests
from ssrfguard import SSRFGuardError
from ssrfguard.requests import SafeAdapter

from pipeline_jobs.addresses import operator_policy
from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import Settings

SCOPES = ("https://www.googleapis.com/auth/drive",)
#: Bytes of a request: a multiple of 256 KiB. As much of the file is in memory.
CHUNK = 4 * 1024**2
#: Seconds to connect, and between two bytes of an answer.
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
#: Longest answer that is read, in bytes.
MOST_ANSWER = 1024**2
#: So many faults of the service one after the other end an upload; it goes on where it was after each of the others.
PATIENCE = 4
#: Seconds before it goes on after the first; twice as many after each further one.
BACKOFF = 0.5
#: Drive draws at most so many ids in a call.
MOST_IDS = 1000
FOLDER_TYPE = "application/vnd.google-apps.folder"
#: Property of this application's own that a tenant's folder is found by, and a file's job.
TENANT, JOB = "pipeline_tenant", "pipeline_job"


@cache
def _google() -> Any:
    return importlib.import_module("pipeline_jobs.files.google_client")


def installed() -> bool:
    """The extra `[gdrive]` is there."""
    return find_spec("googleapiclient") is not None


class DriveError(Exception):
    """Drive did not do it. `word`: `drive_http_403`, `drive_unreachable`, `drive_refused_key`, ...: never what a library says, which may
    name addresses of uploads (whoever has one can write there) or parts of a key."""

    def __init__(self, word: str, retry_after: str | None = None) -> None:
        super().__init__(word)
        self.word, self.retry_after = word, retry_after


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is."""

    tenant_id: str
    job_id: str


@dataclass(slots=True)
class Drive:
    """The client of an installation. Each call may take long; all raise `DriveError`. Threads may share it."""

    credentials: Path
    #: Id of the folder, or of the shared drive.
    folder: str
    url: str
    #: Ids of tenants' folders that this process has used.
    _folders: dict[str, str] = field(default_factory=dict)
    #: The account with its token, which is good for an hour, and who may ask for another one.
    _account: Any = None
    _refreshing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, settings: Settings) -> Drive | None:
        """None: it is not configured, or cannot be used (`check` says why)."""
        if not settings.gdrive_credentials or not installed():
            return None
        return cls(Path(settings.gdrive_credentials), settings.gdrive_folder, settings.gdrive_url)

    def draw_ids(self, count: int) -> list[str]:
        """Ids for files that are not there yet."""
        if count > MOST_IDS:
            raise DriveError("drive_too_many_files")
        with _told():
            drawn = self._service().files().generateIds(count=count, space="drive", type="files").execute()
        return list(map(str, drawn["ids"]))

    def put(self, file_id: str, name: str, file: IO[bytes], owner: Owner, told: Callable[[float], None] = lambda done: None) -> str:
        """Upload a file under its id; one that is there already is left as it is.

        :param file: from its beginning; it must be seekable.
        :param told: called with the fraction that has arrived; what it raises ends the upload.
        :return: the address at which people open it.
        """
        with _told():
            service = self._service()
            try:
                return self._upload(service, file_id, name, file, owner, told)
            except _google().HttpError as error:
                if error.status_code == 404:
                    # The tenant's folder was removed meanwhile.
                    self._folders.pop(owner.tenant_id, None)
                if error.status_code != 409:
                    raise
            found = service.files().get(fileId=file_id, fields="webViewLink", supportsAllDrives=True).execute()
            return str(found["webViewLink"])

    def remove(self, file_ids: Iterable[str]) -> None:
        """Delete files; one that is not there is deleted already."""
        with _told():
            service = self._service()
            for file_id in file_ids:
                _delete(service, file_id)

    def erase(self, tenant_id: str) -> None:
        """Delete a tenant's folder with all that is in it."""
        with _told():
            service = self._service()
            for folder in list(self._folders_of(service, tenant_id)):
                _delete(service, folder)
        self._folders.pop(tenant_id, None)

    def _upload(self, service: Any, file_id: str, name: str, file: IO[bytes], owner: Owner, told: Callable[[float], None]) -> str:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        body = {
            "id": file_id, "name": f"{owner.job_id}_{name}", "parents": [self._folder(service, owner.tenant_id)],
            "appProperties": {TENANT: owner.tenant_id, JOB: owner.job_id},
        }  # fmt: skip
        media = _google().http.MediaIoBaseUpload(file, kind, chunksize=CHUNK, resumable=True)
        request = service.files().create(body=body, media_body=media, fields="webViewLink", supportsAllDrives=True)
        done, faults = None, 0
        while done is None:
            try:
                # Never `num_retries`: after a 503 that sends an empty body and hangs. The next call asks how much has arrived.
                status, done = request.next_chunk()
                faults = 0
                told(status.progress() if status else 1.0)
            except (_google().HttpError, requests.RequestException) as error:
                faults += 1
                if faults >= PATIENCE or (isinstance(error, _google().HttpError) and error.status_code < 500):
                    raise
                time.sleep(BACKOFF * 2 ** (faults - 1))
        return str(done["webViewLink"])

    def _folder(self, service: Any, tenant_id: str) -> str:
        """The id of the tenant's folder, made if there is none. Of two that were made at the same moment the first one is used."""
        if tenant_id not in self._folders:
            found = next(self._folders_of(service, tenant_id), None)
            if found is None:
                body = {"name": tenant_id, "mimeType": FOLDER_TYPE, "parents": [self.folder], "appProperties": {TENANT: tenant_id}}
                found = str(service.files().create(body=body, fields="id", supportsAllDrives=True).execute()["id"])
            self._folders[tenant_id] = found
        return self._folders[tenant_id]

    def _folders_of(self, service: Any, tenant_id: str) -> Iterator[str]:
        """Not by its name: Drive's search does not tell upper case from lower case, and `Acme` is another tenant than `acme`."""
        # The name of a tenant and the id of a folder have no quotes (`tenants.NAME`, `Settings`).
        query = (
            f"mimeType = '{FOLDER_TYPE}' and '{self.folder}' in parents and trashed = false"
            f" and appProperties has {{ key='{TENANT}' and value='{tenant_id}' }}"
        )
        files = service.files()
        asked = files.list(
            q=query, fields="nextPageToken, files(id, appProperties)", supportsAllDrives=True, includeItemsFromAllDrives=True,
            orderBy="createdTime",
        )  # fmt: skip
        while asked is not None:
            found = asked.execute()
            for folder in found["files"]:
                if folder.get("appProperties", {}).get(TENANT) == tenant_id:
                    yield str(folder["id"])
            asked = files.list_next(asked, found)

    def authorize(self, refresh: Any, method: str, uri: str, headers: dict[str, str]) -> None:
        """Add the token to a request's headers. :raises DriveError: the key cannot be read."""
        with self._refreshing:
            try:
                self._account = self._account or _key(self.credentials)
            except (OSError, ValueError):
                raise DriveError("drive_key_unreadable") from None
            try:
                self._account.before_request(refresh, method, uri, headers)
            except _google().RefreshError:
                # Another key may lie there by the next try.
                self.forget_key()
                raise

    def forget_key(self) -> None:
        """Read the key again when it is needed."""
        self._account = None

    def _service(self) -> Any:
        """By the discovery document that came with the library: no network, and each parameter is checked against it."""
        document = json.loads(_google().get_static_doc("drive", "v3"))
        # `api_endpoint` would lose the path, and would not move the uploads.
        root = f"{self.url}/"
        return _google().discovery.build_from_document(
            {**document, "rootUrl": root, "baseUrl": root + document["servicePath"]}, http=_Http(self)
        )


class _Http:
    """What the library wants of httplib2, by requests: an address is checked as it is connected to, and no redirect is followed."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._session = requests.Session()
        # No proxy, which would resolve names itself, and no password of a .netrc.
        self._session.trust_env = False
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, SafeAdapter(policy=operator_policy()))
        self._refresh = _google().AuthRequest(self._session)

    def request(self, uri: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None, **_: Any) -> Any:
        """:return: httplib2's response, and the body."""
        sent = dict(headers or {})
        self._drive.authorize(self._refresh, method, uri, sent)
        data = body.read() if hasattr(body, "read") else body
        with self._session.request(
            method, uri, data=data, headers=sent, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
        ) as answer:
            content = answer.raw.read(MOST_ANSWER, decode_content=True)
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return _google().httplib2.Response({**fields, "status": str(answer.status_code)}), content

    def close(self) -> None:
        self._session.close()


def check(settings: Settings) -> None:
    """As a process starts. Asks no other machine. :raises ConfigurationError: with these settings nothing could ever be copied."""
    if not settings.gdrive_credentials:
        return
    if not installed():
        raise ConfigurationError("PIPELINE_GDRIVE_CREDENTIALS needs what is not installed: pip install 'pipeline-jobs[gdrive]'")
    if not settings.gdrive_folder:
        raise ConfigurationError("PIPELINE_GDRIVE_CREDENTIALS needs PIPELINE_GDRIVE_FOLDER: the id of a folder or of a shared drive")
    try:
        _key(Path(settings.gdrive_credentials))
    except (OSError, ValueError) as error:
        # What it says may quote the file.
        raise ConfigurationError(
            f"PIPELINE_GDRIVE_CREDENTIALS: no key of a service account can be read there ({type(error).__name__})"
        ) from None


def _key(path: Path) -> Any:
    """:raises OSError, ValueError: there is none."""
    return _google().Credentials.from_service_account_file(str(path), scopes=list(SCOPES))


@contextmanager
def _told() -> Iterator[None]:
    """:raises DriveError: in the place of what libraries raise."""
    try:
        yield
    except _google().ELSEWHERE as error:
        if isinstance(error, _google().HttpError):
            raise DriveError(f"drive_http_{error.status_code}", error.resp.get("retry-after")) from None
        if isinstance(error, _google().RefreshError) and not error.retryable:
            raise DriveError("drive_refused_key") from None
        if isinstance(error, SSRFGuardError):
            raise DriveError("drive_address_forbidden") from None
        raise DriveError("drive_unreachable") from None


def _delete(service: Any, file_id: str) -> None:
    try:
        service.files().delete(fileId=file_id, supportsAllDrives=True).execute()
    except _google().HttpError as error:
        if error.status_code != 404:
            raise
