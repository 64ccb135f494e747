"""The example file, and what the settings say about themselves."""

import re
from pathlib import Path

from mcp_queue.config import Settings, env_example, load_settings
from mcp_queue.config.schema.document import every_setting

ROOT = Path(__file__).parents[4]
#: Variables and defaults that are part of the contract.
DOCUMENTED = {
    "SQS_QUEUE_URL": "",
    "SQS_DLQ_URL": "",
    "SQS_PRIORITY_QUEUE_URL": "",
    "SQS_VISIBILITY_TIMEOUT": "5m",
    "SQS_MAX_RECEIVE_COUNT": "",
    "SQS_WAIT_TIME_SECONDS": "20s",
    "QUEUE_WORKER_COUNT": "10",
    "QUEUE_BATCH_SIZE": "10",
    "QUEUE_PROCESSING_TIMEOUT": "5m",
    "QUEUE_MAX_RETRIES": "3",
    "QUEUE_RETRY_BASE_DELAY": "1s",
    "QUEUE_RETRY_MAX_DELAY": "5m",
    "QUEUE_CONFIG": "",
    "QUEUE_DATA_DIR": "./var",
    "QUEUE_HANDLERS": "",
    "GATEWAY_HOST": "127.0.0.1",
    "GATEWAY_PORT": "8080",
    "CONSUMER_HOST": "127.0.0.1",
    "CONSUMER_PORT": "8081",
    "CALLBACK_TIMEOUT": "",
    "MAX_TASK_BYTES": "1048576",
    "MAX_REQUEST_BYTES": "16777216",
    "SHUTDOWN_GRACE": "30s",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "auto",
    "LEDGER_RETENTION": "7d",
    "MCP_QUEUE_URL": "http://127.0.0.1:8080",
}


def test_the_example_file_is_the_settings_own() -> None:
    """``make env-example`` writes it; nobody has to keep it in step by hand."""
    assert env_example() == (ROOT / ".env.example").read_text("utf-8")


def test_the_documented_variables_have_their_defaults() -> None:
    """The contract's names and defaults stand in the example."""
    written = dict(re.findall(r"^#([A-Z_]+)=(.*)$", env_example(), re.MULTILINE))

    assert DOCUMENTED.items() <= written.items()


def test_the_example_changes_nothing_when_it_is_used_as_it_is() -> None:
    """What it calls a default is one."""
    written = dict(re.findall(r"^#([A-Z_]+)=(.*)$", env_example(), re.MULTILINE))

    expected, actual = load_settings({}), load_settings(written)

    assert _values(expected) == _values(actual)


def _values(settings: Settings) -> dict[str, str]:
    return {item.variable: item.value for item in settings.effective}


def test_no_variable_sets_two_things() -> None:
    """Every setting stands in one place."""
    variables = [variable for setting in every_setting() for variable in setting.env_var.names]

    assert len(set(variables)) == len(variables)


def test_every_setting_is_described_in_a_sentence() -> None:
    """The documentation is made of these texts."""
    for setting in every_setting():
        assert setting.env_var.description.endswith("."), setting.key
