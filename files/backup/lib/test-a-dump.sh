# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The restore test: a dump is good when a server has taken it and shows what was dumped ------------------

test_dir=''          # where the temporary server keeps its data
test_database=''     # the scratch database, on whichever server
verdict=''           # ok; failed: the dump is at fault; empty: the test could not be made

# On a server that the settings name, or one in a container. Of each database the newest dump, unless one is
# named; each is a run of its own.
restore_tests() {
    local name worst=0 tested=0
    local -a names=()
    mapfile -t names < <(prefixes)
    if [[ -n $file ]] || (( ${#names[@]} < 2 )); then
        restore_test
        return
    fi
    trap end_children EXIT
    stop_on_signals
    for name in "${names[@]}"; do
        file=$(newest_dump "$name")
        [[ -n $file ]] || continue    # its first dump is being made
        if is_encrypted "$file"; then continue; fi    # made while backup_encrypt_local was set
        tested=1
        setpriv --pdeathsig TERM -- "$BASH" "$0" --test --from "$file" &
        children["$name"]=$!
        all_ended_well "$name" || worst=$(worse_of "$worst" "${ended[$name]}")
    done
    (( tested )) || die "the newest dumps are still encrypted: make one first (backup-database.sh)" "$EXIT_USAGE"
    return "$worst"
}

restore_test() {
    subject=restore-test
    trap end_test EXIT
    stop_on_signals
    require_jq
    run_dir=$(mktemp --directory)
    take_lock "$backup_dir/.restore-test-lock"
    sweep_tests
    choose_dump
    ! is_encrypted "$file" || die "$file is encrypted: make another one first (backup-database.sh)" "$EXIT_USAGE"
    [[ -e $file.json ]] || die "$file has no manifest to compare with: make a backup first, then test that"
    info "testing $file"
    check_test_space
    test_dump
}

# Whatever server it is: the dump is whole, is loaded, and shows what was dumped.
test_dump() {
    step=check
    verdict=failed
    verify_dump "$file"
    verdict=''
    step=server
    if [[ -n $backup_restore_test_host ]]; then use_test_host; else start_test_server; fi
    step=load
    load_as_documented
    step=compare
    compare_with_manifest "$test_database"
    verdict=ok
    info "$file restores: tables, schema, extensions and sequences are what was dumped"
}

# The data, the dump itself on its way to them, and what is to stay free.
check_test_space() {
    local place=$backup_restore_test_dir free needed
    if ! free=$(free_bytes "$place" 2>/dev/null); then
        warn "cannot tell how much room there is in $place"
        return
    fi
    needed=$(digits "$(json_value "$file.json" database_bytes)")
    needed=$(( needed * 6 / 5 + $(size_of "$file") + backup_reserve_mb * 1048576 ))
    (( free >= needed )) || [[ -n $backup_restore_test_host ]] ||
        die "$place has $(human_size "$free") free, the test needs $(human_size "$needed")"
}

# A server of the dump's own major version, in `test_dir`, without a network.
start_test_server() {
    local major encoding locale=C.UTF-8
    major=$(json_value "$file.json" server_version)
    major=${major%%.*}
    encoding=$(jq --raw-output '.content.encoding' "$file.json")
    if [[ $encoding != UTF8 ]]; then locale=C; fi
    server_user=restore_test
    if [[ $postgres_mode == direct ]]; then
        choose_programs "$major"
        preload_libraries
    fi
    run_test_server "$encoding" "$locale"
    for _ in {1..120}; do
        if query template1 'SELECT 1' >/dev/null 2>&1; then break; fi
        sleep 0.5
    done
    query template1 'SELECT 1' >/dev/null ||
        die "the temporary server did not start: $(tail -n 3 "$run_dir/server.err")"
    restore_roles
    test_database=restore_test_of_$app_name
    make_test_database
}

choose_programs() { # MAJOR
    local candidate on_path
    on_path=$(command -v initdb || true)
    for candidate in "/usr/lib/postgresql/$1/bin" "${on_path%/*}"; do
        # Never the directory we stand in: the app may write there.
        [[ $candidate == /* && -x $candidate/initdb ]] || continue
        if [[ $("$candidate/initdb" --version) == *" $1."* ]]; then
            pg_bin=$candidate
            break
        fi
    done
    [[ -n $pg_bin ]] ||
        die "a restore test needs a server's programs: install postgresql-$1, or set backup_restore_test_host"
    server_host=$run_dir    # its path is short enough for a socket
}

# The image's, in the container that root has started beside this unit; that has a /tmp of its own.
programs_in_container() {
    local name
    export test_calls=$test_dir/calls TMPDIR=$test_dir/tmp
    pg_bin=$test_dir/bin
    server_host=/tmp
    mkdir "$pg_bin" "$TMPDIR"
    for name in initdb postgres psql pg_restore; do ln -s "$here/call-test-container.sh" "$pg_bin/$name"; done
}

run_test_server() { # ENCODING LOCALE
    "$pg_bin/initdb" --pgdata="$test_dir/data" --username="$server_user" --auth=trust \
        --encoding="$1" --locale="$2" --no-sync >"$run_dir/initdb.out" 2>&1 ||
        die "initdb failed: $(tail -n 3 "$run_dir/initdb.out")"
    # What is in it can be lost at any moment, so nothing is ever flushed. JIT makes code as it goes, which the unit
    # forbids (MemoryDenyWriteExecute): the load of a large table would fail by it. Without its provider there is none,
    # whatever a database or a role sets.
    start server /dev/null /dev/null setpriv --pdeathsig INT -- "$pg_bin/postgres" -D "$test_dir/data" \
        -k "$server_host" -p "$server_port" -c listen_addresses= -c fsync=off -c full_page_writes=off \
        "${preload[@]}" \
        -c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off \
        -c maintenance_work_mem=128MB -c jit_provider=none
}

# Roles as they were; where they were not saved, at least the one that owns the app's data. Tablespaces too,
# but inside the throwaway server's own directory: their places are somebody's disks, or not on this host.
# And who granted a membership was a superuser there, whom PostgreSQL 16 and newer do not take for one here.
restore_roles() {
    local in_place="s/^(CREATE TABLESPACE .* LOCATION )'.*';\$/SET allow_in_place_tablespaces = on; \1'';/"
    local by_nobody='s/^(GRANT .*) GRANTED BY .*;$/\1;/'
    if [[ -e $file.globals.gz ]]; then
        verdict=failed
        gzip -d -c "$file.globals.gz" | sed -E -e "$in_place" -e "$by_nobody" |
            query_text template1 >/dev/null 2>"$run_dir/roles.err" ||
            die "the roles do not restore: $(tail -n 3 "$run_dir/roles.err")"
        verdict=''
    fi
    make_missing_roles
}

# On somebody's server the scratch database has a fixed name, so that one left by a crash is found again.
use_test_host() {
    [[ $server_mode != compose ]] ||
        die 'mode compose reaches its own server only: leave backup_restore_test_host empty' "$EXIT_USAGE"
    server_host=$backup_restore_test_host
    test_database=${app_name}_restore_test
    use_pgpass
    drop_database "$test_database" ||
        die "cannot drop $test_database on $server_host: $(reason_in "$run_dir/psql.err")"
    if has_properties; then
        create_database "$test_database"
    else
        query postgres "CREATE DATABASE $(sql_name "$test_database") TEMPLATE template0" ||
            die "cannot make $test_database on $server_host: there $server_user needs CREATEDB"
    fi
}

# By SIGINT it ends at once; by SIGTERM it would wait for its sessions.
end_server() {
    if [[ -n ${children[server]:-} ]]; then kill -INT "${children[server]}" 2>/dev/null || true; fi
    end_children
}

# Whatever happened: the verdict is written down, and everything is taken away again.
end_test() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    # A test that was stopped has found nothing wanting.
    if (( status > 128 )); then verdict=''; fi
    if [[ -n $backup_restore_test_host && -n $test_database ]]; then
        drop_database "$test_database" ||
            warn "$test_database is left over on $server_host; the next test drops it"
    fi
    end_server
    if (( status != EXIT_BUSY )); then record_verdict || warn "cannot write the verdict beside $file"; fi
    if [[ -n $run_dir ]]; then rm -rf -- "$run_dir"; fi
    if (( status != 0 )); then call_failure_hook "$said_why" "$status"; fi
    exit "$status"
}

record_verdict() {
    local state=$backup_state_dir/restore-test name=${file##*/}
    # As the status file's: the app's own database has the plain name.
    if [[ $name =~ ^($app_name-.+)_$stamp_regex\. ]]; then state+=-${BASH_REMATCH[1]}; fi
    local -a values=(
        --null-input --arg database "$(json_value "$file.json" database)" --arg dump "$file"
        --arg verdict "${verdict:-not made}" --arg message "$said_why" --arg differences "$differences"
        --arg step "$step" --arg tested "$(utc_now)" --argjson seconds "$SECONDS" "$named_values"
    )
    if [[ -w $backup_state_dir ]]; then write_json "$state.json" "${values[@]}"; fi
    if [[ -n $file && -e $file ]]; then write_json "$file.restore-test.json" "${values[@]}"; fi
}

# Left by a killed test of version 1.0.0, whose servers kept their data here; the lock is ours, so none runs.
sweep_tests() {
    local path
    for path in "$backup_dir"/.test.??????; do
        if [[ -d $path && ! -L $path && -O $path ]]; then
            rm -rf -- "$path"
            info "removed $path, left by an interrupted test"
        fi
    done
}
