"""Google Drive on loopback: tokens for a key, folders, files under drawn ids, resumable uploads that keep their offset and check each
request against it. It can be told to fail."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT_FOLDER, TOKEN = "0AROOT_folder", "a-token-of-the-stand-in"
FOLDER_TYPE = "application/vnd.google-apps.folder"
QUERY = re.compile(
    r"mimeType = '(?P<kind>[^']+)' and '(?P<parent>[^']+)' in parents and trashed = false"
    r" and appProperties has \{ key='(?P<key>[^']+)' and value='(?P<value>[^']+)' \}"
)
RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass
class Session:
    """A resumable upload that is under way."""

    body: dict[str, Any]
    size: int
    got: bytearray = field(default_factory=bytearray)


class GoogleDrive:
    """`with GoogleDrive() as drive:`; `files` is what is there: id -> its metadata, with `content`."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        #: What the next requests that bring bytes are answered: a status; `cut` takes half of the bytes and breaks the connection; `full`
        #: takes all of them and breaks it before it answers.
        self.faults: list[int | str] = []
        #: Every request is answered so, while it is set; and each one for a token.
        self.down: int | None = None
        self.no_token: int | None = None
        self.tokens = 0
        self.requests: list[str] = []
        #: Set as bytes of a file arrive; while `hold` is set, none is answered.
        self.uploading, self.hold, self.go = threading.Event(), False, threading.Event()
        self.drawn: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._numbers, self._lock = iter(range(1, 10**6)), threading.Lock()
        drive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                drive.requests.append(f"{self.command} {self.path}")
                try:
                    status, answer, headers = drive.answer(self, body)
                except ConnectionError:
                    self.close_connection = True
                    return
                text = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> GoogleDrive:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def key(self, folder: Path) -> Path:
        """The file with the key of a service account."""
        account = {
            "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": _private_key(),
            "client_email": "worker@p.example", "client_id": "1", "token_uri": f"{self.url}/token",
        }  # fmt: skip
        path = folder / "drive-key.json"
        path.write_text(json.dumps(account))
        return path

    def settings(self, folder: Path) -> dict[str, Any]:
        """Those with which an installation uses it."""
        return {"gdrive_credentials": str(self.key(folder)), "gdrive_folder": ROOT_FOLDER, "gdrive_url": self.url}

    def contents(self, tenant_id: str = "acme") -> dict[str, bytes]:
        """The files in a tenant's folder by name; two of one name are an error."""
        folders = {one["id"] for one in self.files.values() if one.get("mimeType") == FOLDER_TYPE and one["name"] == tenant_id}
        inside = [one for one in self.files.values() if set(one["parents"]) & folders]
        assert len({one["name"] for one in inside}) == len(inside), "a file is there twice"
        return {one["name"]: one["content"] for one in inside}

    # -- what it answers: status, JSON, headers

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/token":
            assert parse_qs(body.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            if self.no_token is not None:
                return self.no_token, {"error": "invalid_grant"}, {}
            self.tokens += 1
            return 200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}, {}
        if self.down is not None:
            return self.down, {"error": {"message": "down"}}, {}
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "who is this?"}}, {}
        if parts.path == "/session":
            return self._bytes(query["upload_id"], request.headers["Content-Range"], body)
        with self._lock:
            return self._of_files(request, parts.path, query, body)

    def _of_files(self, request: BaseHTTPRequestHandler, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        match request.command, path:
            case "GET", "/drive/v3/files/generateIds":
                ids = [f"drawn-{next(self._numbers)}" for _ in range(int(query["count"]))]
                self.drawn.update(ids)
                return 200, {"ids": ids}, {}
            case "GET", "/drive/v3/files":
                assert query["supportsAllDrives"] == query["includeItemsFromAllDrives"] == "true"
                return 200, {"files": self._found(query["q"])}, {}
            case "POST", "/drive/v3/files":
                made = self._made(f"folder-{next(self._numbers)}", json.loads(body))
                return 200, {"id": made["id"]}, {}
            case "POST", "/upload/drive/v3/files":
                return self._begin(request, query, json.loads(body))
        file_id = path.removeprefix("/drive/v3/files/")
        if file_id not in self.files:
            return 404, {"error": {"message": "no such file"}}, {}
        if request.command == "DELETE":
            self._delete(file_id)
            return 204, None, {}
        return 200, {"webViewLink": self.files[file_id]["webViewLink"]}, {}

    def _found(self, query: str) -> list[dict[str, Any]]:
        asked = QUERY.fullmatch(query)
        assert asked, query
        # As Drive does: upper and lower case are one.
        return [
            {"id": one["id"], "appProperties": one["appProperties"]}
            for one in self.files.values()
            if one.get("mimeType") == asked["kind"]
            and asked["parent"] in one["parents"]
            and one["appProperties"].get(asked["key"], "").lower() == asked["value"].lower()
        ]

    def _begin(self, request: BaseHTTPRequestHandler, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        assert query["uploadType"] == "resumable"
        if body["id"] in self.files:
            return 409, {"error": {"message": "A file already exists with the provided ID."}}, {}
        if body["id"] not in self.drawn:
            return 400, {"error": {"message": "The provided file ID is not usable."}}, {}
        if not set(body["parents"]) & self.files.keys():
            return 404, {"error": {"message": "no such folder"}}, {}
        upload_id = str(next(self._numbers))
        self._sessions[upload_id] = Session(body, int(request.headers["X-Upload-Content-Length"]))
        return 200, {}, {"Location": f"{self.url}/session?upload_id={upload_id}"}

    def _bytes(self, upload_id: str, said: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        session = self._sessions[upload_id]
        placed = RANGE.fullmatch(said)
        assert placed, said
        assert int(placed[3]) == session.size
        if placed[1] is None:
            assert not body
            return self._so_far(session)
        assert (int(placed[1]), int(placed[2])) == (len(session.got), len(session.got) + len(body) - 1), "bytes at the wrong place"
        self.uploading.set()
        if self.hold:
            self.go.wait(60)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return fault, {"error": {"message": "not now"}}, {}
        session.got += body[: len(body) // 2] if fault == "cut" else body
        if fault:
            self._so_far(session)
            raise ConnectionResetError
        return self._so_far(session)

    def _so_far(self, session: Session) -> tuple[int, Any, dict[str, str]]:
        if len(session.got) < session.size:
            return 308, None, {"Range": f"bytes=0-{len(session.got) - 1}"} if session.got else {}
        with self._lock:
            if session.body["id"] not in self.files:
                self._made(session.body["id"], session.body, bytes(session.got))
            return 200, {"webViewLink": self.files[session.body["id"]]["webViewLink"]}, {}

    def _made(self, file_id: str, body: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        link = f"https://drive.google.com/file/d/{file_id}/view"
        self.files[file_id] = {**body, "id": file_id, "content": content, "webViewLink": link}
        return self.files[file_id]

    def _delete(self, file_id: str) -> None:
        """With what is in it."""
        del self.files[file_id]
        for inside in [one["id"] for one in self.files.values() if file_id in one["parents"]]:
            self._delete(inside)


@cache
def _private_key() -> str:
    """Of nobody: made anew for each run of the tests."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()
