# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- For those who watch: one line, and the exit codes that monitoring systems expect --------------------

# The worst that was found, all that was found, and the figures for a graph.
readonly words=(OK WARNING CRITICAL)
severity=0
findings=()
figures=()
overdue=()    # of these, what a run of a tier would mend, or only a person can: accept

find_out() { # SEVERITY FINDING [TIER]
    findings+=("$2")
    if (( $1 > severity )); then severity=$1; fi
    if [[ -n ${3:-} ]]; then overdue+=("$3"$'\t'"$2"); fi
}

check_freshness() {
    local text
    look_at_everything
    text=$(printf '%s; ' "${findings[@]}")
    printf '%s: %s | %s\n' "${words[$severity]}" "${text%; }" "${figures[*]-}"
    return "$severity"
}

# For the deploy, which makes the runs that are due and tells the rest: the tier and the reason, a line each.
list_overdue() {
    look_at_everything
    if (( ${#overdue[@]} > 0 )); then printf '%s\n' "${overdue[@]}"; fi
}

look_at_everything() {
    local name
    require_jq
    local -a names=()
    if [[ ${backup_databases[0]} == all ]]; then
        # Those that the server had at the last run: one that was dropped since needs no fresh dump.
        mapfile -t names < <(cat "$backup_state_dir/databases" 2>/dev/null || prefixes)
        (( ${#names[@]} > 0 )) || find_out 2 'there is no dump yet: run backup-database.sh' daily
    else
        for name in "${backup_databases[@]}"; do names+=("$(prefix_of "$name")"); done
    fi
    load_json 'state step message leftovers' "$backup_state_dir"/status*.json
    load_verdicts daily weekly
    use_recipients
    for name in "${names[@]}"; do
        check_dumps_of "$name"
        check_last_run_of "$name"
        check_weekly_of "$name"
        check_restore_test_of "$name"
        check_recipients_of "$name" daily
        check_recipients_of "$name" weekly
        name_unknown_of "$name"
    done
    name_leftovers
}

# Only a dump with a manifest was verified; one whose time is still to come proves that the clock is wrong.
check_dumps_of() { # PREFIX
    local path age latest=$backup_dir/$1_latest$backup_suffix
    local -a paths=()
    mapfile -t paths < <(all_dumps "$1")
    load_suspicions "${paths[@]}"
    for path in "${paths[@]}"; do
        [[ -e $path.json ]] || continue
        if is_suspect "$path"; then
            find_out 1 "$1: ${path##*/} is suspect: ${json[$path.json suspect]}. Was it intended? Then: \
backup-database.sh --accept ${path##*/}" accept
        fi
        age=$(age_of "$path")
        if (( age < -3600 )); then
            find_out 1 "$1: ${path##*/} is from the future: see that the clock is right"
            continue
        fi
        figures+=("$1_age=${age}s;;$(( backup_maximum_age_hours * 3600 ))" "$1_size=$(size_of "$path")B")
        if (( age > backup_maximum_age_hours * 3600 )); then
            find_out 2 \
                "$1: newest good dump $(( age / 3600 )) h ago, allowed are $backup_maximum_age_hours h" daily
        elif [[ ! -e $latest ]]; then    # after a change of backup_format, too
            find_out 1 "$1: there is no $latest: run backup-database.sh" daily
        else
            find_out 0 "$1: good dump $(( age / 3600 )) h ago"
        fi
        return
    done
    find_out 2 "$1: there is no good dump: run backup-database.sh and read its log" daily
}

check_last_run_of() { # PREFIX
    local kind file
    for kind in daily weekly; do
        file=$(status_file_of "$1" "$kind")
        case ${json[$file state]:-} in
            failed)
                find_out 1 "$1: the last $kind run failed: ${json[$file message]:-}" "$kind" ;;
            running)
                if flock --nonblock "$backup_dir/.lock" true; then
                    find_out 1 "$1: the last $kind run was interrupted in step ${json[$file step]:-}: \
run it again" "$kind"
                fi ;;
        esac
    done
}

# A tier that has runs of its own and makes none is no better than one that fails.
check_weekly_of() { # PREFIX
    local newest days
    newest=$(dumps_in weekly "$1" | with_manifest | that_are_past | sed -n 1p)
    newest=${newest:-$(dumps_in daily "$1" | with_manifest | tail -n 1)}
    [[ -n $newest ]] || return 0
    days=$(( ($(seconds_of "$(wall_clock)") - $(seconds_of "$(stamp_of "$newest")")) / 86400 ))
    if (( days > 7 + backup_maximum_age_hours / 24 )); then
        find_out 1 "$1: no weekly dump for $days days: see that cron runs, and its log" weekly
    fi
}

check_restore_test_of() { # PREFIX
    local path age how
    (( ! backup_encrypt_local )) || return 0    # no key lies here that opens a dump: a vault restores it, and tells
    while read -r path; do
        age=$(days_since_test_of "$path")
        case ${json[$path.restore-test.json verdict]:-} in
            ok)
                if (( age > backup_restore_test_maximum_age_days )); then
                    find_out 1 "$1: a dump was last restored as a test $age days ago"
                else
                    how=${json[$path.restore-test.json message]:-}
                    find_out 0 "$1: restored as a test $age days ago${how:+, $how}"
                fi
                return ;;
            failed)
                find_out 2 "$1: the restore test failed: ${json[$path.restore-test.json message]:-}"
                return ;;
        esac
    done < <(all_dumps "$1" | with_manifest | that_are_past)
    if (( ${age:-0} > backup_restore_test_maximum_age_days )); then
        find_out 1 "$1: no dump was ever restored: run restore-database.sh --test"
    fi
}

# Of a dump that was never tested, since it was made.
days_since_test_of() { # DUMP
    local tested=${json[$1.restore-test.json tested]:-}
    if [[ -n $tested ]] && tested=$(date --date="$tested" +%s 2>/dev/null); then
        printf '%s' $(( ($(date +%s) - tested) / 86400 ))
    else
        printf '%s' $(( $(age_of "$1") / 86400 ))
    fi
}

# What others have made here, such as the handbook's script before us: they prove nothing, and are not ours.
name_unknown_of() { # PREFIX
    local path number=0
    while IFS= read -r path; do
        if ! has_manifest "$path"; then number=$(( number + 1 )); fi
    done < <(all_dumps "$1")
    if (( number > 0 )); then
        find_out 0 "$1: $number dump(s) of unknown quality, without a manifest, stay until somebody removes them"
    fi
}

# As the last run of the app's own database has seen them on the server.
name_leftovers() {
    local told state sentence
    told=${json[$(status_file_of "$app_name" daily) leftovers]:-}
    [[ -n $told && $told != '[]' ]] || return 0
    while IFS=$'\t' read -r state sentence; do
        case $state in
            'cut off') find_out 1 "$sentence" ;;
            kept) find_out 0 "$sentence" ;;
        esac
    done < <(tell_leftovers <<<"$told")
}

