"""Signs callbacks by Standard Webhooks."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mcp_queue.domain.callbacks.signatures import (
    SignatureScheme,
    SigningSecret,
    parse_secret,
    signature_headers,
    signed_content,
)


class CallbackSigner:
    """Signs with every active secret, so that receivers can change over one at a time."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Parse ``secrets``.

        Raises:
            ValueError: one of them is no signing secret; the message does not show it.

        """
        parsed = [parse_secret(text) for text in secrets]
        self._signatures = [(secret.scheme, _signature_function(secret)) for secret in parsed]

    def headers(self, message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
        """Return the signature headers of a request; none without a secret."""
        if not self._signatures:
            return {}
        content = signed_content(message_id, sent_at, body)
        signatures = ((scheme, sign(content)) for scheme, sign in self._signatures)
        return signature_headers(message_id, sent_at, signatures)


def _signature_function(secret: SigningSecret) -> Callable[[bytes], bytes]:
    if secret.scheme is SignatureScheme.HMAC_SHA256:
        return lambda content: hmac.digest(secret.key, content, hashlib.sha256)
    key = Ed25519PrivateKey.from_private_bytes(secret.key)
    if secret.public_key not in {None, key.public_key().public_bytes_raw()}:
        raise ValueError("the two halves of a whsk_ secret do not belong together")
    return key.sign
