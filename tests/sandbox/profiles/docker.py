"""A server with a Docker engine of its own, and the images that a deploy runs there.

The images are Debian's packages under the names of the real ones, so that no registry is needed:
`redis:7.2-alpine` (the release's Redis), and `postgres:16-alpine` and `postgres:MAJOR` (the release's PostgreSQL,
whatever the tag says, so that its pg_dump fits the server of a host of the same release).
"""

from tests.sandbox.profiles import RECIPES, Profile

PROFILE = Profile(
    recipe=(
        RECIPES / "docker.sh",
        RECIPES / "docker-import-images.sh",
        RECIPES / "docker-entrypoint-redis.sh",
        RECIPES / "docker-entrypoint-postgres.sh",
    ),
    # Layers cannot lie on the layers of the container that the host itself is.
    volumes=("/var/lib/docker",),
)
