# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The dump: one stream, watched at every point ------------------------------------------------------

# A filter that changes nothing. It notes how many bytes went through, and the text that is to end them where it is
# among the last 4 KB: these may be rows, and where dumps are encrypted none lies in plain.
read -r -d '' watch_program <<'PERL' || true
    my ($note, $end) = @ARGV;
    my ($bytes, $tail) = (0, "");
    fcntl($_, 1031, 1 << 20) for *STDIN, *STDOUT;    # F_SETPIPE_SZ: fewer, larger turns
    while (1) {
        my $got = sysread(STDIN, my $block, 1 << 20);
        defined $got or die "reading: $!\n";
        last if !$got;
        for (my $sent = 0; $sent < $got;) {
            my $more = syswrite(STDOUT, $block, $got - $sent, $sent);
            defined $more or die "writing: $!\n";
            $sent += $more;
        }
        $bytes += $got;
        $tail = substr($got < 4096 ? $tail . $block : $block, -4096);
    }
    open(my $file, ">", $note) or die "$note: $!\n";
    print {$file} "$bytes\n", index($tail, $end) < 0 ? "" : "$end\n";
    close($file) or die "$note: $!\n";
PERL

# Backups yield to everybody else on this host.
readonly gently=(nice -n 10 ionice -c 2 -n 7)

# The fastest that is here and writes an ordinary .gz: igzip keeps up with pg_dump, pigz and gzip do not.
compressor=()

choose_compressor() {
    if [[ $backup_format == plain-zstd ]]; then
        command -v zstd >/dev/null || die 'zstd is missing: install it, as a deploy does' "$EXIT_USAGE"
        compressor=(zstd -1 --quiet --stdout)
    elif command -v igzip >/dev/null; then compressor=(igzip -1 -c)
    elif command -v pigz >/dev/null; then compressor=(pigz --processes 1)
    else compressor=(gzip)
    fi
}

check_space() { # DIRECTORY
    local free needed newest
    free=$(free_bytes "$1")
    newest=$(newest_dump "$prefix")
    if [[ -n $newest ]]; then
        needed=$(( $(size_of "$newest") * 5 / 4 ))
    else
        needed=$(( database_bytes / 2 ))
    fi
    needed=$(( needed + backup_reserve_mb * 1048576 ))
    (( free >= needed )) ||
        die "$1 has $(human_size "$free") free, a dump may need $(human_size "$needed"): make room"
}

# Each stage is a process with an id and an exit code of its own; only all of them together make a dump.
stages=()

stage() { # NAME INPUT OUTPUT COMMAND...
    stages+=("$1")
    start "$@"
}

dump_to() { # PART SNAPSHOT
    local part=$1
    stages=()
    use_tool pg_dump
    local -a pg_dump=(
        "${gently[@]}" "${tool[@]}" --no-password --snapshot="$2" --encoding="$database_encoding"
        --lock-wait-timeout="${backup_lock_wait_seconds}s" --dbname="$(conninfo "$database")"
        "${exclude_options[@]}"
    )
    mkfifo "$run_dir"/{rows,watched,packed,copy}
    case $backup_format in
        plain*)
            stage pg_dump /dev/null "$run_dir/rows" "${pg_dump[@]}" --format=plain
            stage watch "$run_dir/rows" "$run_dir/watched" perl -e "$watch_program" "$run_dir/noted" \
                "$trailer"
            stage "${compressor[0]}" "$run_dir/watched" "$run_dir/packed" "${gently[@]}" "${compressor[@]}"
            ;;
        custom)
            stage pg_dump /dev/null "$run_dir/packed" "${pg_dump[@]}" --format=custom \
                --compress="$(own_compression)"
            ;;
        directory)
            stage pg_dump /dev/null /dev/null "${pg_dump[@]}" --format=directory --file="$part" \
                --compress="$(own_compression)" --jobs="$backup_parallel_jobs"
            ;;
    esac
    if (( backup_encrypt_local )); then
        encrypt_dump "$part"
    elif [[ $backup_format != directory ]]; then
        stage tee "$run_dir/packed" "$run_dir/copy" tee --output-error=exit "$part"
        stage sha256sum "$run_dir/copy" "$run_dir/packed.plain_sum" sha256sum
    fi
}

# pg_dump's own: zstd came with version 16, and level 1 of gzip is what keeps up best before.
own_compression() {
    if (( ${client_version%%.*} >= 16 )); then printf 'zstd:1'; else printf '1'; fi
}

await_dump() {
    local why
    if ! all_ended_well "${stages[@]}"; then
        # Without the session's snapshot pg_dump cannot go on, so its reason is the real one.
        if [[ -s $run_dir/session.err ]]; then session_is_gone; fi
        why=$(why_failed "${stages[@]}")
        die "$why: $(advice_for "$why")"
    fi
    # It may have left something out and call that a warning: subscriptions, rows of its own choice.
    local said
    said=$(grep -hv '^$' "$run_dir/pg_dump.err" | tr '\n' ' ' | head -c 4000 || true)
    [[ -z $said ]] || add_warning "pg_dump: $said"
}

# Passes on what pg_dumpall says, to its last line.
# shellcheck disable=SC2016  # Perl's own names
readonly whole_roles='
    $whole ||= /^-- PostgreSQL database cluster dump complete/;
    END { die "the dump of the roles is cut short\n" if !$whole }'

# Roles and memberships. Their passwords are saved where somebody has let the app's role or this one read them:
# pg_read_all_data reads them unasked. Without them a restore works, and whoever restores sets passwords anew.
dump_globals() { # FILE
    local why
    local -a options=(
        --globals-only --no-password --database="$postgres_database"
        --dbname="$(conninfo "$postgres_database")"
    )
    if [[ $(query "$postgres_database" "SELECT has_table_privilege($(sql_text "$postgres_user"), 'pg_authid',
        'SELECT') OR EXISTS (SELECT FROM pg_class, aclexplode(relacl) WHERE oid = 'pg_authid'::regclass
            AND privilege_type = 'SELECT' AND pg_has_role(grantee, 'USAGE'))") != t ]]; then
        options+=(--no-role-passwords)
        info "roles are saved without passwords: nobody has let $server_user read pg_authid"
    fi
    use_tool pg_dumpall
    mkfifo "$run_dir"/{globals,roles}
    stages=()
    stage pg_dumpall /dev/null "$run_dir/globals" "${gently[@]}" "${tool[@]}" "${options[@]}"
    stage roles "$run_dir/globals" "$run_dir/roles" perl -pe "$whole_roles"
    if (( backup_encrypt_local )); then
        mkfifo "$run_dir/packed_roles"
        stage gzip "$run_dir/roles" "$run_dir/packed_roles" gzip -c
        encrypt_stream "$run_dir/packed_roles" "$1"
    else
        stage gzip "$run_dir/roles" "$1" gzip -c
    fi
    if ! all_ended_well "${stages[@]}"; then
        why=$(why_failed "${stages[@]}")
        if [[ $why == pg_dumpall* || $why == roles* ]]; then die "$why: or set backup_include_globals = False"; fi
        die "cannot write $1: $why: $(advice_for "$why")"
    fi
    if (( backup_encrypt_local )); then note_encrypted "$1" "$run_dir/packed_roles"; fi
}
