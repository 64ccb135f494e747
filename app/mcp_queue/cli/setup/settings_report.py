"""Prints the effective configuration for ``config check``."""

import dataclasses
from datetime import timedelta
from typing import Any

from mcp_queue.cli.output import console, print_table
from mcp_queue.config import Settings
from mcp_queue.config.schema.values import format_duration, hide_credentials
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.queues import QueueSpec


def print_settings(settings: Settings) -> None:
    """Print tables of settings, queues and routes, then the warnings."""
    out = console()
    print_table(
        ["Setting", "Value", "From"],
        [[item.variable, item.value, "" if item.origin == "default" else item.origin] for item in settings.effective],
    )
    out.print()
    print_table(
        ["Queue", "Kind", "Backend", "Dead letters to", "Visible again after", "Receives", "Retries", "URL"],
        [_queue_row(spec) for spec in settings.queues],
        numbers=["Receives", "Retries"],
    )
    if settings.routes:
        out.print()
        print_table(["Task type", "Callback", "Signed"], [_route_row(route, settings) for route in settings.routes])
    for warning in settings.warnings:
        out.print(f"\n[yellow]Warning:[/yellow] {warning}", markup=True)


def settings_report(settings: Settings) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "settings": {item.variable: {"value": item.value, "origin": item.origin} for item in settings.effective},
        "queues": [_plain(spec) for spec in settings.queues],
        "routes": [
            {"type": route.type, "callback_url": hide_credentials(route.callback_url), "name": route.name}
            for route in settings.routes
        ],
        "warnings": list(settings.warnings),
    }


def _queue_row(spec: QueueSpec) -> list[object]:
    levels = ", ".join(f"{level}: {name}" for level, name in spec.levels.items())
    return [
        spec.name if spec.name == spec.public_name else f"{spec.name} (level of {spec.public_name})",
        spec.kind.value,
        spec.backend.value,
        spec.dead_letter_queue,
        format_duration(spec.visibility_timeout),
        spec.max_receive_count,
        spec.max_retries,
        hide_credentials(spec.url) if spec.url else levels or None,
    ]


def _route_row(route: Route, settings: Settings) -> list[object]:
    secrets = settings.callbacks.secrets if route.secrets is None else route.secrets
    return [route.type, hide_credentials(route.callback_url), bool(secrets)]


def _plain(spec: QueueSpec) -> dict[str, Any]:
    members = dataclasses.asdict(spec)
    members["url"] = hide_credentials(spec.url) if spec.url else None
    members["levels"] = {str(level): name for level, name in spec.levels.items()}
    return {name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in members.items()}
