"""Servers for an app's rate limits and backups, described in `inventories/`, brought there by pyinfra.

The rooms, from the ground up, each with its modules; a module imports only from its own room and from those that
stand above it here (`tests/unit/test_map.py`):

    winssh       connector powershell
                     Windows hosts over Windows' own OpenSSH: imports nothing of the project
    settings     project schedule secrets fields deploy app redis rate_limits postgres backup_content backup_watch
                 backup vault windows render
                     what is wanted, typed and checked, secrets wrapped; templates filled with it
    engine       loading streams interrupt private inside speed shown hostkeys reach kept facts changes claims
                 environments faults inventory run preflight lock
                     all that knows pyinfra's insides: hosts with their Settings, runs, what differs in words
    debian       entries programs files packages users units system tunnel lock preflight
                     what every Debian host has; knows no subject
    record       layout removal operations undo preflight role history
                     the list, on each host, of what there came from us; who did what, and when
    postgres     packages scram tls facts server operations layout preflight role
                     the server that is dumped, who reads it, and the client that fits it
    app          dotenv readers clients layout operations preflight role
                     the app's directory, its `.env`, its limiters
    redis        running existing firewall external facts scripts layout operations admission preflight role
                     the shared Redis: what is there already, what should be, how one becomes the other
    backup       facts layout operations role
                     backups that run by themselves, and what they say of themselves
    vault        keys sources facts offline transfer recovery storage layout operations preflight role
                     copies that outlive the backup host: encrypted there, fetched, proven and signed elsewhere
    windows      acl task snippets lock facts removal operations layout checks undo preflight role
                     the same subjects on a Windows host
    commands     table choice hooks verify secrets keys recover deploy plan health status pictures since report unlock
                 render remove known_hosts settings
                     what `make` calls, one command a file

In a subject's room, `layout` says what lies where, rendered, without a host; `facts` read a host, one command each;
`operations` mend a difference, one step each; `preflight` asks what must be true before the first change on any host;
`role` puts these in order and reads like a table of contents. What lands on hosts lies in `files/` and
`templates/`, in rooms of the same names. `deploy.py` beside this package is where pyinfra enters.
"""
