"""Disposable Debian servers for trying and testing a deploy: systemd as PID 1, sshd, a network of their own.

From the shell `python -m tests.sandbox up|down|status`; from Python the three functions of `lifecycle`.

    errors     SandboxError: one sentence that says what is wrong and what to do
    paths      where the sandbox keeps its key, logs and ssh configuration
    fleet      inventory file -> Host objects, all validated
    machine    what this machine offers: cgroup v2, capabilities, disk
    mirror     Debian's mirror as this machine's own apt knows it
    packages   what has to be installed here first, through apt
    docker     the one way to call Docker's client
    engine     a Docker engine: the one that answers, else our own
    images     one image per release and profile, rebuilt when its recipe changes
    profiles/  what a host has before we deploy: one small module per profile
    hosts      one host: created, started, awaited
    ssh        key, known_hosts, ssh_config
    lifecycle  up, down, status: the order of it all
"""
