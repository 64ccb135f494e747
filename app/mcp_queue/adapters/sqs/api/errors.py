"""Maps the error codes of SQS to the product's errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from botocore.exceptions import ClientError

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidTaskError,
    NotFoundError,
    NotSupportedError,
    QueueError,
    RateLimitedError,
    VisibilityTimeoutError,
)


class ThrottledError(BackendUnavailableError):
    """SQS asked for a pause: the same call may succeed in a moment."""


class UnansweredError(BackendUnavailableError):
    """The call got no answer, so it may or may not have happened."""


class MissingQueueError(BackendUnavailableError):
    """SQS has no such queue, or hides it from these credentials."""


class DeletedRecentlyError(ConflictError):
    """A queue of this name was deleted within the last 60 s; SQS creates no other so soon."""


@dataclass(frozen=True, slots=True)
class ErrorMapping:
    """The error that a code becomes, and the outcome that its calls are counted under."""

    error: type[QueueError]
    outcome: str = "refused"


_LEASE_LOST = ErrorMapping(VisibilityTimeoutError, "lease_lost")
_THROTTLED = ErrorMapping(ThrottledError, "throttled")
# The caller of a task can do nothing about keys, permissions and missing queues: it may try later, and the operator
# is told by the outcome.
_KEYS = ErrorMapping(BackendUnavailableError, "kms")
_OPERATOR = ErrorMapping(BackendUnavailableError, "operator")
_FAILED = ErrorMapping(ThrottledError, "failed")
# No request causes these while this package keeps the limits.
_DEFECT = ErrorMapping(QueueError, "defect")
_UNSUPPORTED = ErrorMapping(NotSupportedError)

#: By the name of the error in the service's JSON protocol.
ERROR_MAPPINGS: Final[Mapping[str, ErrorMapping]] = {
    "BatchEntryIdsNotDistinct": _DEFECT,
    "BatchRequestTooLong": _DEFECT,
    "EmptyBatchRequest": _DEFECT,
    "InvalidAttributeName": _DEFECT,
    "InvalidAttributeValue": _DEFECT,
    "InvalidBatchEntryId": _DEFECT,
    "MissingParameter": _DEFECT,
    "TooManyEntriesInBatchRequest": _DEFECT,
    "InvalidAddress": _OPERATOR,
    "InvalidSecurity": _OPERATOR,
    "QueueDoesNotExist": ErrorMapping(MissingQueueError, "operator"),
    "InvalidIdFormat": _LEASE_LOST,
    "MessageNotInflight": _LEASE_LOST,
    "ReceiptHandleIsInvalid": _LEASE_LOST,
    "InvalidMessageContents": ErrorMapping(InvalidTaskError),
    "InvalidParameterValue": ErrorMapping(InvalidTaskError),
    "KmsAccessDenied": _KEYS,
    "KmsDisabled": _KEYS,
    "KmsInvalidKeyUsage": _KEYS,
    "KmsInvalidState": _KEYS,
    "KmsNotFound": _KEYS,
    "KmsOptInRequired": _KEYS,
    "KmsThrottled": ErrorMapping(ThrottledError, "kms"),
    "OverLimit": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "SlowDown": _THROTTLED,
    "ThrottledException": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "InternalError": _FAILED,
    "InternalFailure": _FAILED,
    "ServiceUnavailable": _FAILED,
    "PurgeQueueInProgress": ErrorMapping(RateLimitedError, "throttled"),
    "QueueDeletedRecently": ErrorMapping(DeletedRecentlyError),
    "QueueNameExists": ErrorMapping(ConflictError),
    "ResourceNotFoundException": ErrorMapping(NotFoundError),
    "UnsupportedOperation": _UNSUPPORTED,
    "UnknownOperationException": _UNSUPPORTED,
}

# SQS sends the spellings of the older query protocol beside the new ones, to those who ask for them.
_OLD_PREFIX = "AWS.SimpleQueueService."
_OLD_SPELLINGS: Final[Mapping[str, str]] = {
    "NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
    "KMS.AccessDeniedException": "KmsAccessDenied",
    "KMS.DisabledException": "KmsDisabled",
    "KMS.InvalidKeyUsageException": "KmsInvalidKeyUsage",
    "KMS.InvalidStateException": "KmsInvalidState",
    "KMS.NotFoundException": "KmsNotFound",
    "KMS.OptInRequired": "KmsOptInRequired",
    "KMS.ThrottlingException": "KmsThrottled",
    # These two are the newer spelling, of the JSON protocol, which is not in the service's model.
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
}
_SERVER_FAULT = 500
_PURGE_INTERVAL = timedelta(seconds=60)


def canonical(code: str) -> str:
    """Return ``code`` as the JSON protocol spells it."""
    name = code.rpartition("#")[2].removeprefix(_OLD_PREFIX)
    return _OLD_SPELLINGS.get(name, name)


def mapping_of(code: str, status: int = 400) -> ErrorMapping:
    """Return the mapping of ``code``; an unknown code is for the operator (permissions) or a failure of SQS."""
    return ERROR_MAPPINGS.get(canonical(code)) or (_FAILED if status >= _SERVER_FAULT else _OPERATOR)


def translated(code: str, message: str, *, status: int = 400, of_handle: bool = False) -> QueueError:
    """Return the error for a failed call or batch entry.

    ``of_handle``: an entry that names a receipt handle. Its other members are checked before, so that what SQS still
    finds wrong with a value is the handle (expired), or the 12 hours that a message can be hidden.
    """
    name = canonical(code)
    if of_handle and name == "InvalidParameterValue":
        return VisibilityTimeoutError(f"SQS: {message}")
    if name == "PurgeQueueInProgress":
        return RateLimitedError("SQS purges a queue once in 60 s", _PURGE_INTERVAL)
    return mapping_of(name, status).error(f"SQS: {name}: {message}")


def error_of_response(error: ClientError) -> tuple[QueueError, str]:
    """Return the error for an answer that botocore raised, and the outcome to count it under."""
    described = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    code, message = str(described.get("Code", "Unknown")), str(described.get("Message", ""))
    return translated(code, message, status=status), mapping_of(code, status).outcome


def error_of_entry(failed: Mapping[str, object], *, of_handle: bool = False) -> QueueError:
    """Return the error for one entry of a batch's ``Failed`` list.

    Where SQS takes the fault on itself, the entry may succeed in a moment, whatever its code.
    """
    code, message = str(failed.get("Code", "Unknown")), str(failed.get("Message", ""))
    error = translated(code, message, of_handle=of_handle)
    if failed.get("SenderFault") is False and isinstance(error, BackendUnavailableError | InvalidTaskError):
        return ThrottledError(str(error))
    return error
