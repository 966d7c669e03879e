# shellcheck shell=bash
# A part of the vault's program. Managed by the project that deploys this host.
# --- Retention: the backup hosts' own tiers, by this vault's clock, and only signed copies count ----------

note_reached() { # SOURCE
    date +%s >"$state/reached.part" && mv -- "$state/reached.part" "$state/$1.reached"
}

# A clock that leapt makes everything look old: then nothing is removed until it has stood still for a week.
note_this_run() {
    local last now
    now=$(date +%s)
    last=$(cat "$state/last-run" 2>/dev/null || printf '%s' "$now")
    if (( now < last - 3600 || now > last + 14 * 86400 )); then
        printf '%s\n' "$now" >"$state/leapt"
        warn "the clock went from $(date --date="@$last" +%F) to $(date --date="@$now" +%F): \
nothing is removed for a week"
    fi
    touch_what_came_ahead "$now"
    printf '%s\n' "$now" >"$state/last-run.part" && mv -- "$state/last-run.part" "$state/last-run"
    forget_old_alarms "$now"
    run_began=$now
}

# What came while the clock was ahead would be fresh for as long: it has come now. But what its source made later than
# now tells that this clock is behind.
touch_what_came_ahead() { # NOW
    local path latest
    latest=$(latest_stamp)
    while read -r path; do
        [[ $(stamp_of "$path") > $latest ]] || touch -- "$path"
    done < <(find "$store" -name '*.manifest.json' -newermt "@$(( $1 + 3600 ))")
}

run_began=0

# What a run has seen is told as it stands until the next one is through.
note_end_of_run() {
    printf '%s\n' "$run_began" >"$state/last-through.part"
    mv -- "$state/last-through.part" "$state/last-through"
}

forget_old_alarms() { # NOW
    [[ -e $state/alarms ]] || return 0
    # What a clock that was ahead has noted would stay for as long.
    awk -v now="$1" -v oldest=$(( $1 - 7 * 86400 )) '$1 > now { $1 = now } $1 >= oldest' "$state/alarms" |
        tail -n 10000 >"$state/alarms.part"
    mv -- "$state/alarms.part" "$state/alarms"
}

clock_has_leapt() {
    local leapt now
    [[ -e $state/leapt ]] || return 1
    leapt=$(<"$state/leapt")
    now=$(date +%s)
    (( now - leapt < 7 * 86400 ))    # also while it is before that moment
}

days_of() { # TIER
    local days=backup_$1_retention_days
    printf '%s' "${!days}"
}

# Called only after the source was reached. Of each database, those that came too long ago go, but: each
# tier's minimum of sound ones (signed, and lacking nothing), the first sound one of each month and year for
# as long as those are kept, and all while no sound copy has come for the allowed time.
remove_old() { # SOURCE
    local part
    step=remove
    if clock_has_leapt; then return; fi
    while read -r part; do
        remove_old_of "$part"
    done < <(parts_here)
}

remove_old_of() { # DATABASE PART
    local kind path now age
    local -A periods=() sound_seen=()
    now=$(date +%s)
    path=$(newest_sound "$1")
    if [[ -z $path ]] || (( now - $(stat -c %Y "$path") > vault_maximum_age_hours * 3600 )); then
        return    # a source that is silent, or sends what does not restore, or what lacks data
    fi
    first_of_periods "$1"
    while read -r path; do
        kind=$(basename "${path%/*}")
        age=$(( (now - $(stat -c %Y "$path")) / 86400 ))
        if is_sound "$path"; then
            sound_seen[$kind]=$(( ${sound_seen[$kind]:-0} + 1 ))
            local minimum=backup_${kind}_minimum_kept
            (( sound_seen[$kind] > ${!minimum} )) || continue
        fi
        (( age > $(days_of "$kind") )) || continue
        if is_kept_longer "$path" "$age"; then continue; fi
        remove_copy "$path" "$age"
    done < <(stored_manifests "$1")
}

# The oldest sound copy of each month and each year: of those that came, by when they came.
first_of_periods() { # DATABASE PART, FILLS periods
    local path when
    while read -r path; do
        is_sound "$path" || continue
        when=$(date --date="@$(stat -c %Y "$path")" +%Y-%m)
        periods[monthly-$when]=$path    # the newest first: the last one stays
        periods[yearly-${when%-*}]=$path
    done < <(stored_manifests "$1")
}

is_kept_longer() { # MANIFEST AGE
    local key
    for key in "${!periods[@]}"; do
        if [[ ${periods[$key]} == "$1" ]] && (( $2 <= $(days_of "${key%%-*}") )); then return 0; fi
    done
    return 1
}

# The manifest first: what has none counts for nothing. Its signature before it, so that whatever is left by a kill goes
# in the next run.
remove_copy() { # MANIFEST AGE
    local dump=${1%.manifest.json}
    rm -f -- "$1.sig" && rm -f -- "$1" && rm -f -- "$dump".{proof,accepted}.json \
        "$dump"{,.tar,.globals.gz,.properties.json,.json}.age
    info "removed ${dump##*/}, which came $2 days ago"
}
