"""The real hosts of `python -m bench scale`: one Redis, and app hosts that count in it. BENCH_HOSTS says how many.

Both Debian releases, in turn. `tests/sandbox` boots what stands here, on a network beside the sandbox's.
"""

import os

_RELEASES = ("bookworm", "trixie")


def _host(number):
    data = {
        "sandbox_release": _RELEASES[number % 2 - 1],
        "sandbox_address": f"10.213.92.{10 + number}",
        "sandbox_profile": "bare",
    }
    return f"bench{number}", data


redis = [_host(1)]
app = [_host(number) for number in range(2, 1 + int(os.environ.get("BENCH_HOSTS", "40")))]
