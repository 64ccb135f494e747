"""Every error of the product, in one tree that branches by what the caller can do.

QueueError
├── InvalidRequestError         change the request
│   ├── MalformedJsonError
│   │   └── TooManyValuesError
│   ├── InvalidCursorError
│   └── InvalidTaskError
│       ├── DelayNotSupportedError
│       └── TaskTooLargeError
├── NotFoundError               name something that exists
│   ├── QueueNotFoundError
│   └── TaskNotFoundError
├── ConflictError               look at the present state first
│   ├── TaskAlreadyEndedError
│   ├── IdempotencyInProgressError
│   └── IdempotencyKeyReusedError
├── TryLaterError               the same request may succeed later
│   ├── QueueFullError
│   ├── RateLimitedError
│   ├── OverloadedError
│   ├── ResourcesExhaustedError
│   └── BackendUnavailableError
│       ├── BackendRefusedError
│       ├── PayloadDeniedError
│       └── LedgerUnavailableError
├── NotSupportedError           this set-up cannot do that
│   ├── LedgerDisabledError
│   └── LedgerSchemaError
├── ConfigError                 correct the configuration
├── QueueSetupError             correct the configuration, or the queue itself
├── VisibilityTimeoutError      the lease is lost: touch the queue no more
├── DeliverySettledError        a defect of the caller: a delivery ends once
└── TaskFailedError             what a handler or a callback ends with
    ├── RetryableError          another attempt may succeed
    │   ├── AttemptTimeoutError
    │   └── CallbackFailedError
    └── PermanentError          no further attempt can succeed
        ├── UnknownTaskTypeError
        ├── InvalidPayloadError
        ├── RefusedAddressError
        └── CallbackRejectedError

``gateway/problems.py`` knows the HTTP status of each.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

#: The longest wait that an attempt may ask for: as far ahead as a client may schedule a task.
_LONGEST_DELAY = timedelta(days=365)


class FieldError(NamedTuple):
    """One wrong member of a request: where it stands, such as ``("body", "payload", "text")``, and what is wrong."""

    loc: tuple[str | int, ...]
    msg: str


class QueueError(Exception):
    """Something about a queue or a task went wrong."""

    def __init__(self, message: str | None = None) -> None:
        """Say ``message``, or the first line of the class's docstring where there is none."""
        super().__init__(message or (self.__doc__ or type(self).__name__).split("\n")[0])


class InvalidRequestError(QueueError):
    """The request cannot be accepted as it is."""


class MalformedJsonError(InvalidRequestError):
    """The text is not JSON, or JSON that systems do not agree on."""


class TooManyValuesError(MalformedJsonError):
    """The document has more values than are read at a time."""


class InvalidCursorError(InvalidRequestError):
    """There is no such cursor."""


