"""How objects are encrypted."""

from app.adapters.s3 import Encryption


def test_objects_are_encrypted_by_s3_itself_unless_told_otherwise() -> None:
    """No key has to be configured."""
    assert {"ServerSideEncryption": "AES256"} == Encryption().parameters


def test_a_key_of_ones_own_is_named() -> None:
    """Without one it is the account's own key for S3."""
    assert {"ServerSideEncryption": "aws:kms"} == Encryption("aws:kms").parameters
    expected = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/tasks"}
    assert expected == Encryption("aws:kms", "alias/tasks").parameters
