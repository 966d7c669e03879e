"""The list of what of a host came from us: its text, and what is read back from it."""

from __future__ import annotations

import json

import pytest

from provision.record import layout

OURS = {"files": {"/etc/cron.d/app", "/b", "/etc/systemd/system/app.timer"}, "users": {"app"}, "packages": {"isal"}}


def test_the_same_host_gives_the_same_text_and_it_reads_back():
    text = layout.text("1.0.0", ["redis", "app"], OURS)
    assert text == layout.text("1.0.0", ["app", "redis"], {kind: sorted(each) for kind, each in OURS.items()})
    assert layout.ours(text, []) == {"directories": set(), **OURS}


def test_cron_files_and_units_are_named_apart():
    whole = json.loads(layout.text("1.0.0", [], OURS))
    assert (whole["cron"], whole["units"]) == (["/etc/cron.d/app"], ["app.timer"])


def test_what_a_deploy_that_was_cut_off_was_about_to_make_is_ours():
    text = layout.text("1.0.0", [], {"packages": ["isal"]})
    assert layout.ours(text, ["packages\tcron", "users\tapp", "packages\t", "torn"]) == {
        "directories": set(),
        "files": set(),
        "users": {"app"},
        "packages": {"isal", "cron"},
    }


def test_a_host_without_a_list_has_nothing_of_ours():
    assert not any(layout.ours("", []).values())


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "7"])
def test_what_is_no_list_is_refused(text: str):
    with pytest.raises(ValueError):
        layout.ours(text, [])
