"""Signatures that receivers verify with the public libraries."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.callbacks.signing import CallbackSigner
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.ports import CallbackRequest
from mcp_queue.testing import FakeClock
from tests.support.http.callbacks import LOOPBACK, a_request
from tests.support.http.receiver import ReceivedRequest, Receiver
from tests.support.metrics import CountingMetrics

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
OTHER = "whsec_" + base64.b64encode(b"x" * 32).decode()
SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
ASYMMETRIC = "whsk_" + base64.b64encode(SEED + PUBLIC).decode()


async def delivered(receiver: Receiver, secrets: Sequence[str], request: CallbackRequest) -> ReceivedRequest:
    """Send ``request`` with the time of the machine, since receivers compare it with theirs."""
    async with AiohttpCallbackSender(LOOPBACK, SystemClock(), CountingMetrics(), secrets=secrets) as sender:
        await sender.send(request)
    return receiver.requests[-1]


def verified(secret: str, arrived: ReceivedRequest) -> object:
    """Check the signature as a receiver does."""
    return Webhook(secret).verify(arrived.body, dict(arrived.headers))


async def test_a_receiver_verifies_an_hmac_signature(receiver: Receiver) -> None:
    """By the reference library."""
    request = a_request(receiver.url(), body=b'{"id":"1"}', signed_as="1")

    arrived = await delivered(receiver, [OLD], request)

    assert verified(OLD, arrived) == {"id": "1"}
    assert arrived.headers["webhook-id"] == "1"
    with pytest.raises(WebhookVerificationError):
        verified(OTHER, arrived)


async def test_every_active_secret_signs(receiver: Receiver) -> None:
    """While secrets are rotated, receivers know the old one or the new one."""
    arrived = await delivered(receiver, [OLD, NEW], a_request(receiver.url(), signed_as="1"))

    assert verified(OLD, arrived) == verified(NEW, arrived) == {}
    assert arrived.headers["webhook-signature"].count("v1,") == 2


async def test_a_receiver_verifies_an_ed25519_signature(receiver: Receiver) -> None:
    """With the public key alone."""
    arrived = await delivered(receiver, [ASYMMETRIC], a_request(receiver.url(), signed_as="1"))

    scheme, _, signature = arrived.headers["webhook-signature"].partition(",")
    content = f"1.{arrived.headers['webhook-timestamp']}.{arrived.body}".encode()
    assert scheme == "v1a"
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(base64.b64decode(signature), content)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(PUBLIC).verify(base64.b64decode(signature), content + b" ")


async def test_both_schemes_stand_side_by_side(receiver: Receiver) -> None:
    """A receiver reads past the one it does not know."""
    arrived = await delivered(receiver, [ASYMMETRIC, OLD], a_request(receiver.url(), signed_as="1"))

    assert verified(OLD, arrived) == {}


async def test_a_routes_own_secrets_replace_the_configured_ones(receiver: Receiver) -> None:
    """Each receiver has its own; an empty list is no signature."""
    own = a_request(receiver.url(), signed_as="1", secrets=[OTHER])
    unsigned = a_request(receiver.url(), signed_as="1", secrets=[])

    arrived = await delivered(receiver, [OLD], own)
    assert verified(OTHER, arrived) == {}
    with pytest.raises(WebhookVerificationError):
        verified(OLD, arrived)
    assert "webhook-signature" not in (await delivered(receiver, [OLD], unsigned)).headers


async def test_without_a_secret_there_is_no_signature_header(receiver: Receiver) -> None:
    """Nor where the request is not to be signed."""
    unsigned = await delivered(receiver, [], a_request(receiver.url(), signed_as="1"))
    by_choice = await delivered(receiver, [OLD], a_request(receiver.url()))

    assert not any(name.startswith("webhook-") for name in (*unsigned.headers, *by_choice.headers))


def test_the_reference_librarys_own_example_is_reproduced() -> None:
    """Its message and secret give its signature."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent_at = datetime.fromtimestamp(1614265330, UTC)
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    headers = CallbackSigner([secret]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at, b'{"test": 2432232314}')

    assert expected == headers["webhook-signature"]


def test_halves_of_different_keys_are_refused() -> None:
    """Receivers would verify with a key that never signs."""
    mixed = "whsk_" + base64.b64encode(SEED + bytes(32)).decode()

    with pytest.raises(ValueError, match="do not belong together"):
        CallbackSigner([mixed])


def test_a_wrong_secret_stops_the_start() -> None:
    """Before the first task."""
    with pytest.raises(ValueError, match="starts with whsec_ or whsk_"):
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics(), secrets=["hunter2"])
