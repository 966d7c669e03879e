"""What `make` installs is what pyproject.toml asks for, every file of it known by its hash."""

from __future__ import annotations

import re
import tomllib

from provision.settings.project import PROJECT

REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^ ;]+)[^\\\n]*(?P<hashes>(?:\\\n +--hash=\S+ ?)*)", re.MULTILINE
)


def locked(file: str) -> dict[str, str]:
    """Each package of a lock file with its version. One without a hash fails the test."""
    found = list(REQUIREMENT.finditer((PROJECT / file).read_text(encoding="utf-8")))
    assert all(each["hashes"].count("--hash=sha256:") for each in found)
    return {each["name"]: each["version"] for each in found}


def wanted(requirements: list[str]) -> dict[str, str]:
    return dict(re.sub(r"\[.*]", "", each).split("==") for each in requirements)  # extras are among what is locked


def test_the_lock_files_have_what_pyproject_asks_for():
    """After a change there: make lock"""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run, develop = locked("requirements.lock"), locked("requirements-develop.lock")
    assert wanted(project["dependencies"]).items() <= run.items()
    assert wanted(project["optional-dependencies"]["develop"]).items() <= develop.items()
    assert run.keys().isdisjoint(develop)


def test_nothing_is_installed_whose_hash_is_not_known():
    assert re.search(
        r"--require-hashes \\\n +-r requirements.lock -r requirements-develop.lock",
        (PROJECT / "tools/make-venv").read_text(),
    )
