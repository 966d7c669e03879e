"""What the scripts on a host find in their settings."""

from __future__ import annotations

import re

from provision.settings.project import PROJECT


def test_what_the_scripts_require_is_what_a_deploy_writes():
    """But for what a template's loop writes, the retention of each tier."""
    required = set(re.findall(r"\$\{(\w+)(?:\[@\])?[?-]", (PROJECT / "files/backup/lib/required.sh").read_text()))
    written = set(re.findall(r"^readonly (\w+)=", (PROJECT / "templates/backup/settings.sh.j2").read_text(), re.M))
    tiers = {name for name in required if re.fullmatch(r"backup_(daily|weekly|monthly|yearly)_.*(_days|_kept)", name)}
    assert len(tiers) == 8 and required - tiers == written