class InvalidTaskError(InvalidRequestError):
    """The task cannot be accepted as it is.

    ``errors`` names each wrong member.
    """

    def __init__(self, message: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        """Keep which members were wrong."""
        super().__init__(message)
        self.errors = errors


class DelayNotSupportedError(InvalidTaskError):
    """This queue cannot hold a task for that long."""


class TaskTooLargeError(InvalidTaskError):
    """The task is larger than its queue takes."""

    def __init__(self, limit: int, actual: int) -> None:
        """Name both sizes, in bytes."""
        super().__init__(f"the task has {actual} bytes, the queue takes {limit}")
        self.limit = limit
        self.actual = actual


class NotFoundError(QueueError):
    """There is no such thing."""


class QueueNotFoundError(NotFoundError):
    """There is no queue of that name."""

    def __init__(self, name: str) -> None:
        """Name the queue that was asked for."""
        super().__init__(f"there is no queue named {name!r}")
        self.name = name


class TaskNotFoundError(NotFoundError):
    """There is no task of that id."""


class ConflictError(QueueError):
    """The request does not fit the present state."""


class TaskAlreadyEndedError(ConflictError):
    """The task has already ended."""


class IdempotencyInProgressError(ConflictError):
    """A request with this idempotency key is still under way."""

    def __init__(self, message: str | None = None, retry_after: timedelta = timedelta(seconds=1)) -> None:
        """Say when the claim of the other request ends."""
        super().__init__(message)
        self.retry_after = retry_after


class IdempotencyKeyReusedError(ConflictError):
    """This idempotency key was used with another request."""


class TryLaterError(QueueError):
    """Not now: the same request may succeed later."""

    def __init__(self, message: str | None = None, retry_after: timedelta = timedelta(seconds=1)) -> None:
        """Say how long to wait before the next try."""
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(TryLaterError):
    """The queue holds as many tasks as it may."""


class RateLimitedError(TryLaterError):
    """Too many requests in too short a time."""


class OverloadedError(TryLaterError):
    """Too much is under way at once."""


class ResourcesExhaustedError(TryLaterError):
    """This process lacks memory, file descriptors or another resource of its own at the moment.

    An attempt that ends with it is deferred: it says nothing about the task or its destination, and is not counted.
    """

    def __init__(self, message: str | None = None, retry_after: timedelta = timedelta(seconds=5)) -> None:
        """Say how long to wait before the next try."""
        super().__init__(message, retry_after)


class BackendUnavailableError(TryLaterError):
    """The queue backend does not answer."""


class BackendRefusedError(BackendUnavailableError):
    """The queue backend answers, but cannot use this queue."""


class PayloadDeniedError(BackendUnavailableError):
    """The payload store refuses to return a body: rights are missing, or the body is, which it may not say."""


class LedgerUnavailableError(BackendUnavailableError):
    """The ledger does not answer."""


class NotSupportedError(QueueError):
    """This set-up cannot do that."""


class LedgerDisabledError(NotSupportedError):
    """This needs the ledger, and none is configured."""


class LedgerSchemaError(NotSupportedError):
    """The ledger's tables are not those that this version of the program works with, or its file is none of ours."""


class ConfigError(QueueError):
    """The configuration cannot be used. Each of ``problems`` is one readable line that begins with the key."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep every line."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class QueueSetupError(QueueError):
    """A configured queue cannot be used."""


class VisibilityTimeoutError(QueueError):
    """The lease on this delivery is lost; the message may already be with another consumer."""


class DeliverySettledError(QueueError):
    """This delivery was settled before."""


class TaskFailedError(QueueError):
    """An attempt failed. ``response_status`` is the HTTP status of the callback's answer, where there was one."""

    response_status: int | None = None


class RetryableError(TaskFailedError):
    """The attempt failed, and another one may succeed.

    ``delay`` replaces the backoff's delay where it is given.
    """

    def __init__(self, message: str | None = None, delay: timedelta | None = None) -> None:
        """Ask for another attempt, ``delay`` from now: at least at once, at most in a year."""
        super().__init__(message)
        # Here, where a wrong one is a failure of the handler that asks for it, and can be retried.
        self.delay = None if delay is None else min(max(delay, timedelta(0)), _LONGEST_DELAY)


class AttemptTimeoutError(RetryableError):
    """The attempt took longer than its time limit."""


class CallbackFailedError(RetryableError):
    """The callback did not answer, or answered that it cannot at the moment."""

    def __init__(
        self, message: str | None = None, delay: timedelta | None = None, response_status: int | None = None
    ) -> None:
        """Keep the status and the callback's own ``Retry-After``."""
        super().__init__(message, delay)
        self.response_status = response_status


class PermanentError(TaskFailedError):
    """The attempt failed, and every further one would."""


class UnknownTaskTypeError(PermanentError):
    """No handler and no route knows this task type."""


class InvalidPayloadError(PermanentError):
    """The payload does not fit its task type."""


class RefusedAddressError(PermanentError):
    """The callback's address is not one that this service may call."""


class CallbackRejectedError(PermanentError):
    """The callback answered that it will never take this task."""

    def __init__(self, message: str | None = None, response_status: int | None = None) -> None:
        """Keep the status of the answer."""
        super().__init__(message)
        self.response_status = response_status
