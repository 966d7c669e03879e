"""Which package has the pg_dump that fits a server."""

from __future__ import annotations

import pytest

from provision.debian.packages import Packages
from provision.postgres import packages as postgres_packages
from provision.postgres.facts import ClientMajors


@pytest.mark.parametrize(("codename", "major"), [("bookworm", 15), ("trixie", 17)])
def test_a_release_carries_one_major_version(codename: str, major: int):
    assert [each for each in range(10, 25) if postgres_packages.comes_with_release(codename, each)] == [major]


@pytest.mark.parametrize("codename", ["", "sid", "duke"])
def test_an_unknown_release_carries_none(codename: str):
    assert not any(postgres_packages.comes_with_release(codename, major) for major in range(10, 25))


def test_the_package_names_the_major_version():
    assert postgres_packages.client_package(17) == "postgresql-client-17"


def test_the_majors_of_a_repository_are_read_from_its_index():
    assert ClientMajors().read(["15", "17", "17"]) == frozenset({15, 17})


def test_the_status_of_packages_is_read_from_dpkg():
    assert Packages().read(["cron installed", "isal half-configured", "redis not-installed"]) == {
        "cron": "installed",
        "isal": "half-configured",
        "redis": "not-installed",
    }


def test_an_interrupted_dpkg_is_told():
    assert Packages().read(["cron installed", "interrupted"])[""] == "interrupted"
