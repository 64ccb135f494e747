"""The proxies of the tests: what they pass on, what they break, and what they refuse."""

from collections import Counter
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError, HTTPClientError

from tests.support.aws.faults import (
    DENIED,
    NO_QUEUE,
    THROTTLED,
    AppliedThenReset,
    Fault,
    NoAnswer,
    Refuse,
    Reset,
    fault_proxy,
    first,
    sometimes,
)
from tests.support.aws.iam import Account, UnknownExpressionError, roles_of
from tests.support.aws.iam_proxy import s3_rights
from tests.support.aws.recorder import ACCESS_KEY, SECRET_KEY, recorder
from tests.support.aws.wire import Answer

QUEUE = "https://sqs/000000000000/t1-work"


async def call(url: str, queue: str = QUEUE, seconds: float = 5) -> str:
    """Ask for the attributes of a queue, once; return what came of it."""
    session = AioSession()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    config = AioConfig(retries={"total_max_attempts": 1}, read_timeout=seconds)
    async with session.create_client("sqs", region_name="eu-central-1", endpoint_url=url, config=config) as sqs:
        try:
            await sqs.get_queue_attributes(QueueUrl=queue)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        except HTTPClientError as error:
            return type(error).__name__
    return "ok"


async def test_bytes_pass_unchanged_both_ways() -> None:
    """Method, path, headers and body, and the answer's."""
    body = bytes(range(256)) * 8192  # 2 MiB
    headers = {"X-Odd": "a,  b", "Content-Type": "application/x-amz-json-1.0", "Content-Encoding": "gzip"}
    async with recorder() as upstream, fault_proxy(upstream.url) as proxy, aiohttp.ClientSession() as session:
        upstream.answer = Answer(418, {"X-Answer": "b;c", "Content-Type": "a/b"}, b"\x00\xff")
        for url in (upstream.url, proxy.url):
            async with session.put(f"{url}/a%2Fb/c?d=%20&e", data=BytesIO(body), headers=headers) as response:
                assert (418, "b;c", b"\x00\xff") == (
                    response.status,
                    response.headers["X-Answer"],
                    await response.read(),
                )
    plain, passed = upstream.seen
    assert (plain.method, plain.target, plain.body) == (passed.method, passed.target, passed.body)
    for seen in (plain, passed):
        del seen.headers["Host"]
    assert dict(plain.headers) == dict(passed.headers)


async def test_a_signature_holds_behind_the_proxy() -> None:
    """The host that was signed is the one that arrives."""
    async with recorder() as upstream, fault_proxy(upstream.url) as proxy:
        assert "ok" == await call(proxy.url)
    assert upstream.seen[0].signature_holds()


@pytest.mark.parametrize(
    ("fault", "becomes", "reached"),
    [
        (Refuse(DENIED), "AccessDenied", 0),
        (Refuse(THROTTLED), "ThrottlingException", 0),
        (Refuse(NO_QUEUE), "AWS.SimpleQueueService.NonExistentQueue", 0),
        (Refuse(NO_QUEUE, query_error=False), "QueueDoesNotExist", 0),
        (NoAnswer(), "ReadTimeoutError", 0),
        (AppliedThenReset(), "ConnectionClosedError", 1),
        (Reset(), "ConnectionClosedError", 0),
    ],
    ids=[
        "denied",
        "throttled",
        "no queue",
        "no queue, without the header",
        "no answer",
        "applied, then reset",
        "reset",
    ],
)
async def test_a_fault_happens_to_the_calls_it_was_ordered_for(fault: Fault, becomes: str, reached: int) -> None:
    """Of one operation, on one queue, as often as its schedule says; other calls pass."""
    async with recorder() as upstream, fault_proxy(upstream.url) as proxy:
        injection = proxy.inject("GetQueueAttributes", fault, first(1), queue="work")
        assert "ok" == await call(proxy.url, "https://sqs/000000000000/t1-other")
        upstream.seen.clear()
        assert becomes == await call(proxy.url, seconds=0.5)
        assert reached == len(upstream.seen)
        assert "ok" == await call(proxy.url)
    assert 1 == injection.struck
    assert {"GetQueueAttributes": 3} == proxy.journal.by_operation()


def test_a_probability_strikes_the_same_calls_for_the_same_seed() -> None:
    """So that a failure can be had again."""
    runs = [[schedule() for _ in range(200)] for schedule in (sometimes(0.3, 1), sometimes(0.3, 1), sometimes(0.3, 2))]
    assert runs[0] == runs[1] != runs[2]
    assert 30 < Counter(runs[0])[True] < 90


class TestRights:
    """What is read from a Terraform module."""

    MODULE = """
        resource "aws_iam_role" "worker" { name = "w" }
        resource "aws_iam_role_policy" "worker" {
          role   = aws_iam_role.worker.id
          policy = data.aws_iam_policy_document.worker.json
        }
        data "aws_iam_policy_document" "worker" {
          statement {
            actions   = ["sqs:SendMessage"]
            resources = concat(local.task_arns, local.dead_letter_arns)
          }
          statement {
            actions   = ["s3:ListBucket"]
            resources = [aws_s3_bucket.payloads.arn]
          }
          dynamic "statement" {
            for_each = var.purges ? [true] : []
            content {
              actions   = ["sqs:Purge*"]
              resources = ["arn:${data.aws_partition.current.partition}:sqs:*:*:${var.name_prefix}*"]
            }
          }
        }
    """

    def test_actions_resources_and_conditions_are_read(self, tmp_path: Path) -> None:
        """Lists, concatenations, templates, wildcards and statements that depend on a variable."""
        (tmp_path / "iam.tf").write_text(self.MODULE)
        account = Account(tasks=["mcp-queue-a"], dead_letters=["mcp-queue-b"], bucket="c")
        for purges in (False, True):
            worker = roles_of(tmp_path, account, {"purges": purges})["worker"]
            assert worker.allows("sqs:sendmessage", account.queue_arn("mcp-queue-b"))
            assert not worker.allows("sqs:SendMessage", account.queue_arn("other"))
            assert worker.allows("s3:ListBucket", account.bucket_arn("c"))
            assert purges == worker.allows("sqs:PurgeQueue", account.queue_arn("mcp-queue-a"))

    def test_what_is_not_understood_is_said(self, tmp_path: Path) -> None:
        """A right that is left out in silence would look like a missing one."""
        (tmp_path / "iam.tf").write_text(self.MODULE.replace("local.task_arns", "local.other"))
        with pytest.raises(UnknownExpressionError, match=r"local\.other"):
            roles_of(tmp_path, Account(tasks=[], dead_letters=[]))

    @pytest.mark.parametrize(
        ("method", "target", "headers", "actions"),
        [
            ("GET", "/b/k", {}, ["s3:GetObject"]),
            ("PUT", "/b/k", {}, ["s3:PutObject"]),
            ("PUT", "/b/k", {"x-amz-tagging": "a=b"}, ["s3:PutObject", "s3:PutObjectTagging"]),
            ("PUT", "/b/k?tagging", {}, ["s3:PutObjectTagging"]),
            ("GET", "/b?list-type=2", {}, ["s3:ListBucket"]),
        ],
    )
    def test_a_request_to_s3_needs_what_the_reference_says(
        self, method: str, target: str, headers: dict[str, str], actions: list[str]
    ) -> None:
        """On the object, or on its bucket."""
        rights = s3_rights(method, target, headers, Account(tasks=[], dead_letters=[]))
        assert actions == [right.action for right in rights]
