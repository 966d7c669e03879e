"""Settings of the deploy itself: how long a host may take."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from provision.settings.fields import Count, Line


class DeploySettings(BaseModel):
    deploy_command_seconds: Count = Field(
        300, description="How long one command of a deploy, plan, status or verification may take on the host."
    )
    deploy_long_command_seconds: Count = Field(
        10800,
        description="How long a command may take that is long by its nature: installing packages, pulling images, the"
        " first backup and the first copies of it.",
    )
    deploy_hook: Line | Literal[""] = Field(
        "",
        description="A shell command that `make deploy` runs on the machine that deploys before its first question to a"
        " host and after its last, what happened as JSON on its standard input; it has a minute, and no deploy fails by"
        " it. Empty: none.",
        examples=["curl -sf --json @- https://chat.example.com/hooks/deploys"],
    )
    deploy_silence_seconds: Count = Field(
        45, description="After how long without any sign of life a connected host is given up."
    )
