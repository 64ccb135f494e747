"""Signatures of callbacks as Standard Webhooks 1.0 defines them, without the cryptography.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote


class SignatureScheme(StrEnum):
    """How a secret signs; the value stands before each signature."""

    HMAC_SHA256 = "v1"
    ED25519 = "v1a"


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A parsed secret. ``key`` is the HMAC key, or the 32 bytes seed of the ed25519 key."""

    scheme: SignatureScheme
    key: bytes = field(repr=False)
    public_key: bytes | None = field(default=None, repr=False)  #: what the secret says its public half is


_MIN_HMAC_KEY, _MAX_HMAC_KEY = 24, 64
_SEED, _SEED_AND_PUBLIC_KEY = 32, 64


def parse_secret(text: str) -> SigningSecret:
    """Read ``whsec_`` and 24 to 64 bytes, or ``whsk_`` and an ed25519 seed, alone or with its public key; in base64.

    Raises:
        ValueError: it is neither. The message never shows the secret.

    """
    if text.startswith("whsec_"):
        key = _decode(text.removeprefix("whsec_"))
        if not _MIN_HMAC_KEY <= len(key) <= _MAX_HMAC_KEY:
            message = f"a whsec_ secret has {_MIN_HMAC_KEY} to {_MAX_HMAC_KEY} bytes, this one has {len(key)}"
            raise ValueError(message)
        return SigningSecret(SignatureScheme.HMAC_SHA256, key)
    if text.startswith("whsk_"):
        pair = _decode(text.removeprefix("whsk_"))
        if len(pair) not in {_SEED, _SEED_AND_PUBLIC_KEY}:
            message = f"a whsk_ secret has {_SEED} or {_SEED_AND_PUBLIC_KEY} bytes, this one has {len(pair)}"
            raise ValueError(message)
        return SigningSecret(SignatureScheme.ED25519, pair[:_SEED], pair[_SEED:] or None)
    raise ValueError("a signing secret starts with whsec_ or whsk_")


def _decode(text: str) -> bytes:
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # Not chained: the cause could show a part of the secret.
        raise ValueError("a signing secret continues in base64 after its prefix") from None


def webhook_id(task_id: str) -> str:
    """Return ``task_id`` as a header carries it.

    Ids of other producers may hold anything. A full stop would let two messages have one signed content, so the
    specification forbids it.
    """
    return quote(task_id, safe="").replace(".", "%2E")


def signed_content(message_id: str, sent_at: datetime, body: bytes) -> bytes:
    """Return the bytes that every signature covers."""
    return f"{message_id}.{_timestamp(sent_at)}.".encode() + body


def signature_headers(
    message_id: str, sent_at: datetime, signatures: Iterable[tuple[SignatureScheme, bytes]]
) -> dict[str, str]:
    """Return the three headers; a receiver takes the request if any one of the signatures is right."""
    written = (f"{scheme},{base64.b64encode(signature).decode()}" for scheme, signature in signatures)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(_timestamp(sent_at)),
        "webhook-signature": " ".join(written),
    }


def _timestamp(sent_at: datetime) -> int:
    return int(sent_at.timestamp())
