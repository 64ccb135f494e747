"""Settings: what variables and a file amount to, what is wrong with them, and which variables there are."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_queue.config import ConfigError, Settings, load_settings
from mcp_queue.config.schema.document import every_setting
from mcp_queue.domain.queues import QueueSpec

#: Queues on SQS that need nothing else.
ON_SQS = {
    "SQS_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/tasks",
    "SQS_PRIORITY_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/priority-tasks.fifo",
    "SQS_DLQ_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/dlq",
}


def known_variables() -> set[str]:
    """Return every variable that sets something."""
    return {variable for setting in every_setting() for variable in setting.env_var.names}


def problems_with(environ: Mapping[str, str]) -> list[str]:
    """Return the lines that refuse ``environ``."""
    with pytest.raises(ConfigError) as refusal:
        load_settings(environ)
    return list(refusal.value.problems)


def by_name(settings: Settings) -> dict[str, QueueSpec]:
    """Return the queues by their names."""
    return {spec.name: spec for spec in settings.queues}


class ConfigFile:
    """A configuration file of one test."""

    def __init__(self, path: Path) -> None:
        """Stand at ``path``."""
        self.path = path

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings of a file with ``text``."""
        return load_settings(self._environ(text, environ))

    def problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return the lines that refuse a file with ``text``."""
        return problems_with(self._environ(text, environ))

    def queues(self, *entries: str, environ: Mapping[str, str] | None = None) -> dict[str, QueueSpec]:
        """Return the queues of a file with ``entries`` in its list."""
        return by_name(self.load(listing(*entries), environ))

    def queue_problems(self, *entries: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return the lines that refuse a file with ``entries`` in its list."""
        return self.problems(listing(*entries), environ)

    def _environ(self, text: str, environ: Mapping[str, str] | None) -> dict[str, str]:
        self.path.write_text(text, "utf-8")
        return {"QUEUE_CONFIG": str(self.path), **(environ or {})}


def listing(*entries: str) -> str:
    """Return a file whose list of queues has ``entries``, each the inside of a YAML mapping."""
    return "queue: {sqs: {queues: [" + ", ".join(f"{{{entry}}}" for entry in entries) + "]}}"
