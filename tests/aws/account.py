"""An AWS account for the length of a run: queues with names of their own, every answer recorded, all deleted after."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

#: What every name begins with, so that leftovers are found and nothing else is touched.
PREFIX = "mcp-queue-test-"
#: Seconds until a queue that was created has to be there.
CREATE_LIMIT = 60
#: Longer texts of an answer are cut: bodies are a mebibyte.
_LONGEST = 300
_KEPT_HEADERS = ("content-type", "x-amzn-query-error", "x-amzn-errortype")


@dataclass
class Recording:
    """What was answered, by check."""

    check: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def note(self, event_name: str, response_dict: Mapping[str, Any] | None = None, **_: object) -> None:
        """Keep an answer: every error, and the first success of an operation in each check."""
        operation = event_name.rpartition(".")[2]
        self.requests[self.check] += 1
        if response_dict is None:  # there was no answer
            return
        key = (self.check, operation)
        if response_dict["status_code"] == 200 and key in self._seen:
            return
        self._seen.add(key)
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        self.answers.append(
            {
                "check": self.check,
                "operation": operation,
                "status": response_dict["status_code"],
                "headers": {name: headers[name] for name in _KEPT_HEADERS if name in headers},
                "body": _cut(json.loads(response_dict["body"] or b"{}")),
            }
        )


class Account:
    """The account that the environment names."""

    def __init__(self) -> None:
        """Find credentials and region by AWS's own chain.

        Raises:
            BotoCoreError: there are none.

        """
        region = ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
        self._session = botocore.session.Session({"region": region})
        self.region = self._session.get_config_variable("region")
        self.run = f"{PREFIX}{uuid4().hex[:8]}-"
        self.recording = Recording()
        self.sqs = self.client()
        self.number = "unknown"
        self._names: list[str] = []

    def client(self, *, tries: int = 3, query_mode: bool = True) -> Any:
        """Return a client of SQS whose answers are recorded; without ``query_mode`` it does not ask for older codes."""
        config = Config(retries={"mode": "standard", "total_max_attempts": tries}, max_pool_connections=40)
        client = self._session.create_client("sqs", region_name=self.region, config=config)
        client.meta.events.register("response-received.sqs", self.recording.note)
        if not query_mode:
            client.meta.events.register("before-call.sqs", _ask_for_no_older_codes)
        return client

    def credentials(self) -> bool:
        """Whether the chain finds credentials."""
        return self._session.get_credentials() is not None

    def name(self, name: str) -> str:
        """Return the name of a queue of this run, which is deleted at the end whoever creates it."""
        full = f"{self.run}{name}"
        self._names.append(full)
        return full

    def create(self, name: str, **attributes: str) -> str:
        """Create a queue; return its URL once the queue is there."""
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        url = str(self.sqs.create_queue(QueueName=self.name(name), Attributes=attributes)["QueueUrl"])
        if "amazonaws" in self.sqs.meta.endpoint_url:
            time.sleep(1)  # the API reference of CreateQueue asks for it
        end = time.monotonic() + CREATE_LIMIT
        while True:
            try:
                self.arn(url)
            except ClientError as error:
                if not _is_missing(error) or time.monotonic() > end:
                    raise
                time.sleep(1)
            else:
                return url

    def arn(self, url: str) -> str:
        """Return a queue's ARN, and learn the account's number from it."""
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = str(answer["Attributes"]["QueueArn"])
        self.number = arn.split(":")[4]
        return arn

    def receive(self, url: str, lease: int = 30, wait: int = 20) -> list[dict[str, Any]]:
        """Receive up to ten messages."""
        answer = self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=lease, WaitTimeSeconds=wait
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def receive_one(self, url: str, lease: int = 30) -> dict[str, Any]:
        """Receive the one message of a queue, in a few polls where the first finds nothing."""
        for _ in range(3):
            if messages := self.receive(url, lease):
                return messages[0]
        message = f"no message came from {url}"
        raise AssertionError(message)

    def delete_everything(self) -> list[str]:
        """Delete the queues of this run; return the names of those that may still be there."""
        self.recording.check = "clean up"
        left = []
        for name in self._names:
            try:
                self.sqs.delete_queue(QueueUrl=self.sqs.get_queue_url(QueueName=name)["QueueUrl"])
            except ClientError as error:
                if not _is_missing(error):
                    left.append(name)
            except BotoCoreError:
                left.append(name)
        return left

    def written_answers(self) -> str:
        """Return the recorded answers as JSON, without the account's number and this run's names."""
        text = json.dumps(self.recording.answers, indent=1, sort_keys=True, ensure_ascii=False)
        return text.replace(self.number, "111122223333").replace(self.run, PREFIX) + "\n"


def _is_missing(error: ClientError) -> bool:
    described = error.response["Error"]
    return "NonExistentQueue" in str(described.get("Code")) or "QueueDoesNotExist" in str(described)


def _ask_for_no_older_codes(params: Mapping[str, Any], **_: object) -> None:
    params["headers"].pop("x-amzn-query-mode", None)


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_cut(one) for one in value]
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
