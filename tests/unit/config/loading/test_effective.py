"""The effective values, as ``config check`` shows them."""

import pytest

from mcp_queue.config import load_settings
from tests.support.config import ConfigFile


def test_the_effective_values_say_where_they_come_from(config_file: ConfigFile) -> None:
    """An operator sees which of environment, file and default has won."""
    settings = config_file.load(
        "queue: {workers: {count: 5, batch_size: 5}, retry: {max_attempts: 2}}", {"QUEUE_WORKER_COUNT": "6"}
    )

    shown = {item.variable: (item.value, item.origin) for item in settings.effective}
    assert ("6", "QUEUE_WORKER_COUNT") == shown["QUEUE_WORKER_COUNT"]
    assert ("5", "file") == shown["QUEUE_BATCH_SIZE"]
    assert ("1", "file") == shown["QUEUE_MAX_RETRIES"]
    assert ("5m", "default") == shown["QUEUE_PROCESSING_TIMEOUT"]


@pytest.mark.parametrize(
    "environ",
    [
        {"CALLBACK_SECRETS": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"},
        {"EMBEDDING_API_KEY": "MDEyMzQ1"},
        {"LEDGER_URL": "postgresql+asyncpg://queue:MDEyMzQ1@db/queue"},
        {"LEDGER_URL": "postgresql+asyncpg://queue:a/b@MDEyMzQ1@db/queue"},
        {"EMBEDDING_BASE_URL": "https://MDEyMzQ1@models.example.com/v1"},
        {"EMBEDDING_BASE_URL": "https://models.example.com/v1?api_key=MDEyMzQ1"},
    ],
)
def test_the_effective_values_hide_secrets(environ: dict[str, str]) -> None:
    """They are made to be shown to people, and to be pasted into tickets."""
    (shown,) = [item.value for item in load_settings(environ).effective if item.variable in environ]

    assert "MDEyMzQ1" not in shown
    assert "****" in shown
