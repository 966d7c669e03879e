"""The sandbox's one exception."""


class SandboxError(Exception):
    """Something the sandbox cannot do; the message is one sentence for the person who ran it."""
