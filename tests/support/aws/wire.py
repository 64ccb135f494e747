"""Requests and error answers of AWS as they travel: the JSON protocol of SQS, and the XML errors of S3."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

TARGET_PREFIX = "AmazonSQS."
CONTENT_TYPE = "application/x-amz-json-1.0"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class SqsError:
    """An error of SQS.

    ``shape`` is its name in the JSON protocol. ``code`` is its name in the query protocol, which SQS sends in the
    header ``x-amzn-query-error`` to callers that ask for it.
    """

    shape: str
    code: str
    status: int = 400
    message: str = "The request was refused."

    @property
    def fault(self) -> str:
        """``Sender``, or ``Receiver`` where the service takes the blame."""
        return "Receiver" if self.status >= 500 else "Sender"

    def saying(self, message: str) -> "SqsError":
        """Return the same error with another text."""
        return replace(self, message=message)

    def answer(self, *, query_error: bool = True) -> Answer:
        """Return the HTTP answer; ``query_error``: with the header of the older code."""
        headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": "00000000-0000-0000-0000-000000000000"}
        if query_error:
            headers["x-amzn-query-error"] = f"{self.code};{self.fault}"
        body = {"__type": f"com.amazonaws.sqs#{self.shape}", "message": self.message}
        return Answer(self.status, headers, json.dumps(body).encode())

    def entry(self, name: str) -> dict[str, Any]:
        """Return the ``Failed`` member for one entry of a batch call, with the code that SQS puts there."""
        return {"Id": name, "SenderFault": self.fault == "Sender", "Code": self.code, "Message": self.message}


def s3_error(code: str, status: int, message: str) -> Answer:
    """Return an error of S3."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml"}, text.encode())


@dataclass(frozen=True)
class SqsRequest:
    """A call of SQS in the JSON protocol."""

    operation: str
    parameters: Mapping[str, Any]

    @property
    def queue(self) -> str:
        """The queue's name, empty where the call names none."""
        url = str(self.parameters.get("QueueUrl", ""))
        return str(self.parameters.get("QueueName") or url.rpartition("/")[2])


def sqs_request(headers: Mapping[str, str], body: bytes) -> SqsRequest | None:
    """Return the call that a request makes, ``None`` where it is not one of SQS."""
    target = headers.get("X-Amz-Target", "")
    if not target.startswith(TARGET_PREFIX):
        return None
    return SqsRequest(target.removeprefix(TARGET_PREFIX), json.loads(body or b"{}"))
