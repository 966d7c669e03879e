"""What a plan costs the machine that asks, with ever more hosts: seconds, its processor's, memory, lines.

    fakes   pyinfra's own `@fake` hosts that answer as after a deploy, each command after a delay as of a network: one
            Redis host, three in four of the others with the app, the rest with backups. All of the project is run,
            of pyinfra all but its SSH connector
    real    disposable hosts with sshd, deployed to: one Redis host, the others with the app

A plan is a process of its own, as for `make plan`, and the figures are what the kernel says of it. Each is taken with
nothing to do, and of the fakes also with the same changes to make on all.
"""

import os
from pathlib import Path

ENVIRONMENT = "bench"

# Set before anything imports `provision.engine.environments`, which looks once, and inherited by every process started.
os.environ.setdefault("INVENTORIES", str(Path(__file__).resolve().parent / "inventories"))
