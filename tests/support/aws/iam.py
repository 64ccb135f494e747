"""The rights that the Terraform module gives to each role, read from its files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import hcl2

_PLAIN = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False, explicit_blocks=False)
_WHOLE = re.compile(r"\$\{(.*)\}", re.DOTALL)
_CONDITIONAL = re.compile(r"var\.(\w+) \? \[.*\] : \[\]")
_CONCAT = re.compile(r"concat\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Account:
    """What stands for the names of the module: one account, its queues and its bucket."""

    tasks: Sequence[str]
    dead_letters: Sequence[str]
    bucket: str = "payloads"
    prefix: str = "mcp-queue-"
    number: str = "000000000000"
    region: str = "us-east-1"
    partition: str = "aws"

    def queue_arn(self, name: str) -> str:
        """Return the ARN of a queue."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.number}:{name}"

    def bucket_arn(self, name: str) -> str:
        """Return the ARN of a bucket."""
        return f"arn:{self.partition}:s3:::{name}"

    def names(self) -> Mapping[str, str | list[str]]:
        """Return the value of each address that a policy of the module may refer to."""
        return {
            "local.task_arns": [self.queue_arn(name) for name in self.tasks],
            "local.dead_letter_arns": [self.queue_arn(name) for name in self.dead_letters],
            "aws_s3_bucket.payloads.arn": self.bucket_arn(self.bucket),
            "aws_kms_key.this.arn": f"arn:{self.partition}:kms:{self.region}:{self.number}:key/1",
            "data.aws_region.current.region": self.region,
            "data.aws_caller_identity.current.account_id": self.number,
            "data.aws_partition.current.partition": self.partition,
            "var.name_prefix": self.prefix,
        }


@dataclass(frozen=True)
class Statement:
    """Actions that are allowed on resources; both may hold wildcards."""

    actions: Sequence[str]
    resources: Sequence[str]

    def allows(self, action: str, resource: str) -> bool:
        """Whether it allows ``action``. Case does not count in actions, and counts in resources."""
        return any(fnmatchcase(action.lower(), one.lower()) for one in self.actions) and any(
            fnmatchcase(resource, one) for one in self.resources
        )


@dataclass(frozen=True)
class Role:
    """The rights of a process."""

    name: str
    statements: Sequence[Statement]

    def allows(self, action: str, resource: str) -> bool:
        """Whether the role may do ``action``, such as ``sqs:SendMessage``, to a resource."""
        return any(statement.allows(action, resource) for statement in self.statements)


class UnknownExpressionError(Exception):
    """The module says something that is not understood here."""


def roles_of(module: Path, account: Account, variables: Mapping[str, object] | None = None) -> Mapping[str, Role]:
    """Return the roles of the Terraform files in ``module`` by name, with the policies attached to each.

    ``variables`` are the module's, where a statement depends on one. Conditions of statements are left out.

    Raises:
        UnknownExpressionError: a policy of a role holds an expression that is not understood here.

    """
    blocks = _parsed(sorted(module.glob("*.tf")))
    documents = _named(blocks, "data", "aws_iam_policy_document")
    reader = _Reader({**account.names(), **_aliases(blocks, account.names())}, variables or {})
    attached: dict[str, list[str]] = {name: [] for name in _named(blocks, "resource", "aws_iam_role")}
    for policy in _named(blocks, "resource", "aws_iam_role_policy").values():
        role = re.findall(r"aws_iam_role\.(\w+)", str(policy))[0]
        attached[role] += re.findall(r"data\.aws_iam_policy_document\.(\w+)\.json", str(policy))
    return {
        role: Role(role, [one for name in names for one in reader.statements(documents[name])])
        for role, names in attached.items()
    }


@dataclass(frozen=True)
class _Reader:
    names: Mapping[str, str | list[str]]
    variables: Mapping[str, object]

    def statements(self, document: Mapping[str, Any]) -> Iterable[Statement]:
        for block in document.get("statement", []):
            yield self._statement(block)
        for dynamic in document.get("dynamic", []):
            statement = dynamic["statement"]
            if self._holds(statement["for_each"]):
                yield from (self._statement(content) for content in statement["content"])

    def _statement(self, block: Mapping[str, Any]) -> Statement:
        if block.get("effect", "Allow") != "Allow" or "not_actions" in block or "not_resources" in block:
            message = f"a statement that does more than allow: {block}"
            raise UnknownExpressionError(message)
        return Statement(self._list(block["actions"]), self._list(block["resources"]))

    def _holds(self, expression: str) -> bool:
        whole = _WHOLE.fullmatch(expression)
        condition = _CONDITIONAL.fullmatch(whole[1].strip()) if whole else None
        if condition is None:
            raise UnknownExpressionError(expression)
        return bool(self.variables.get(condition[1], False))

    def _list(self, expression: str | list[str]) -> list[str]:
        if isinstance(expression, list):
            return [self._text(one) for one in expression]
        whole = _WHOLE.fullmatch(expression)
        code = whole[1].strip() if whole else expression
        if concat := _CONCAT.fullmatch(code):
            return [value for part in _split(concat[1]) for value in self._list(part)]
        if code.startswith("["):
            return [self._text(part.strip('"')) for part in _split(code[1:-1])]
        value = self.names.get(code)
        if not isinstance(value, list):
            raise UnknownExpressionError(code)
        return value

    def _text(self, template: str) -> str:
        def value(match: re.Match[str]) -> str:
            found = self.names.get(match[1].strip())
            if not isinstance(found, str):
                raise UnknownExpressionError(match[1])
            return found

        if template in self.names:  # a reference that stands in a list without quotes
            template = f"${{{template}}}"
        return re.sub(r"\$\{([^{}]*)\}", value, template)


def _split(arguments: str) -> list[str]:
    """Return the arguments of a call or a list, which hold no commas inside except in brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", arguments) if part.strip()]


def _aliases(blocks: Mapping[str, list[dict[str, Any]]], names: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Return the locals that only stand for another name."""
    found = {}
    for block in blocks.get("locals", []):
        for name, value in block.items():
            whole = _WHOLE.fullmatch(value) if isinstance(value, str) else None
            if whole is not None and whole[1].strip() in names:
                found[f"local.{name}"] = names[whole[1].strip()]
    return found


def _parsed(paths: Iterable[Path]) -> dict[str, list[dict[str, Any]]]:
    blocks: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        for kind, found in hcl2.loads(path.read_text(), serialization_options=_PLAIN).items():
            blocks.setdefault(kind, []).extend(found)
    return blocks


def _named(blocks: Mapping[str, list[dict[str, Any]]], kind: str, label: str) -> dict[str, dict[str, Any]]:
    return {name: body for block in blocks.get(kind, []) for name, body in block.get(label, {}).items()}
