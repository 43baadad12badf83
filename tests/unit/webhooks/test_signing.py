"""Secrets and signatures, held against the Standard Webhooks library and against OpenSSL."""

from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from pipeline_jobs.exceptions import KeyChanged
from pipeline_jobs.webhooks.signing import Draw, Signer

BODY = '{"type":"job.completed","data":{"name":"Zoë"}}'


@pytest.fixture
def signer() -> Signer:
    return Signer(lambda: "key")


def test_a_secret_is_whsec_and_32_bytes_and_comes_back_from_what_is_kept(signer: Signer) -> None:
    draw = signer.draw()
    secret = signer.reveal(draw)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert Signer(lambda: "key").reveal(draw) == secret
    assert signer.reveal(signer.draw()) != secret


def test_what_is_kept_tells_nothing_without_the_key(signer: Signer) -> None:
    draw = signer.draw()
    raw = base64.b64decode(signer.reveal(draw).removeprefix("whsec_")).hex()
    assert draw.nonce not in raw
    assert draw.check not in raw
    with pytest.raises(KeyChanged):
        Signer(lambda: "another").reveal(draw)


def test_the_library_takes_the_headers(signer: Signer) -> None:
    draw = signer.draw()
    now = datetime.now(UTC)
    headers = signer.headers("msg_1", now, BODY, draw)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", str(int(now.timestamp())))
    assert Webhook(signer.reveal(draw)).verify(BODY, headers)["type"] == "job.completed"
    for wrong in ({"webhook-id": "msg_2"}, {"webhook-timestamp": str(int(now.timestamp()) + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(signer.reveal(draw)).verify(BODY, {**headers, **wrong})


def test_two_secrets_make_two_signatures_and_either_is_good(signer: Signer) -> None:
    current, old = signer.draw(), signer.draw()
    headers = signer.headers("msg_1", datetime.now(UTC), BODY, current, old)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for draw in (current, old):
        Webhook(signer.reveal(draw)).verify(BODY, headers)


def test_an_old_secret_of_another_key_does_not_sign(signer: Signer) -> None:
    old = Signer(lambda: "before").draw()
    headers = signer.headers("msg_1", datetime.now(UTC), BODY, signer.draw(), old)
    assert len(headers["webhook-signature"].split(" ")) == 1
    with pytest.raises(KeyChanged):
        signer.headers("msg_1", datetime.now(UTC), BODY, Draw(old.nonce, old.check))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_computes_the_same_signature(signer: Signer) -> None:
    draw = signer.draw()
    headers = signer.headers("msg_1", datetime.now(UTC), BODY, draw)
    key = base64.b64decode(signer.reveal(draw).removeprefix("whsec_")).hex()
    signed = f"msg_1.{headers['webhook-timestamp']}.{BODY}".encode()
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"], input=signed, capture_output=True, check=True
    )
    assert headers["webhook-signature"] == "v1," + base64.b64encode(done.stdout).decode()
