"""Prints tables and JSON."""

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDE = 240


def console() -> Console:
    """Return standard output; lines are wrapped only on a terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=_WIDE)


def print_json(value: object) -> None:
    """Print ``value`` as JSON."""
    print(json.dumps(value, indent=2))  # noqa: T201  # the output of a command


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> None:
    """Print ``rows`` under ``titles``; the columns whose titles are in ``numbers`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(text(cell)) for cell in row))
    console().print(table)


def text(value: object) -> str:
    """Return a JSON value as text for people."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
