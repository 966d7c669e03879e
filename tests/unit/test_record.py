"""The list of what of a host came from us: its text, and what is read back from it."""

from __future__ import annotations

import json

import pytest

from provision.record import layout
from provision.record.layout import Listed, things

OURS = things(
    {"files": {"/etc/cron.d/app", "/b", "/etc/systemd/system/app.timer"}, "users": {"app"}, "packages": {"isal"}}
)


def listed(ours: layout.Things, **others: dict[str, layout.Things]) -> Listed:
    return Listed("1.0.0", "staging", ours, **others)


def test_the_same_host_gives_the_same_text_and_it_reads_back():
    of = {"app": things({"files": {"/b"}, "data": {"/c"}})}
    text = layout.text(listed(OURS, of=of), ["redis", "app"])
    assert text == layout.text(
        listed({kind: set(sorted(each)) for kind, each in OURS.items()}, of=of), ["app", "redis"]
    )
    assert layout.read(text, []) == listed(OURS, of=of)


def test_cron_files_and_units_are_named_apart():
    whole = json.loads(layout.text(listed(OURS), []))
    assert (whole["cron"], whole["units"]) == (["/etc/cron.d/app"], ["app.timer"])


def test_what_a_deploy_that_was_cut_off_was_about_to_make_is_ours():
    text = layout.text(listed(things({"packages": ["isal"]})), [])
    read = layout.read(text, ["packages\tcron", "users\tapp", "packages\t", "torn"])
    assert read.ours == things({"users": {"app"}, "packages": {"isal", "cron"}})


def test_a_host_without_a_list_has_nothing_of_ours():
    assert not any(layout.read("", []).ours.values())


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "7", '{"of": 3}', '{"files": 3}', '{"of": {"app": 1}}', '{"sums": []}']
)
def test_what_is_no_list_is_refused(text: str):
    with pytest.raises(ValueError):
        layout.read(text, [])
