# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --overwrite: beside the live database, then in its place

# A name and its ending, the name shortened to what PostgreSQL would keep (NAMEDATALEN): it cuts a longer one
# off without a word, and would then take another database for this one.
within_a_name() { # NAME ENDING
    local name=$1
    while (( $(printf '%s' "$name$2" | wc -c) > 63 )); do name=${name%?}; done
    printf '%s' "$name$2"
}

# What would keep the swap from happening is said now, and not after hours of loading.
check_swap() {
    local others
    [[ $'\x1e'$(needed extensions) != *$'\x1e'pg_cron$'\x1e'* ]] ||
        die "pg_cron can be made in one database of a server alone, the one that cron.database_name names, and so \
not beside it: end the sessions of $target (its launcher's comes back in a moment) and ALTER DATABASE \
$(sql_name "$target") RENAME at once, then --into '$target' without --overwrite" "$EXIT_USAGE"
    if [[ -n $administrator ]]; then return; fi
    [[ $(query postgres 'SELECT rolsuper OR rolcreatedb FROM pg_roles
        WHERE rolname = current_user') == t ]] ||
        die "$server_user may not create databases: ALTER ROLE $(sql_name "$server_user") CREATEDB, or use \
--as-administrator URL" "$EXIT_FAILED"
    [[ $(query postgres "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database
        WHERE datname = $(sql_text "$target")") == t ]] ||
        die "$target belongs to another role than $server_user: use --as-administrator URL" "$EXIT_USAGE"
    others=$(query postgres "SELECT string_agg(DISTINCT usename, ', ') FROM pg_stat_activity a JOIN pg_roles r
            ON r.oid = usesysid WHERE datname = $(sql_text "$target") AND NOT pg_has_role(usesysid, 'USAGE')
           AND (rolsuper OR NOT pg_has_role('pg_signal_backend', 'USAGE'))")
    [[ -z $others ]] ||
        die "connected to $target, and $server_user cannot end that: $others: have them disconnect, or use \
--as-administrator URL" "$EXIT_USAGE"
}

# The live database serves until the restored one stands beside it; then their names change places.
replace() {
    local old restored
    old=$(within_a_name "$target" "_before_$(wall_clock)")
    restored=$(within_a_name "$target" "_restored_$(wall_clock)")
    create_database "$restored"
    scratch=$restored
    mark_unfinished "$restored"
    fill "$scratch"
    step=swap
    swap_names "$old" "$restored"
    scratch=''
    info "what was there before is now the database $old: drop it when it is not needed any more"
}

# Both in one transaction. RENAME itself keeps new sessions out and ends autovacuum; only clients are ended
# here,
# and those that come back in between are ended again.
swap_names() { # OLD RESTORED
    local sql
    sql="
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $(sql_text "$target")
           AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
           AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR pg_has_role(usesysid, 'USAGE')
                OR pg_has_role('pg_signal_backend', 'USAGE')
                   AND NOT (SELECT rolsuper FROM pg_roles r WHERE r.oid = usesysid));
        ALTER DATABASE $(sql_name "$target") RENAME TO $(sql_name "$1");
        ALTER DATABASE $(sql_name "$2") RENAME TO $(sql_name "$target")"
    for _ in {1..12}; do
        if run_swap "$sql"; then return; fi
        grep -q 'being accessed by other users' "$run_dir/psql.err" || break
        info "$target is still in use: trying again"
    done
    die "cannot swap the databases: $(reason_in "$run_dir/psql.err"): stop the app, then run this again"
}

run_swap() { # SQL
    if [[ -n $administrator ]]; then
        as_administrator postgres "BEGIN; $1; COMMIT" >/dev/null 2>"$run_dir/psql.err"
    else
        query postgres "$1" >/dev/null 2>"$run_dir/psql.err"
    fi
}

# What an earlier --overwrite has kept, or one that was killed has left, with its age.
list_leftovers() {
    run_dir=$(mktemp --directory)
    trap 'rm -rf -- "$run_dir"' EXIT
    use_pgpass
    # Where the server does not answer, the dumps are listed all the same.
    { query postgres "$(leftovers_sql)" 2>/dev/null || printf '[]'; } | tell_leftovers | cut -f 2-
}
