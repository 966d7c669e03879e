"""With nothing but the app's password: every command there is, with arguments meant to stop Redis for everybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.limiter.hostile import Login, Neighbour, slow_commands
from tests.limiter.redis_server import RedisServer


@pytest.fixture
def neighbour(redis: RedisServer) -> Iterator[Neighbour]:
    password = redis.settings.redis_operator_password.get_secret_value()
    neighbour = Neighbour(redis.settings.redis_port, Login("operator", password))
    yield neighbour
    neighbour.close()


@pytest.mark.fault
def test_no_command_keeps_another_client_waiting(redis: RedisServer, neighbour: Neighbour):
    commands = redis.operator("COMMAND", "LIST").split()
    assert len(commands) > 200
    app = Login(redis.settings.redis_user, redis.settings.redis_password.get_secret_value())
    assert slow_commands(commands, redis.settings.redis_port, app, neighbour) == {}
