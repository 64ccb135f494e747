"""The receiver as a process of its own, which acceptance tests call from outside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[3]


def test_a_receiver_process_is_scripted_and_read_over_http() -> None:
    """It prints its port, and ends when it is told to."""
    command = [sys.executable, "-m", "tests.support.http.receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        script = json.dumps({"/hook": [{"status": 201, "body": "made"}]}).encode()
        urlopen(Request(f"{url}/script", data=script, method="PUT"), timeout=10).close()
        with urlopen(Request(f"{url}/hook", data=b"{}"), timeout=10) as answer:
            assert (201, b"made") == (answer.status, answer.read())
        with urlopen(f"{url}/requests", timeout=10) as answer:
            (arrived,) = json.load(answer)["requests"]
        urlopen(Request(f"{url}/requests", method="DELETE"), timeout=10).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    assert ("POST", "/hook", "{}") == (arrived["method"], arrived["path"], arrived["body"])
