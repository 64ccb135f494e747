"""The architecture page: every path and name on it is in the code, and its diagrams agree with the code."""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from importlib import import_module

import pytest

from mcp_queue.consumer.held_delivery import HeldDelivery, Phase
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import AttemptEnd, DeliveredAttempt, TaskState, admit, cancel, conclude, enqueued
from tests.support.tools import ROOT

PACKAGE = ROOT / "app" / "mcp_queue"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
REFERENCE = re.compile(r"(?P<path>[a-z]\w*(?:/\w+)*(?:\.py|/))(?:::(?P<name>[\w.]+))?")
#: All that stands in backquotes beside references to the code.
OTHERS = {"app/mcp_queue", "lint-imports", "mcp-queue", "redrive_count"}
QUOTED = sorted(set(re.findall(r"(?<!`)`([^`\n]+)`", TEXT)) - OTHERS)
DIAGRAMS = re.findall(r"^```mermaid\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

#: What a line of a diagram may be: an arrow between two names, with a label or without, or what a state diagram draws.
ARROW = {
    "flowchart TD": re.compile(r"(?P<from>\w+) (?:-->|-\.->)(?:\|(?P<label>[\w ]+)\|)? (?P<to>\w+)"),
    "stateDiagram-v2": re.compile(r"(?P<from>\w+|\[\*\]) --> (?P<to>\w+|\[\*\])(?:: (?P<label>[\w, -]+))?"),
}
DRAWN = re.compile(r"%% states: (?P<module>[\w/]+)\.py::(?P<enum>\w+)")
#: Steps between states of a task that stores take, not ``task_states``: a held task is sent, and a redrive.
STORED_STEPS = {("scheduled", "queued"), ("dead_lettered", "queued")}


def arrows(diagram: str) -> set[tuple[str, str]]:
    """Return the arrows of a diagram; a line that its grammar does not know is an error."""
    kind, *lines = diagram.splitlines()
    found = set()
    for line in lines:
        if kind == "stateDiagram-v2" and DRAWN.fullmatch(line.strip()):
            continue
        arrow = ARROW[kind].fullmatch(line.strip())
        assert arrow is not None, line
        assert (arrow["from"], arrow["to"]) not in found, f"drawn twice: {line}"
        found.add((arrow["from"], arrow["to"]))
    return found


def machine(name: str) -> set[tuple[str, str]]:
    """Return the arrows of the diagram that draws the enum ``name``."""
    [diagram] = [each for each in DIAGRAMS if f"::{name}\n" in each]
    return arrows(diagram)


def names_in(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a module or a class defines."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node


def defines(tree: ast.Module, dotted: str) -> bool:
    """Whether a module defines ``dotted``, a function, a class, or a member of a class."""
    scope: ast.stmt | ast.Module | None = tree
    for name in dotted.split("."):
        scope = dict(names_in(scope)).get(name) if isinstance(scope, ast.Module | ast.ClassDef) else None
    return scope is not None


def package_of(module: str) -> str:
    """Return the package directly below the product's that a module lies in."""
    return module.split(".")[1]


def imported_packages() -> set[tuple[str, str]]:
    """Return which package imports which, leaving out the two modules beside the packages."""
    found = set()
    for path in PACKAGE.glob("*/**/*.py"):
        own = path.relative_to(PACKAGE).parts[0]
        for name in re.findall(r"^\s*from (mcp_queue\.[\w.]+) import", path.read_text(), flags=re.MULTILINE):
            if package_of(name) != own:
                found.add((own, package_of(name)))
    return found


def reachable(drawn: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return every pair of names that a path of arrows joins."""
    pairs = set(drawn)
    while further := {(a, d) for (a, b), (c, d) in itertools.product(pairs, drawn) if b == c} - pairs:
        pairs |= further
    return pairs


@pytest.mark.parametrize("quoted", QUOTED)
def test_every_reference_leads_to_what_it_names(quoted: str) -> None:
    """To a module or a folder of the product, and to a function, a class or a member of one that it defines."""
    reference = REFERENCE.fullmatch(quoted)
    assert reference is not None, "it is no path of the product"
    path, name = PACKAGE / reference["path"], reference["name"]
    assert path.exists()
    assert name is None or defines(ast.parse(path.read_text()), name), "the module defines no such name"


def test_every_package_is_on_the_map() -> None:
    """With a line in the table that says what it holds."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {name for pair in arrows(DIAGRAMS[0]) for name in pair}
    assert packages <= set(re.findall(r"^\| `(\w+)/` \|", TEXT, flags=re.MULTILINE))


def test_imports_follow_the_arrows_of_the_map() -> None:
    """No module imports against them; the handlers are loaded by their names, so that nothing imports them."""
    assert set() == imported_packages() - reachable(arrows(DIAGRAMS[0]))
    assert not [pair for pair in imported_packages() if pair[1] in {"handlers", "testing"}]


def test_where_is_it_decided_answers_for_many_rules() -> None:
    """Each row names at least one module."""
    table = TEXT.partition("## Where is it decided")[2]
    rows = re.findall(r"^\| (?!rule|\*\*)(.+?) \| (.+) \|$", table, flags=re.MULTILINE)
    assert len(rows) >= 30
    assert [] == [rule for rule, where in rows if ".py" not in where]


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=range(len(DIAGRAMS)))
def test_every_diagram_is_made_of_arrows(diagram: str) -> None:
    """Those that Mermaid knows; a state diagram names the enum that it draws."""
    assert arrows(diagram)
    assert diagram.startswith("flowchart") or DRAWN.search(diagram)


@pytest.mark.parametrize("diagram", [each for each in DIAGRAMS if DRAWN.search(each)], ids=DRAWN.findall)
def test_a_state_diagram_draws_the_states_of_its_enum(diagram: str) -> None:
    """All of them, and no others; each can be reached from the start, and leads to the end."""
    named = DRAWN.search(diagram)
    assert named is not None
    states: type[Enum] = getattr(import_module(f"mcp_queue.{named['module'].replace('/', '.')}"), named["enum"])
    drawn = arrows(diagram)
    assert {state.name.lower() for state in states} == {name for pair in drawn for name in pair} - {"[*]"}
    assert {("[*]", state.name.lower()) for state in states} <= reachable(drawn)
    assert {(state.name.lower(), "[*]") for state in states} <= reachable(drawn)


def test_a_held_delivery_moves_along_the_arrows_and_no_others() -> None:
    """``move_to`` takes each step that is drawn, and refuses all others."""
    taken = set()
    for before, after in itertools.product(Phase, Phase):
        held = HeldDelivery.__new__(HeldDelivery)
        held.phase = before
        try:
            held.move_to(after)
        except AssertionError:
            continue
        taken.add((before.value, after.value))
    assert taken == {pair for pair in machine("Phase") if "[*]" not in pair}


def test_a_task_moves_along_the_arrows() -> None:
    """The rules take each step that is drawn, and from an end none that is not."""
    drawn, taken = {pair for pair in machine("TaskStatus") if "[*]" not in pair}, steps()
    assert set() == drawn - taken - STORED_STEPS
    assert {step for step in taken if TaskStatus(step[0]).ended} <= drawn


def test_a_task_begins_as_drawn() -> None:
    """As ``queued``, or as ``scheduled`` if it is to start later."""
    task = Task(id="t-1", type="echo", queue="tasks", created_at=NOW)
    later = replace(task, scheduled_for=NOW + timedelta(minutes=1))
    begins = {("[*]", enqueued(each, NOW).status.value) for each in (task, later)}
    assert begins == {pair for pair in machine("TaskStatus") if pair[0] == "[*]"}


def steps() -> set[tuple[str, str]]:
    """Return the steps between states that the rules of ``task_states`` take for one attempt of a task."""
    found = set()
    for status in TaskStatus:
        for known in (TaskState(status=status, attempt=1, started_at=NOW), TaskState(status=status)):
            after = [admit(known, DeliveredAttempt(0, 1, counts_itself=True), NOW).state]
            after += [] if status.ended else [cancel(known, NOW)]
            for end in TaskStatus:
                ended = AttemptEnd(redrive_count=0, attempt=1, status=end, started_at=NOW, at=NOW)
                after += [conclude(known, ended), conclude(replace(known, cancel_requested=True), ended)]
            found |= {(status.value, state.status.value) for state in after if state.status is not status}
    return found
