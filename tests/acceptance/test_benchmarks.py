"""The benchmarks behind the README's figures run; what they measure is read by people, never asserted."""

import asyncio
import re
import sys

import pytest

from tests.support.tools import ROOT

#: How to have each in a short form, and what it prints.
SHORT = {
    "gateway_post": ("--ledger none --rounds 1 --seconds 0.5", r"ledger none .*% of the empty route's rate"),
    "sqs_load": ("--ledger none --rounds 1", r"SQS requests per task"),
    "idle_consumer": ("--ledger none --seconds 1", r"ledger none +\d+\.\d\d% of a core"),
}


def test_every_benchmark_of_the_readme_is_known() -> None:
    """A figure whose command nobody runs is soon wrong."""
    assert set(SHORT) == set(re.findall(r"`python -m bench\.(\w+)", (ROOT / "README.md").read_text()))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SHORT)
async def test_a_benchmark_runs(name: str) -> None:
    """It starts what it needs, measures it, prints its table and ends."""
    arguments, expected = SHORT[name]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"bench.{name}", *arguments.split(),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert 0 == process.returncode, errors.decode()
    assert re.search(expected, output.decode()), output.decode()
