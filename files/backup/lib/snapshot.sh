# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The snapshot: one session that counts exactly what pg_dump sees -------------------------------------

# psql reads from descriptor 7 and answers on descriptor 6, one line for each question.
open_session() { # DATABASE
    mkfifo "$run_dir/ask" "$run_dir/answer"
    use_tool psql
    start session "$run_dir/ask" "$run_dir/answer" \
        "${tool[@]}" "${psql_options[@]}" --dbname="$(conninfo "$1")"
    exec 7<>"$run_dir/ask" 6<>"$run_dir/answer"    # both ways, which waits for nobody
    await_open_files session
    exec 7>"$run_dir/ask" 6<"$run_dir/answer"
}

ask() { # SQL
    printf '%s\n' "$1" >&7 2>/dev/null || session_is_gone
}

hear() { # VARIABLE
    IFS= read -r -u 6 "$1" || session_is_gone
}

# One that is long: bash would read it byte by byte.
hear_json() { # VARIABLE
    local -n heard=$1
    heard=$(head --lines=1 <&6 | jq --raw-output .)
    [[ -n $heard ]] || session_is_gone
}

session_is_gone() {
    local why
    why=$(reason_in "$run_dir/session.err")
    die "the session with the snapshot ended: $why: $(advice_for "$why")"
}

close_session() {
    exec 7>&-
    all_ended_well session || session_is_gone
    exec 6<&-
    if [[ -n ${children[collect]:-} ]]; then
        all_ended_well collect || die "$(why_failed collect): make room on the disk of $run_dir"
    fi
}
