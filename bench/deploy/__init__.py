"""How long a deploy takes, on 1, 4 and 8 disposable hosts, first and with nothing to do, beside two others.

    project   pyinfra's part of `make deploy`: one process, all hosts, no verification (its own time is told)
    ansible   the same end state by an ansible-core playbook: pipelining, a connection kept for the run, as
              many forks as hosts, no facts gathered. Each of its choices that costs time was made in its
              favour: files are rendered beforehand, `.env` is copied whole, nothing is asked back from Redis
    bare      the very commands that the project sends when it has nothing to do, each an `ssh` of its own
              over a shared connection, hosts in parallel: less than that no tool can do without asking less

What is done for a fair race:
  - Every run connects anew. Python, which only Ansible needs on a host, is there before, and so are the
    packages to install, in apt's archive: neither the network's mood nor Python's installation counts.
    The package lists are not: both refresh them.
  - First deploys are to hosts made anew each time. What each tool left on the hosts is compared: packages and
    versions, files with owner, mode and content, the service, the user, Redis' configuration and users.
  - With nothing to do, the three take turns on the same hosts; a turn in which something changed is an
    error. The ratios are taken turn by turn, so that what else the machine does weighs on all of them.

The layers:

    inventories/    the hosts
    hosts           booting, recreating and preparing them; running a script on each
    once            one deploy of the project in a process of its own, listened to on request
    project, ansible, bare   the three contestants: `deploy()` or `replay()`, timed
    end_state       what lies on a host after a deploy
    report          the table
"""

import os
from pathlib import Path

ENVIRONMENT = "bench"

# Set before anything imports `provision.inventory`, which looks once, and inherited by every process started.
os.environ["INVENTORIES"] = str(Path(__file__).resolve().parent / "inventories")
