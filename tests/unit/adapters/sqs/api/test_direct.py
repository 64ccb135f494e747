"""Calls past botocore: signed as it signs, and only where it would send in the same way."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from aiobotocore.credentials import AioCredentials
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from mcp_queue.adapters.sqs.api.direct import DirectTransport, Endpoint, SigV4Signer, endpoint_of
from mcp_queue.testing import FakeClock
from tests.support.clock import START

URL = "https://sqs.eu-central-1.amazonaws.com/"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-central-1/sqs/aws4_request, SignedHeaders=host, Signature=ab"
)


@dataclass(frozen=True)
class Prepared:
    """A request of botocore's."""

    url: str
    headers: Mapping[str, str | bytes]


class Answer:
    """A response as aiobotocore gives it."""

    def __init__(self, status_code: int, content: bytes) -> None:
        """Answer with ``content``."""
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        self._content = content

    @property
    async def content(self) -> bytes:
        """Return the body."""
        return self._content


class Connections:
    """Stands for aiobotocore's connections."""

    def __init__(self, outcome: Answer | Exception) -> None:
        """Answer every request with ``outcome``."""
        self.outcome = outcome
        self.requests: list[Any] = []

    async def send(self, request: Any) -> Answer:
        """Answer."""
        self.requests.append(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def direct(outcome: Answer | Exception) -> tuple[DirectTransport, Connections]:
    """Return direct calls whose requests end in ``outcome``."""
    connections = Connections(outcome)
    calls = DirectTransport(connections, AioCredentials("AKID", "secret"), FakeClock(START))  # type: ignore[arg-type]  # it stands for aiobotocore's
    calls.learn_endpoint(Prepared(URL, {"Authorization": AUTHORIZATION}))
    return calls, connections


class TestSigning:
    """Signature Version 4."""

    @pytest.mark.parametrize("token", [None, "a/session+token=="])
    @pytest.mark.parametrize("body", [b"{}", '{"MessageBody":"größe"}'.encode(), b"x" * 100_000])
    @pytest.mark.parametrize("url", [URL, "http://127.0.0.1:4566/"])
    @pytest.mark.parametrize("moment", [START, datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)])
    def test_a_call_is_signed_as_botocore_signs_it(
        self, monkeypatch: pytest.MonkeyPatch, token: str | None, body: bytes, url: str, moment: datetime
    ) -> None:
        """The same headers lead to the same signature."""
        credentials = ReadOnlyCredentials("AKID", "secret/Key", token)
        signer = SigV4Signer(Endpoint(url, "eu-central-1"))
        headers = signer.headers("AmazonSQS.SendMessageBatch", body, credentials, moment)
        unsigned = {name: value for name, value in headers.items() if name in ("content-type", "x-amz-target")}
        request = AWSRequest(method="POST", url=url, headers=unsigned, data=body)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
        SigV4Auth(credentials, "sqs", "eu-central-1").add_auth(request)
        assert request.headers["Authorization"] == headers["authorization"]
        assert request.headers["X-Amz-Date"] == headers["x-amz-date"]
        assert token == headers.get("x-amz-security-token")

    def test_new_credentials_and_new_days_have_new_keys(self) -> None:
        """A key is kept no longer than it is good."""
        signer = SigV4Signer(Endpoint(URL, "eu-central-1"))
        seen = {
            signer.headers("t", b"", ReadOnlyCredentials("AKID", secret, None), moment)["authorization"]
            for secret in ("one", "two")
            for moment in (START, START.replace(day=2))
        }
        assert 4 == len(seen)


class TestLearning:
    """Where botocore sends to."""

    def test_endpoint_and_region_are_those_of_a_signed_request(self) -> None:
        """Whatever they were resolved from."""
        expected = Endpoint(URL, "eu-central-1")
        assert expected == endpoint_of(Prepared(URL, {"Authorization": AUTHORIZATION.encode()}))
        assert "sqs.eu-central-1.amazonaws.com" == expected.host

    @pytest.mark.parametrize(
        ("url", "authorization"),
        [
            (f"{URL}path", AUTHORIZATION),
            (f"{URL}?query=1", AUTHORIZATION),
            ("https://user:secret@host/", AUTHORIZATION),
            (URL, ""),
            (URL, AUTHORIZATION.replace("AWS4-HMAC", "AWS4-ECDSA-P256")),
            (URL, AUTHORIZATION.replace("/sqs/", "/s3/")),
        ],
    )
    def test_what_is_sent_otherwise_is_left_to_botocore(self, url: str, authorization: str) -> None:
        """Other signatures, paths and proxies of one's own."""
        assert endpoint_of(Prepared(url, {"Authorization": authorization})) is None

    async def test_before_botocore_has_sent_anything_it_has_to_ask(self) -> None:
        """Nobody knows yet where SQS is."""
        calls = DirectTransport(Connections(Answer(200, b"{}")), AioCredentials("a", "b"), FakeClock())  # type: ignore[arg-type]  # it stands for aiobotocore's
        assert await calls.call("SendMessageBatch", {}) is None


class TestCalling:
    """The ordinary case, and nothing else."""

    async def test_a_good_answer_is_returned(self) -> None:
        """As the JSON that it is."""
        calls, connections = direct(Answer(200, b'{"Messages":[]}'))
        parameters = {"QueueUrl": "u", "Entries": [{"Blob": {"BinaryValue": b"\x00\xff"}}]}
        assert {"Messages": []} == await calls.call("ReceiveMessage", parameters)
        (request,) = connections.requests
        assert {"QueueUrl": "u", "Entries": [{"Blob": {"BinaryValue": "AP8="}}]} == json.loads(request.body)
        assert ("AmazonSQS.ReceiveMessage", URL) == (request.headers["x-amz-target"], request.url)

    async def test_an_empty_answer_is_a_good_one(self) -> None:
        """Some calls have nothing to say."""
        calls, _ = direct(Answer(200, b""))
        assert {} == await calls.call("PurgeQueue", {})

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refused_signature_is_left_to_botocore(self, status: int) -> None:
        """It may sign in another way, or have newer credentials."""
        calls, _ = direct(Answer(status, b'{"__type":"InvalidSecurity"}'))
        assert await calls.call("SendMessageBatch", {}) is None

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (Answer(400, b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}'), "QueueDoesNotExist"),
            (Answer(503, b""), "503"),
            (Answer(500, b"<html>"), "500"),
        ],
    )
    async def test_an_error_is_raised_and_asked_for_once(self, answer: Answer, code: str) -> None:
        """Asking again is for one place alone, which knows when."""
        calls, connections = direct(answer)
        with pytest.raises(ClientError) as caught:
            await calls.call("SendMessageBatch", {})
        assert code == caught.value.response["Error"]["Code"]
        assert 1 == len(connections.requests)

    @pytest.mark.parametrize("body", [b"<html>", b"[]"])
    async def test_an_answer_that_cannot_be_read_is_no_answer(self, body: bytes) -> None:
        """A proxy may have answered in the place of SQS."""
        calls, _ = direct(Answer(200, body))
        with pytest.raises(ResponseParserError):
            await calls.call("SendMessageBatch", {})

    @pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url=URL), FileNotFoundError("token")])
    async def test_a_call_that_breaks_is_not_made_again(self, error: Exception) -> None:
        """A second poll would be cut off before it could bring anything, and hide what it found."""
        calls, connections = direct(error)
        with pytest.raises(type(error)):
            await calls.call("ReceiveMessage", {})
        assert len(connections.requests) <= 1
