"""Terraform files as data: their blocks, what they refer to, and which of their arguments no resource type has."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2

from tests.support.terraform.arguments import TYPES, Block
from tests.support.tools import ROOT

MODULE = ROOT / "deploy" / "terraform"
EKS = MODULE / "examples" / "eks"
ECS = MODULE / "examples" / "ecs-fargate"

Body = dict[str, Any]
Blocks = dict[str, list[Body]]

_OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False, explicit_blocks=True)
_MARK = "__is_block__"
_REFERENCE = re.compile(
    r"\b(?P<address>(?:var|local)\.\w+|module\.\w+|data\.\w+\.\w+|(?:aws|random)_\w+\.\w+)"
    r"(?:\[[^\]]*\])?(?:\.(?P<attribute>\w+))?"
)
#: What every resource takes.
_META = {"for_each", "count", "depends_on", "lifecycle", "provider"}


@dataclass(frozen=True, slots=True)
class Reference:
    """What an expression names: ``address`` as in ``aws_sqs_queue.tasks``, and the attribute behind it, if any."""

    address: str
    attribute: str | None


class Directory:
    """One directory of Terraform files, which Terraform reads as one module."""

    def __init__(self, path: Path) -> None:
        """Read the files of ``path``."""
        self.path = path
        self.files = sorted(path.glob("*.tf"))
        self.text = "\n".join(_without_comments(file.read_text()) for file in self.files)
        self.blocks: Blocks = {}
        for file in self.files:
            for kind, found in parsed(file.read_text()).items():
                self.blocks.setdefault(kind, []).extend(found)

    def named(self, kind: str) -> dict[str, Body]:
        """Return the blocks with one label, such as variables, by their names."""
        return {name: body for block in self.blocks.get(kind, []) for name, body in block.items()}

    def typed(self, kind: str) -> dict[str, Body]:
        """Return the blocks with two labels, such as resources, by their addresses."""
        found = self.blocks.get(kind, [])
        return {f"{type_}.{name}": body for block in found for type_, by in block.items() for name, body in by.items()}

    @property
    def local(self) -> Body:
        """The local values by name."""
        return {
            name: value for block in self.blocks.get("locals", []) for name, value in block.items() if name != _MARK
        }

    def addresses(self) -> set[str]:
        """Return everything that an expression of these files may refer to."""
        return {
            *(f"var.{name}" for name in self.named("variable")),
            *(f"local.{name}" for name in self.local),
            *(f"module.{name}" for name in self.named("module")),
            *(f"data.{address}" for address in self.typed("data")),
            *self.typed("resource"),
        }

    def references(self) -> Iterator[Reference]:
        """Yield what the expressions refer to."""
        for found in _REFERENCE.finditer(self.text):
            yield Reference(found["address"], found["attribute"])


def parsed(text: str) -> Blocks:
    """Return the blocks of a file by kind."""
    blocks: Blocks = hcl2.loads(text, serialization_options=_OPTIONS)
    return blocks


def value_of(expression: str) -> Any:
    """Return the value of a literal that stands in a call, such as the list in ``${jsonencode([…])}``."""
    call = re.fullmatch(r"\$\{\w+\((.*)\)\}", expression, flags=re.DOTALL)
    assert call is not None, expression
    return parsed(f"value = {call[1]}\n")["value"]


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", text)


def unknown_attributes(directory: Directory, outputs: dict[str, set[str]]) -> set[str]:
    """Return the attributes that are read, but that neither the type nor, of a module, ``outputs`` has."""
    unknown = set()
    for reference in directory.references():
        first, _, rest = reference.address.partition(".")
        if first in {"var", "local"} or reference.attribute is None:
            continue
        type_ = reference.address.removeprefix("data.").partition(".")[0]
        known = outputs[rest] if first == "module" else TYPES[type_].attributes
        if reference.attribute not in known:
            unknown.add(f"{reference.address}.{reference.attribute}")
    return unknown


def wrong_arguments(directory: Directory) -> list[str]:
    """Return the arguments and nested blocks that no such type has, and those that are required and missing."""
    wrong = []
    for kind in ("resource", "data"):
        for address, body in directory.typed(kind).items():
            shape = TYPES[address.partition(".")[0]]
            own = {name: value for name, value in body.items() if name not in _META}
            wrong += [f"{address}: {problem}" for problem in _problems(shape, own)]
    return wrong


def _problems(shape: Block, body: Body) -> Iterator[str]:
    blocks = dict(_nested(body))
    arguments = body.keys() - blocks.keys() - {_MARK, "dynamic"}
    yield from (f"no argument {name}" for name in sorted(arguments - shape.arguments))
    yield from (f"no block {name}" for name in sorted(blocks.keys() - shape.blocks.keys()))
    yield from (f"{name} is missing" for name in sorted(shape.required - arguments - blocks.keys()))
    for name, found in blocks.items():
        if name in shape.blocks:
            yield from (f"{name}: {problem}" for one in found for problem in _problems(shape.blocks[name], one))


def _nested(body: Body) -> Iterator[tuple[str, Sequence[Body]]]:
    """Yield the nested blocks by name, also those that are made for each element of something."""
    found: dict[str, list[Body]] = {}
    for name, value in body.items():
        if isinstance(value, list) and value and isinstance(value[0], dict) and _MARK in value[0]:
            found.setdefault(name, []).extend(value)
    for dynamic in body.get("dynamic", []):
        for name, block in dynamic.items():
            if name != _MARK:
                found.setdefault(name, []).extend(block["content"])
    yield from found.items()
