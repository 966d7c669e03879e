# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --as-administrator peer: root is the server's administrator, where the server runs on this host -----------

# The restore itself runs as the backup user, whom the server does not let in as postgres. So root, as the
# system's user postgres, makes a role that becomes postgres when it logs in, for as long as this restore takes.
readonly peer_user=postgres
peer_role=''

restore_with_peer() { # ARGUMENTS of restore-database.sh...
    local password argument before=''
    local -a again=()
    (( EUID == 0 )) ||
        die "--as-administrator peer: you are $(id -un), and root alone becomes $peer_user" "$EXIT_USAGE"
    if [[ $postgres_mode != direct ]] || ! id -u "$peer_user" >/dev/null 2>&1; then
        die "--as-administrator peer: no PostgreSQL of this host's own runs here: give a superuser's URL" "$EXIT_USAGE"
    fi
    run_dir=$(mktemp --directory)
    trap end_peer EXIT
    stop_on_signals
    password=$(od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n')
    peer_role=${app_name}_administrator_$$
    ask_peer <<SQL || die "--as-administrator peer: $(reason_in "$run_dir/peer.err")" "$EXIT_USAGE"
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L VALID UNTIL %L IN ROLE %I', $(sql_text "$peer_role"),
              $(sql_text "$password"), now() + interval '2 days', current_user),
       format('ALTER ROLE %I SET role = %I', $(sql_text "$peer_role"), current_user)
\gexec
SQL
    for argument in "$@"; do
        if [[ $before == --as-administrator ]]; then
            argument="host=$(conninfo_value "$server_host") port=$server_port user=$peer_role dbname=postgres"
        fi
        again+=("$argument")
        before=$argument
    done
    PGPASSWORD=$password setpriv --pdeathsig TERM -- "$BASH" "$0" "${again[@]}" &
    children["restore"]=$!
    all_ended_well restore || exit "${ended["restore"]}"
}

# Through the socket of the server on that port.
ask_peer() { # the SQL on stdin
    use_tool psql
    setpriv --reuid "$peer_user" --regid "$(id -g "$peer_user")" --init-groups -- \
        env -u PGPASSWORD "${tool[@]}" "${psql_options[@]}" \
        --dbname="dbname=postgres port=$server_port" >"$run_dir/peer.out" 2>"$run_dir/peer.err"
}

end_peer() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    end_children
    if [[ -n $peer_role ]]; then
        ask_peer <<<"DROP ROLE IF EXISTS $(sql_name "$peer_role");" ||
            warn "the role $peer_role is left over: $(reason_in "$run_dir/peer.err")"
    fi
    rm -rf -- "$run_dir"
    exit "$status"
}
