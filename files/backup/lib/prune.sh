# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Retention ----------------------------------------------------------------------------------------

days_of() { # TIER
    local days=backup_$1_retention_days
    printf '%s' "${!days}"
}

# Removes what is ours and older than the tier's days, and only after a good dump: never the newest good ones of the
# tier's minimum, nor the newest that was restored as a test, and nothing while the clock may have leapt.
prune() { # TIER DAYS
    local kind=$1 days=$2 now cutoff path proven good=0 removed=0 ahead i
    local minimum=backup_$1_minimum_kept
    minimum=${!minimum}
    now=$(seconds_of "$(wall_clock)")
    cutoff=$(( now - days * 86400 ))
    load_verdicts "$kind"
    # Where dumps are encrypted none is restored here any more: an earlier verdict would keep one for ever.
    proven=''
    if (( ! backup_encrypt_local )); then proven=$(newest_proven "$kind"); fi
    local -a dumps=() seconds=() old=()
    mapfile -t dumps < <(dumps_in "$kind" "$prefix")
    load_suspicions "${dumps[@]}"
    mapfile -t seconds < <(printf '%s\n' "${dumps[@]}" | seconds_of_all)
    for (( ahead = 0; ahead < ${#dumps[@]}; ahead++ )); do
        (( seconds[ahead] > now )) && [[ ${dumps[ahead]##*/} != "${published##*/}" ]] || break
    done
    if (( ahead > 0 )); then
        warn "$kind: $ahead dump(s) have a time in the future: see that the clock is right"
    fi
    for (( i = ahead; i < ${#dumps[@]}; i++ )); do
        path=${dumps[i]}
        # After a leap of the clock age says little: what was made before stays until enough good ones follow.
        if (( good <= minimum && i > ahead )) && is_a_leap "$kind" "$i"; then
            warn "$kind: there was no dump for a long time before ${dumps[i - 1]##*/}: nothing is removed \
until $minimum good ones follow. See that the clock is right"
            return
        fi
        if (( good < minimum )); then
            if may_be_good "$path"; then good=$(( good + 1 )); fi
        else
            good=$(( minimum + 1 ))    # enough of them: no earlier leap matters
            # One that somebody else has put there is his to remove; so is one of which no manifest tells.
            if (( seconds[i] < cutoff )) && [[ $path != "$proven" && -O $path ]] && has_manifest "$path"; then
                old+=("$path")
            fi
        fi
    done
    for path in "${old[@]}"; do
        remove_dump "$path" || return 1
        info "removed $kind dump ${path##*/}"
        removed=$(( removed + 1 ))
    done
    info "$kind: kept $(( ${#dumps[@]} - removed )), removed $removed older than $days days"
}

# Whether the time between this dump and the next newer one is longer than this host is used to: half as long
# again as the tier's period, or as the second longest wait before it (a host that is off at weekends has many
# long ones). Reads `seconds` of `prune`.
is_a_leap() { # TIER INDEX
    local -A period_hours=([daily]=24 [weekly]=168 [monthly]=744 [yearly]=8784)
    local longest=0 second=0 usual wait i
    for (( i = $2 + 1; i < ${#seconds[@]}; i++ )); do
        wait=$(( seconds[i - 1] - seconds[i] ))
        if (( wait > longest )); then
            second=$longest longest=$wait
        elif (( wait > second )); then
            second=$wait
        fi
    done
    usual=$(( period_hours[$1] * 3600 ))
    if (( second > usual )); then usual=$second; fi
    (( seconds[$2 - 1] - seconds[$2] > usual * 3 / 2 ))
}

# The time in each dump's name: of a hundred, a process for each would be felt.
seconds_of_all() {
    sed -E "s/.*_([0-9-]{10})_([0-9]{2})-([0-9]{2})-([0-9]{2})\\..*/\1 \2:\3:\4/" | TZ=UTC0 date --file=- +%s
}

# Verified when it was made, not suspect, and not found wanting since.
may_be_good() { # DUMP
    [[ -e $1.json && ${json[$1.restore-test.json verdict]:-} != failed ]] && ! is_suspect "$1"
}

# The newest dump of a tier that a restore test has found to be good.
newest_proven() { # TIER
    local path
    while read -r path; do
        if [[ ${json[$path.restore-test.json verdict]:-} == ok ]]; then
            printf '%s' "$path"
            return
        fi
    done < <(dumps_in "$1" "$prefix")
}