# --- The status file: written before the dump starts and after it ends ----------------------------------

# One for each database and tier: a daily run that is well must not hide a weekly one that failed. A dot in a
# database's name is spelt: "x.weekly" is not the weekly run of "x".
status_file_of() { # PREFIX TIER
    local name=status
    if [[ $1 != "$app_name" ]]; then name+=-${1//./%2e}; fi
    if [[ $2 != daily ]]; then name+=.$2; fi
    printf '%s/%s.json' "$backup_state_dir" "$name"
}

# With "all": what there is to be backed up, for `--check`.
note_databases() { # NAME...
    local name
    [[ -w $backup_state_dir ]] || return 0
    for name in "$@"; do
        prefix_of "$name"
        echo
    done >"$backup_state_dir/databases.part" && mv "$backup_state_dir"/databases{.part,}
}

# Of a database with a dot in its name, as it was called before dots were spelt: nobody would write it again.
remove_former_status() {
    local former=$backup_state_dir/status-$prefix.json
    [[ $prefix == *.* ]] || return 0
    if [[ $tier != daily ]]; then former=${former%.json}.$tier.json; fi
    [[ $(json_value "$former" database) != "$database" || $(json_value "$former" tier) != "$tier" ]] ||
        rm -f -- "$former"
}

write_status() { # STATE EXIT CODE MESSAGE
    local finished=''
    # A host without the directory still gets its dump: `prepare` warns of that.
    [[ -w $backup_state_dir ]] || return 0
    if [[ $1 != running ]]; then finished=$(utc_now); fi
    write_json "$(status_file_of "$prefix" "$tier")" --null-input --arg state "$1" --arg tier "$tier" \
        --arg database "${database:-$postgres_database}" --arg step "$step" --arg message "$3" \
        --argjson exit_code "$2" --argjson pid $$ --arg started "$began_utc" --arg ended "$finished" \
        --argjson seconds "$SECONDS" --arg dump "$published" --arg suspect "$suspicion" \
        --arg warnings "$warnings" --arg role "$dump_role" --arg role_reason "$dump_role_reason" \
        --argjson leftovers "$leftovers" "$named_values"
    remove_former_status
}

# Tells the program of backup_hook how a run stands: what its status file says, on standard input. It can fail, and has
# a minute; no backup waits longer for it, or fails by it.
call_hook() {
    [[ -n $backup_hook ]] || return 0
    timeout 60 /bin/sh -c "$backup_hook" <"$(status_file_of "$prefix" "$tier")" >&2 9>&- ||
        warn 'backup_hook failed: it may not know of this run'
}
