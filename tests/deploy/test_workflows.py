"""The workflows of GitHub: the linter accepts them, they run the project's own commands, and publish what passed."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.tools import ROOT, output_of, program

WORKFLOWS = ROOT / ".github" / "workflows"
PLATFORMS = "linux/amd64,linux/arm64"


def workflow(name: str) -> dict[Any, Any]:
    """Return a workflow. YAML reads the key ``on`` as ``True``."""
    found: dict[Any, Any] = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())
    return found


def step(job: dict[str, Any], action: str) -> dict[str, Any]:
    """Return the settings of the one step of a job that uses the action."""
    (found,) = [one.get("with", {}) for one in job["steps"] if one.get("uses", "").startswith(f"{action}@")]
    return dict(found)


def test_the_linter_finds_nothing() -> None:
    """In syntax, in expressions, and in what the actions take."""
    assert "" == output_of(program("actionlint"), *sorted(WORKFLOWS.iterdir()))


def test_the_linter_finds_a_mistake(tmp_path: Path) -> None:
    """Such as the output of a job that is not waited for."""
    text = (WORKFLOWS / "release.yml").read_text()
    broken = tmp_path / "release.yml"
    broken.write_text(text.replace("needs: [version, tests]", "needs: [tests]"))
    done = subprocess.run([program("actionlint"), broken], capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert 'property "version" is not defined' in done.stdout


def test_every_command_of_make_exists() -> None:
    """What the workflows run is what a developer runs."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = {name for path in WORKFLOWS.iterdir() for name in re.findall(r"\bmake ([a-z-]+)", path.read_text())}
    assert {"check", "test", "install"} == used
    assert used <= targets


def test_pushes_and_pull_requests_are_tested() -> None:
    """By both of the commands that have to pass."""
    ci = workflow("ci")
    assert {"push", "pull_request", "workflow_call"} == ci[True].keys()
    runs = {one["run"] for job in ci["jobs"].values() for one in job["steps"] if "run" in one}
    assert {"make check", "make test"} == runs


def test_a_tag_publishes_once_every_test_has_passed() -> None:
    """Nothing else does, and the tag has to name the version of the project."""
    release = workflow("release")
    assert {"push": {"tags": ["v*"]}} == release[True]
    assert "./.github/workflows/ci.yml" == release["jobs"]["tests"]["uses"]
    for name in ("wheels", "image"):
        assert {"version", "tests"} <= set(release["jobs"][name]["needs"])


@pytest.mark.parametrize("name", ["ci", "release"])
def test_the_image_is_built_for_both_architectures(name: str) -> None:
    """And pushed by a release alone."""
    image = workflow(name)["jobs"]["image"]
    settings = step(image, "docker/build-push-action")
    assert PLATFORMS == settings["platforms"]
    assert (name == "release") == settings.get("push", False)
    assert {} == step(image, "docker/setup-qemu-action")


def test_the_image_is_labelled_with_version_and_commit() -> None:
    """By the arguments that the Dockerfile declares."""
    given = step(workflow("release")["jobs"]["image"], "docker/build-push-action")["build-args"]
    declared = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert declared == re.findall(r"^(\w+)=", given, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["ci", "release"])
def test_a_job_may_write_only_what_it_publishes(name: str) -> None:
    """A compromised dependency of the tests reaches no registry."""
    found = workflow(name)
    assert {"contents": "read"} == found["permissions"]
    writing = {
        (job, scope)
        for job, body in found["jobs"].items()
        for scope, access in body.get("permissions", {}).items()
        if access == "write"
    }
    assert writing == ({("wheels", "id-token"), ("image", "packages")} if name == "release" else set())
