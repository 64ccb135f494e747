"""What the real SQS was recorded to answer: a table that adapters are held against.

Source: the answers that LocalStack's developers recorded against AWS in 2024 and 2025 (their snapshot file for SQS,
read in March 2026). Over the JSON protocol the body's ``__type`` names the shape. The older code comes in a header, and
only for callers that ask for it; botocore then shows the older code. Both spellings must therefore be understood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidTaskError,
    QueueError,
    RateLimitedError,
    VisibilityTimeoutError,
)
from tests.support.aws.wire import SqsError

_QUERY = "AWS.SimpleQueueService."


@dataclass(frozen=True)
class Recorded:
    """One recorded answer, and what it has to become. ``handle``: the answer to a call that names a receipt handle."""

    condition: str
    error: SqsError
    becomes: type[QueueError]
    outcome: str
    handle: bool = False

    @property
    def spellings(self) -> Sequence[SqsError]:
        """The error as it looks to a caller with the header, and to one without."""
        return self.error, replace(self.error, code=self.error.shape)


NO_QUEUE: Final = Recorded(
    "the queue does not exist",
    SqsError("QueueDoesNotExist", f"{_QUERY}NonExistentQueue", 400, "The specified queue does not exist."),
    BackendUnavailableError,
    "operator",
)
PURGED_TWICE: Final = Recorded(
    "a second purge within 60 s",
    SqsError(
        "PurgeQueueInProgress",
        f"{_QUERY}PurgeQueueInProgress",
        403,
        "Only one PurgeQueue operation on work is allowed every 60 seconds.",
    ),
    RateLimitedError,
    "throttled",
)
EXPIRED_HANDLE: Final = Recorded(
    "delete of a FIFO message with an expired handle",
    SqsError(
        "InvalidParameterValueException",
        "InvalidParameterValue",
        400,
        "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    ),
    VisibilityTimeoutError,
    "lease_lost",
    handle=True,
)
TOO_LONG_ENTRY: Final = Recorded(
    "one entry of a batch over MaximumMessageSize",
    SqsError(
        "InvalidParameterValueException",
        "InvalidParameterValue",
        400,
        "One or more parameters cannot be validated. Reason: Message must be shorter than 1048576 bytes.",
    ),
    InvalidTaskError,
    "refused",
)
RECORDED: Final = (
    NO_QUEUE,
    PURGED_TWICE,
    Recorded(
        "more than 10 entries",
        SqsError(
            "TooManyEntriesInBatchRequest",
            f"{_QUERY}TooManyEntriesInBatchRequest",
            400,
            "Maximum number of entries per request are 10. You have sent 20.",
        ),
        QueueError,
        "defect",
    ),
    Recorded(
        "a batch over 1,048,576 bytes",
        SqsError(
            "BatchRequestTooLong",
            f"{_QUERY}BatchRequestTooLong",
            400,
            "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.",
        ),
        QueueError,
        "defect",
    ),
    Recorded(
        "a bad batch entry id",
        SqsError(
            "InvalidBatchEntryId",
            f"{_QUERY}InvalidBatchEntryId",
            400,
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores.",
        ),
        QueueError,
        "defect",
    ),
    EXPIRED_HANDLE,
    Recorded(
        "a delay of one message on a FIFO queue",
        SqsError(
            "InvalidParameterValueException",
            "InvalidParameterValue",
            400,
            "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid"
            " for this queue type.",
        ),
        InvalidTaskError,
        "refused",
    ),
    Recorded(
        "a bad deduplication id",
        SqsError(
            "InvalidParameterValueException",
            "InvalidParameterValue",
            400,
            "Value é for parameter MessageDeduplicationId is invalid.",
        ),
        InvalidTaskError,
        "refused",
    ),
    Recorded(
        "a FIFO message without a group, or an empty body",
        SqsError(
            "MissingRequiredParameterException",
            "MissingParameter",
            400,
            "The request must contain the parameter MessageGroupId.",
        ),
        QueueError,
        "defect",
    ),
    Recorded(
        "a queue of that name with other attributes",
        SqsError(
            "QueueNameExists",
            "QueueAlreadyExists",
            400,
            "A queue already exists with the same name and a different value for attribute VisibilityTimeout",
        ),
        ConflictError,
        "refused",
    ),
    Recorded(
        "a FIFO attribute on a standard queue",
        SqsError("InvalidAttributeName", "InvalidAttributeName", 400, "Unknown Attribute FifoQueue."),
        QueueError,
        "defect",
    ),
    Recorded(
        "a change of a queue's type",
        SqsError("InvalidAttributeValue", "InvalidAttributeValue", 400, "Invalid value for the parameter FifoQueue."),
        QueueError,
        "defect",
    ),
)
