# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The client that fits the server ------------------------------------------------------------------

client_version=''

dump_role=''          # who reads the dump
dump_role_reason=''   # why that is the app's role, where there is to be another

# The role that can read all and change nothing; the app's own where there is no such role yet, or where it cannot
# dump what the app's can. No code of the app's runs as either: see count_sql.
choose_role() {
    local why
    dump_role=$postgres_user
    [[ $postgres_backup_user != "$postgres_user" ]] || return 0
    server_user=$postgres_backup_user
    if why=$(query_text "$database" <"$here/cannot-dump.sql" 2>"$run_dir/role.err"); then
        if [[ -z $why ]]; then
            dump_role=$postgres_backup_user
            return
        fi
    else
        why=$(reason_in "$run_dir/role.err")
    fi
    server_user=$postgres_user
    dump_role_reason=$(plain_text <<<"$why")
}

tell_role() {
    local advice="an administrator of PostgreSQL runs ${backup_pgpass_file%/*}/dump-role.sql"
    [[ -n $dump_role_reason ]] || return 0
    if (( ${server_version%%.*} < 14 )); then
        info "PostgreSQL $server_version has no pg_read_all_data: the dump is made by $postgres_user, the app's role"
        return
    fi
    if [[ $dump_role_reason == *pg_hba.conf* ]]; then
        advice="add a line for $postgres_backup_user to the server's pg_hba.conf"
    fi
    warn "the dump is made by $postgres_user, the app's own role, and not by $postgres_backup_user: \
$dump_role_reason: $advice"
}

# The client must be of the server's own major version: an older one refuses, and what a newer one writes
# may not restore into this server.
choose_client() {
    local major candidate found='' why
    if ! ask_server; then
        why=$(reason_in "$run_dir/psql.err")
        die "cannot connect: $why: $(advice_for "$why")"
    fi
    major=${server_version%%.*}
    if [[ $postgres_mode != direct ]]; then
        use_tool pg_dump
        found=$("${tool[@]}" --version </dev/null | version_in)
        if [[ ${found%%.*} == "$major" ]]; then
            client_version=$found
            info "server $server_version, pg_dump $found in mode $postgres_mode"
            return
        fi
        die "the server is PostgreSQL $server_version, pg_dump is $found: choose postgres_image accordingly"
    fi
    for candidate in "$(command -v pg_dump || true)" "/usr/lib/postgresql/$major/bin/pg_dump"; do
        [[ -x $candidate ]] || continue
        found=$("$candidate" --version | version_in)
        if [[ ${found%%.*} == "$major" ]]; then
            pg_bin=${candidate%/*}
            client_version=$found
            info "server $server_version on $server_host, pg_dump $found"
            return
        fi
    done
    die "the server is PostgreSQL $server_version, pg_dump here is ${found:-missing}: install \
postgresql-client-$major, as a deploy does"
}

# Its version, in the first of two sessions. Behind a pooler these, one after the other, are the same process of
# the server: what a backup sets in its session would go on in the app's.
ask_server() {
    local answer first second
    answer=$(two_sessions 2>"$run_dir/psql.err") || return
    { IFS= read -r server_version && IFS= read -r first && IFS= read -r second; } <<<"$answer"
    server_version=${server_version%% *}
    [[ $first != "$second" || $server_mode == compose ]] ||
        die "what answers at $server_host:$server_port is a pooler such as PgBouncer, and \
backups would change the app's sessions: name the server itself in \
backup_postgres_host and backup_postgres_port"
}

# The server's version, and the process of each of two sessions; of one psql, where it may be told to connect anew.
two_sessions() {
    local -a first=('SHOW server_version;' 'SELECT pg_backend_pid();')
    if [[ $server_mode == direct ]]; then
        printf '%s\n' "${first[@]}" '\connect -reuse-previous=on' "${first[1]}" | query_text "$postgres_database"
    else
        printf '%s\n' "${first[@]}" | query_text "$postgres_database" &&
            query_text "$postgres_database" <<<"${first[1]}"
    fi
}

version_in() { sed -nE '1 s/[^0-9]*([0-9.]+).*/\1/p'; }

# Docker's client may be gone while what it started works on: end that too, and its sessions.
end_in_containers() {
    case $postgres_mode in
        container)
            use_tool end
            "${tool[@]}" >/dev/null 2>&1 || true ;;
        compose)
            query "$postgres_database" "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = $(sql_text "$app_name-backup-$run_id") AND pid <> pg_backend_pid()" \
                >/dev/null 2>&1 || true ;;
    esac
}
