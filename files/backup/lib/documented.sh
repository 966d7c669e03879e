# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The restore that a person would make, made on the test's server -----------------------------------

preload=()    # options of that server: what some extensions must find loaded

# An extension that is loaded at the server's start cannot be made without. pg_cron's jobs are not to run
# here.
preload_libraries() {
    local name libraries='' there
    there=$("$pg_bin/pg_config" --pkglibdir 2>/dev/null || printf '%s/../lib' "$pg_bin")
    while IFS= read -r -d $'\x1e' name; do
        case $name in
            pg_cron | pgaudit | timescaledb | citus | pg_stat_statements | pg_squeeze | pglogical)
                if [[ -e $there/$name.so ]]; then libraries+=${libraries:+,}$name; fi ;;
        esac
    done < <(needed extensions)
    preload=(-c "shared_preload_libraries=$libraries")
    if [[ ,$libraries, == *,pg_cron,* ]]; then
        preload+=(-c "cron.database_name=restore_test_of_$app_name" -c cron.use_background_workers=off
            -c cron.host=/nonexistent)
    fi
}

# Where the roles were not saved, those that the dump names, and at least the one that owns the app's data.
make_missing_roles() {
    local name
    local -a names
    mapfile -t -d $'\x1e' names < <(needed roles; needed superuser_owners)
    for name in "${names[@]}" "$postgres_user"; do
        [[ $(query template1 "SELECT 1 FROM pg_roles WHERE rolname = $(sql_text "$name")") == 1 ]] ||
            query template1 "CREATE ROLE $(sql_name "$name")"
    done
    query template1 "ALTER ROLE $(sql_name "$postgres_user") LOGIN"
}

# Sorted as the dumped one was: a check, or a partition's bound, may hold in that order alone.
make_test_database() {
    # pg_cron's launcher is in it as soon as it is there.
    query template1 "DROP DATABASE IF EXISTS $(sql_name "$test_database") WITH (FORCE)" 2>/dev/null
    if has_properties; then
        create_database "$test_database"
    else
        query template1 "CREATE DATABASE $(sql_name "$test_database")"
    fi
    query template1 "ALTER DATABASE $(sql_name "$test_database") OWNER TO $(sql_name "$postgres_user")"
}

# Without the locale that the dumped database had, rows may be refused that are as they should be.
failed_by_the_dump() {
    if [[ -z $sorted_otherwise ]]; then printf failed; fi
}

# By the app's role; where that cannot do it, through an administrator, and then the verdict says so and why.
load_as_documented() {
    local why
    target=$test_database
    check_extensions "$test_database" "$test_database" 2>/dev/null
    grep_missing_extension
    verdict=$(failed_by_the_dump)
    if [[ -n $backup_restore_test_host ]]; then
        load_into "$test_database" "$file"
        return
    fi
    if restores_as "$postgres_user"; then return; fi
    why=$(sed -n 's/^.* ERROR [^:]*: //p' "$run_dir/documented.err" | tail -n 1)
    info "$postgres_user cannot restore it: once more, as an administrator would"
    make_test_database
    administrator="$(conninfo postgres)"
    if needs_trust; then trust_dump=1; else trust_dump=0; fi
    load_as_administrator "$test_database" "$file"
    administrator=''
    said_why="restorable by an administrator alone: $why"
}

# What a person would have to say of this dump as well, who restores it with its owners.
needs_trust() {
    local owner
    [[ -z $(needed superuser; needed superuser_owners) ]] || return 0
    while IFS= read -r -d $'\x1e' owner; do
        is_no_way_up "$owner" || return 0
    done < <(needed owners; printf '%s\x1e' "$postgres_user")
    return 1
}

# In a process of its own, since it ends where it cannot go on.
restores_as() { # ROLE
    local well=0
    (
        trap - ERR
        server_user=$1
        check_target "$test_database"
        load_into "$test_database" "$file"
    ) 2>"$run_dir/documented.err" &
    children["documented"]=$!
    all_ended_well documented || well=1
    cat "$run_dir/documented.err" >&2
    return "$well"
}

# What this host lacks says nothing about the dump.
grep_missing_extension() {
    local finding
    for finding in "${findings_on_target[@]}"; do
        [[ $finding != *'lacks the extension'* ]] ||
            die "not tested: ${finding/the server lacks the/here is no}"
    done
    findings_on_target=()
}
