"""A server as Debian's installer leaves it."""

from tests.sandbox.profiles import Profile

PROFILE = Profile()
