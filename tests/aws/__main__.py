"""Tries the product's view of SQS on a real account: ``make test-aws``.

It creates queues under names of their own and writes down what SQS answered. The queues are deleted at the end, also
after a failure or Ctrl-C.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from botocore.exceptions import BotoCoreError

from tests.aws import checks, product
from tests.aws.account import PREFIX, Account
from tests.aws.checks import Check

OPT_IN: Final = "TEST_AWS"
ANSWERS: Final = Path(__file__).with_name("answers.json")
CHECKS: Final[Sequence[Check]] = (
    checks.recorded_errors,
    checks.limits_of_messages,
    checks.one_mebibyte,
    checks.expired_handle,
    checks.twelve_hours,
    checks.purge_twice,
    checks.move_task,
    checks.keys,
    checks.throttling,
    product.queues_apply,
    product.a_task_and_its_retry,
    product.order_of_a_group,
    product.a_lost_lease,
)
PLAN: Final = f"""\
This run creates about 25 SQS queues whose names begin with {PREFIX}. It makes about 150 requests and a burst of
{checks.BURST} sends, which cost less than 0.01 USD, and deletes the queues at the end. It creates no key: encryption is
tried with alias/aws/sqs, which AWS owns. It takes about four minutes and needs the rights sqs:* on {PREFIX}*.
If it is killed: aws sqs list-queues --queue-name-prefix {PREFIX} shows what is left.
"""


def main() -> int:
    """Run; return the exit code: 0 all as expected, 1 something is not, 2 not started."""
    arguments = _arguments()
    print(PLAN, flush=True)
    if os.environ.get(OPT_IN) != "yes":
        return _refuse(f"set {OPT_IN}=yes to let it: {OPT_IN}=yes AWS_REGION=eu-central-1 make test-aws")
    try:
        account = Account()
    except BotoCoreError as error:
        return _refuse(f"{error} Set AWS_REGION, or a region in AWS's configuration.")
    if not account.credentials():
        return _refuse("no AWS credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID, or log in")
    print(f"Region {account.region}, queues {account.run}*\n", flush=True)
    signal.signal(signal.SIGTERM, _interrupt)
    failed = ["interrupted"]
    try:
        failed = _run(account, arguments)
    except KeyboardInterrupt:
        print("\ninterrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the queues are deleted first
        left = account.delete_everything()
    arguments.answers.write_text(account.written_answers())
    print(f"\n{account.recording.requests.total()} requests; answers in {arguments.answers}")
    if left:
        print(f"These queues may be left: {', '.join(left)}", file=sys.stderr)
    return 1 if failed or left else 0


def _run(account: Account, arguments: argparse.Namespace) -> list[str]:
    failed = []
    for check in CHECKS:
        name = check.__name__
        if (arguments.only and name not in arguments.only) or name in arguments.without:
            continue
        account.recording.check = name
        start = time.monotonic()
        try:
            check(account)
        except Exception as error:  # noqa: BLE001  # whatever fails, the other checks run
            failed.append(name)
            print(f"  FAILED  {name}: {error}", flush=True)
            traceback.print_exc()
        else:
            print(f"  ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-aws", description="Tries SQS on a real account.")
    names = [check.__name__ for check in CHECKS]
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="run these checks")
    parser.add_argument("--without", nargs="+", choices=names, default=[], help="leave these checks out")
    parser.add_argument("--answers", type=Path, default=ANSWERS, help="where to write what SQS answered")
    return parser.parse_args()


def _refuse(reason: str) -> int:
    print(f"Not started: {reason}", file=sys.stderr)
    return 2


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
