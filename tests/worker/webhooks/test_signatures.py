"""Signatures, by the cases that the libraries of the Standard Webhooks specification publish."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.worker.webhooks.receiver import SECRET
from worker.config.settings import BadSettings
from worker.webhooks.outbox import Delivery
from worker.webhooks.receivers import check_secret
from worker.webhooks.tasks import signed_headers

#: The example of the specification's libraries.
_DELIVERY = Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", "one", "", b'{"test": 2432232314}', "id")
_SIGNED_AT, _SIGNATURE = 1614265330, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#: A signature of something else, as the libraries' tests have it.
_OTHER = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
_NEW_SECRET = "whsec_" + base64.b64encode(b"n" * 24).decode()
Headers = dict[str, str]


def _headers(late_s: float = 0, secret: str = SECRET) -> Headers:
    return signed_headers(_DELIVERY, secret, datetime.now(UTC) - timedelta(seconds=late_s))


def _without(name: str) -> Callable[[Headers], Headers]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


def _with(name: str, value: str) -> Callable[[Headers], Headers]:
    return lambda headers: headers | {name: value.format(headers[name])}


def test_the_example_of_the_specification():
    headers = signed_headers(_DELIVERY, SECRET, datetime.fromtimestamp(_SIGNED_AT, UTC))
    assert headers["webhook-id"] == _DELIVERY.id
    assert headers["webhook-timestamp"] == str(_SIGNED_AT)
    assert headers["webhook-signature"] == _SIGNATURE
    assert (headers["Content-Type"], headers["User-Agent"]) == ("application/json", "storage-api")


@pytest.mark.parametrize("seconds", [0.0, 0.999999])
def test_a_signature_follows_the_specification(seconds: float):
    delivery = Delivery("msg_1", "one", "", '{"type": "job.failed", "data": {"name": "Zürich 🦄"}}'.encode(), "id")
    moment = datetime.fromtimestamp(_SIGNED_AT + seconds, UTC)
    signed = f"{delivery.id}.{_SIGNED_AT}.".encode() + delivery.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert signed_headers(delivery, SECRET, moment)["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers,
        _with("webhook-signature", f"v1,{_OTHER} v2,{_OTHER} {{}} v1,{_OTHER}"),
        lambda headers: {key.upper(): value for key, value in headers.items()},
    ],
    ids=["as sent", "among several signatures", "names in capitals"],
)
@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")], ids=["prefix", "no prefix"])
def test_valid_requests_are_verified(change: Callable[[Headers], Headers], secret: str):
    assert Webhook(secret).verify(_DELIVERY.body, change(_headers())) == json.loads(_DELIVERY.body)


@pytest.mark.parametrize(
    "change",
    [
        _without("webhook-id"),
        _without("webhook-timestamp"),
        _without("webhook-signature"),
        _with("webhook-id", "msg_other"),
        _with("webhook-timestamp", "hello"),
        _with("webhook-timestamp", "{}0"),
        _with("webhook-signature", f"v1,{_OTHER}"),
        _with("webhook-signature", "v1,"),
        _with("webhook-signature", f"v1,{_OTHER} v2,{_OTHER}"),
        lambda headers: headers | {"webhook-signature": "v2" + headers["webhook-signature"].removeprefix("v1")},
        lambda _: _headers(late_s=301),
        lambda _: _headers(late_s=-302),
        lambda _: _headers(secret=_NEW_SECRET),
    ],
    ids=[
        "no id", "no timestamp", "no signature", "another id", "timestamp is no number", "another timestamp",
        "another signature", "empty signature", "several, all wrong", "another version", "too old", "too new",
        "another secret",
    ],
)  # fmt: skip
def test_invalid_requests_are_refused(change: Callable[[Headers], Headers]):
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(_DELIVERY.body, change(_headers()))


def test_a_body_that_was_changed_on_the_way_is_refused():
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(_DELIVERY.body + b" ", _headers())


def test_a_receiver_that_knows_either_secret_verifies_while_they_are_exchanged():
    headers = _headers(secret=check_secret(f"{_NEW_SECRET}\n{SECRET}", "it"))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, _NEW_SECRET):
        assert Webhook(secret).verify(_DELIVERY.body, headers) == json.loads(_DELIVERY.body)


@pytest.mark.parametrize("size_bytes", [24, 25, 26, 64])
def test_a_secret_of_24_to_64_bytes_may_be_written_without_padding(size_bytes: int):
    text = base64.b64encode(b"n" * size_bytes).decode()
    assert [check_secret(each, "it") for each in (text, text.rstrip("="))] == [text, text.rstrip("=")]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_QUJD", f"{SECRET} whsec_QUJD", "whsec_!", "A" * 31, "A" * 87])
def test_a_secret_that_the_specification_does_not_allow_is_refused(secret: str):
    with pytest.raises(BadSettings):
        check_secret(secret, "it")
