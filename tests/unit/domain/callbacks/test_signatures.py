"""Secrets and headers of Standard Webhooks."""

import base64
from datetime import UTC, datetime

import pytest

from mcp_queue.domain.callbacks.signatures import (
    SignatureScheme,
    SigningSecret,
    parse_secret,
    signature_headers,
    signed_content,
    webhook_id,
)

SENT_AT = datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def encoded(length: int) -> str:
    """Return ``length`` bytes in base64."""
    return base64.b64encode(bytes(range(length))).decode()


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_whsec_secret_is_an_hmac_key(length: int) -> None:
    """24 to 64 bytes, as the specification says."""
    expected = SigningSecret(SignatureScheme.HMAC_SHA256, bytes(range(length)))

    assert expected == parse_secret(f"whsec_{encoded(length)}")


def test_a_secret_may_leave_out_its_padding() -> None:
    """Receivers' libraries take both forms."""
    assert bytes(range(25)) == parse_secret("whsec_" + encoded(25).rstrip("=")).key


def test_a_whsk_secret_is_a_seed_alone_or_with_its_public_key() -> None:
    """Both forms are in use."""
    seed, public = bytes(range(32)), bytes(range(32, 64))

    assert SigningSecret(SignatureScheme.ED25519, seed) == parse_secret(f"whsk_{encoded(32)}")
    assert SigningSecret(SignatureScheme.ED25519, seed, public) == parse_secret(f"whsk_{encoded(64)}")


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (f"whsec_{encoded(23)}", "24 to 64 bytes, this one has 23"),
        (f"whsec_{encoded(65)}", "24 to 64 bytes, this one has 65"),
        (f"whsk_{encoded(31)}", "32 or 64 bytes, this one has 31"),
        ("whsec_", "this one has 0"),
        ("whsec_not*base64*at*all", "base64"),
        ("whsec_ünïcödé", "base64"),
        ("whsec_abcde", "base64"),
        (encoded(32), "starts with whsec_ or whsk_"),
        (f"whpk_{encoded(32)}", "starts with whsec_ or whsk_"),
        ("", "starts with whsec_ or whsk_"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str, reason: str) -> None:
    """The message ends in logs; neither it nor its cause may hold the secret."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_secret(secret)

    assert len(secret) < 8 or secret[6:] not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_secret_does_not_show_its_key() -> None:
    """A secret that is logged by mistake is not told."""
    assert "key" not in repr(parse_secret(f"whsk_{encoded(64)}"))


def test_the_signed_content_is_id_timestamp_and_body() -> None:
    """Whole seconds, joined by full stops."""
    assert b'abc.1767268800.{"a":1}' == signed_content("abc", SENT_AT, b'{"a":1}')


def test_several_signatures_stand_side_by_side() -> None:
    """A receiver that knows one of them is content."""
    expected = {
        "webhook-id": "abc",
        "webhook-timestamp": "1767268800",
        "webhook-signature": "v1,AAE= v1a,Ag==",
    }

    signatures = [(SignatureScheme.HMAC_SHA256, b"\x00\x01"), (SignatureScheme.ED25519, b"\x02")]

    assert expected == signature_headers("abc", SENT_AT, signatures)


@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("0198c0de-0000-7000-8000-000000000000", "0198c0de-0000-7000-8000-000000000000"),
        ("order.17", "order%2E17"),
        ("a\r\nb c%ü", "a%0D%0Ab%20c%25%C3%BC"),
    ],
)
def test_an_id_can_neither_break_a_header_nor_shift_the_signed_content(task_id: str, expected: str) -> None:
    """Ids of other producers may hold anything."""
    assert expected == webhook_id(task_id)
