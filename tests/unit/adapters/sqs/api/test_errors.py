"""What SQS's errors mean."""

from datetime import timedelta

import pytest
from botocore.loaders import Loader

from mcp_queue.adapters.sqs.api.errors import (
    ERROR_MAPPINGS,
    ThrottledError,
    canonical,
    error_of_entry,
    error_of_response,
    mapping_of,
    translated,
)
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    InvalidTaskError,
    QueueError,
    RateLimitedError,
    VisibilityTimeoutError,
)
from tests.support.sqs.strict_server import client_error


def modelled_codes() -> list[str]:
    """Return every error that the service's own model names."""
    model = Loader().load_service_model("sqs", "service-2")
    return sorted(name for name, shape in model["shapes"].items() if shape.get("exception"))


@pytest.mark.parametrize("code", modelled_codes())
def test_every_error_of_the_service_has_a_meaning(code: str) -> None:
    """No error that SQS documents is left to chance."""
    assert code in ERROR_MAPPINGS
    assert issubclass(ERROR_MAPPINGS[code].error, QueueError)


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
        ("AWS.SimpleQueueService.PurgeQueueInProgress", "PurgeQueueInProgress"),
        ("AWS.SimpleQueueService.MessageNotInflight", "MessageNotInflight"),
        ("AWS.SimpleQueueService.BatchRequestTooLong", "BatchRequestTooLong"),
        ("AWS.SimpleQueueService.UnsupportedOperation", "UnsupportedOperation"),
        ("QueueAlreadyExists", "QueueNameExists"),
        ("KMS.ThrottlingException", "KmsThrottled"),
        ("KMS.AccessDeniedException", "KmsAccessDenied"),
        ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
        ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
    ],
)
def test_both_spellings_of_a_code_are_one(old: str, code: str) -> None:
    """The query protocol's names, and names with their namespace, mean what the JSON protocol's do."""
    assert code == canonical(old)


@pytest.mark.parametrize(
    "code",
    [
        "ReceiptHandleIsInvalid",
        "InvalidIdFormat",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
    ],
)
def test_a_handle_that_is_no_longer_good_is_a_lost_lease(code: str) -> None:
    """However SQS says it, and it says it in several ways."""
    message = "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    assert isinstance(translated(code, message, of_handle=True), VisibilityTimeoutError)


def test_a_refused_parameter_of_a_send_is_the_tasks_fault() -> None:
    """Where no receipt handle is concerned the caller can change something."""
    assert isinstance(translated("InvalidParameterValue", "too long"), InvalidTaskError)


@pytest.mark.parametrize("code", ["KmsThrottled", "KMS.ThrottlingException", "OverLimit", "RequestThrottled"])
def test_throttling_is_to_be_tried_again(code: str) -> None:
    """Also what botocore itself does not try again."""
    assert isinstance(translated(code, "slow down"), ThrottledError)


@pytest.mark.parametrize("code", [code for code in modelled_codes() if code.startswith("Kms")])
def test_a_key_that_cannot_be_used_is_the_operators_concern(code: str) -> None:
    """The caller may try later, and an alert can be set on the outcome."""
    assert isinstance(translated(code, "no"), BackendUnavailableError)
    assert "kms" == mapping_of(code).outcome


def test_a_second_purge_says_when_to_come_back() -> None:
    """SQS purges a queue once in a minute."""
    error = translated("AWS.SimpleQueueService.PurgeQueueInProgress", "no")
    assert isinstance(error, RateLimitedError)
    assert timedelta(seconds=60) == error.retry_after


def test_an_unknown_refusal_is_the_operators_concern() -> None:
    """Missing permissions have many names; none of them is the fault of a task."""
    error, outcome = error_of_response(client_error("AccessDeniedException"))
    assert isinstance(error, BackendUnavailableError)
    assert not isinstance(error, ThrottledError)
    assert "operator" == outcome


def test_an_unknown_failure_of_the_service_is_to_be_tried_again() -> None:
    """A status of 500 or more says that it is nobody's fault here."""
    error, outcome = error_of_response(client_error("Mystery", status=503))
    assert isinstance(error, ThrottledError)
    assert "failed" == outcome


def test_an_error_keeps_the_words_of_the_service() -> None:
    """People read them in logs."""
    error, _ = error_of_response(client_error("QueueDoesNotExist", "The specified queue does not exist."))
    assert "SQS: QueueDoesNotExist: The specified queue does not exist." == str(error)


def test_an_entry_that_the_service_takes_the_blame_for_is_to_be_tried_again() -> None:
    """``SenderFault: false`` counts for more than the code."""
    error = error_of_entry({"Id": "0", "SenderFault": False, "Code": "InvalidParameterValue", "Message": "?"})
    assert isinstance(error, ThrottledError)


def test_an_entry_that_the_sender_is_to_blame_for_is_not_tried_again() -> None:
    """It would fail again."""
    error = error_of_entry({"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "no"})
    assert isinstance(error, InvalidTaskError)
