"""Google's client libraries, as `files.drive` uses them. It imports this module when it first needs them, and no process before: they take
a tenth of a second of a processor, and most processes copy nothing. Extra `[gdrive]`."""

from __future__ import annotations

import google.auth.exceptions
import google.auth.transport.requests
import httplib2
import requests
from google.auth.exceptions import RefreshError
from google.oauth2 import service_account
from googleapiclient import discovery, errors, http
from googleapiclient.discovery_cache import get_static_doc
from ssrfguard import SSRFGuardError

#: What the library raises for what is wrong at the other end, or on the way there.
ELSEWHERE: tuple[type[Exception], ...] = (
    errors.Error,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
    SSRFGuardError,
)
HttpError = errors.HttpError
Credentials = service_account.Credentials
AuthRequest = google.auth.transport.requests.Request

__all__ = ["ELSEWHERE", "AuthRequest", "Credentials", "HttpError", "RefreshError", "discovery", "get_static_doc", "http", "httplib2"]
