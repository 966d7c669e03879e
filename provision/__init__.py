"""Servers for an app's rate limits and backups, described in `inventories/`, brought there by pyinfra.

The layers, from the ground up; each only looks down:

    settings/ schedule secrets     what is wanted: typed, checked, secrets wrapped
    inventory                      which hosts, each with its Settings
    render layout files dotenv     what that means in files, for every host, without touching one
    redis_state redis_site postgres_packages
                                   what a host says of itself, compared with what is wanted
    facts/                         what is read from a host, one command each
    operations/                    how a difference is mended, in one step each
    roles/                         which operations make a Redis, an app host, a backup host
    preflight                      what is asked of every host before the first change on any
    run commands/                  what `make` calls: deploy, plan, verify, render, secrets, ...
    windows/                       the same for Windows hosts: connector, facts, operations

`deploy.py` beside this package is where pyinfra enters.
"""
