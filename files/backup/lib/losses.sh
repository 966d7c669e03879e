# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Lost data is an alarm: a dump that lacks what the last good one had is suspect -------------------------

suspicion=''    # of the dump that is being made: why, or nothing

# The newest dump that nobody has to doubt, apart from the one that is being made.
newest_unsuspicious() { # PREFIX
    local path
    local -a paths=()
    mapfile -t paths < <(all_dumps "$1")
    load_suspicions "${paths[@]}"
    for path in "${paths[@]}"; do
        if [[ -e $path.json && $path != "$final" ]] && ! is_suspect "$path"; then
            printf '%s' "$path"
            return
        fi
    done
}

# Compares with the newest unsuspicious dump, and its size with the median of those: sets `suspicion`.
look_for_losses() {
    local before
    before=$(newest_unsuspicious "$prefix")
    suspicion=$(compare_size)
    if [[ -n $before ]]; then
        suspicion+=$(jq --raw-output --slurpfile now "$run_dir/contents.json" --argjson few "$few_rows" \
            --argjson percent "$backup_size_change_percent" --arg explained "$(volatile_ones)" \
            "$first_losses_program" "$before.json")
    fi
    suspicion=${suspicion%; }
    if holds_no_table && [[ -z $suspicion ]]; then
        info "$database holds no table yet: an administrator who expects some looks now"
    fi
    [[ -z $suspicion ]] || warn "suspect: $suspicion. The dump is kept, and does not take the last good \
one's \
place. Was it intended? Then: backup-database.sh --accept ${final##*/}"
}

holds_no_table() {
    [[ $(jq '[.objects | keys[] | select(test("^(partitioned )?table "))] == []' \
        "$run_dir/contents.json") == true ]]
}

# What was intended: noted beside the dump, with who and when, and then it is as good as any other.
accept_dump() {
    local kind path by
    subject=accept
    step=accept
    require_jq
    for kind in "${tiers[@]}"; do
        if [[ ! -e $file && -e $(tier_dir "$kind")/$file ]]; then file=$(tier_dir "$kind")/$file; fi
    done
    [[ -e $file && -e $file.json ]] ||
        die "there is no $file with a manifest: restore-database.sh --list shows the dumps" "$EXIT_USAGE"
    path=$(readlink --canonicalize "$file")
    [[ ${path##*/} =~ ^($app_name|$app_name-.+)_$stamp_regex\. ]] ||
        die "${path##*/} is no dump of ours: restore-database.sh --list shows them" "$EXIT_USAGE"
    prefix=${BASH_REMATCH[1]}
    load_suspicions "$path"
    if ! is_suspect "$path"; then
        info "$path is not suspect: there is nothing to accept"
        return
    fi
    by=${BACKUP_ACCEPTED_BY:-$(id -un)}
    take_lock "$backup_dir/.lock"
    write_json "$path.accepted.json" --null-input --arg dump "${path##*/}" --arg by "$by" \
        --arg at "$(utc_now)" --arg suspicion "${json[$path.json suspect]}" "$named_values" ||
        die "cannot write $path.accepted.json: make room on its disk"
    if [[ $(newest_by_time "$prefix") == "$path" ]]; then
        point_latest_to "$path"
        promote "$path"
    fi
    info "$path is accepted by $by: ${json[$path.json suspect]}"
}

newest_by_time() { all_dumps "$1" | that_are_past | sed -n 1p; }

point_latest_to() { # DUMP
    local suffix=${1##*/} link
    suffix=${suffix#"${prefix}"_????-??-??_??-??-??}
    link=$backup_dir/${prefix}_latest$suffix
    if ! ln -sfn "${1#"$backup_dir"/}" "$link.part" || ! mv --no-target-directory "$link.part" "$link"; then
        die "cannot point $link to $1: see who else writes in $backup_dir"
    fi
    remove_other_links "$suffix"
}
