"""The hosts of `make bench`: servers alike, each an app host with a Redis of its own. BENCH_HOSTS says how many.

Both Debian releases, in turn. `tests/sandbox` boots what stands here, on a network beside the sandbox's.
"""

import os

_RELEASES = ("bookworm", "trixie")

app = [
    (
        f"bench{number}",
        {
            "sandbox_release": _RELEASES[number % 2 - 1],
            "sandbox_address": f"10.213.90.{10 + number}",
            "sandbox_profile": "bare",
        },
    )
    for number in range(1, 1 + int(os.environ.get("BENCH_HOSTS", "8")))
]
redis = app
