# shellcheck shell=bash
# A part of the vault's program. Managed by the project that deploys this host.
# --- For those who watch, and those who recover -------------------------------------------------------------

check() {
    local worst=0 text=''
    local -a findings=()
    each_source check_source
    check_alarms
    text=$(printf '%s; ' "${findings[@]}")
    case $worst in
        0) printf 'OK: %s\n' "${text%; }" ;;
        1) printf 'WARNING: %s\n' "${text%; }" ;;
        *) printf 'CRITICAL: %s\n' "${text%; }" ;;
    esac
    return "$worst"
}

find_out() { # SEVERITY FINDING
    findings+=("$2")
    if (( $1 > worst )); then worst=$1; fi
}

check_source() { # NAME ...
    local reached path part age now parts allowed=$vault_maximum_age_hours
    if [[ $vault_prove == weekly ]]; then allowed=$(( allowed + 7 * 24 )); fi
    now=$(date +%s)
    parts=$(parts_here)
    reached=$(cat "$state/$1.reached" 2>/dev/null || printf 0)
    if (( now - reached > vault_maximum_age_hours * 3600 )); then
        find_out 2 "$1: not reached for $(( (now - reached) / 3600 )) h: see journalctl -u $app_name-vault"
    fi
    if [[ -z $parts ]]; then
        find_out 2 "$1: nothing was fetched yet"
        return
    fi
    while read -r part; do
        path=$(newest_sound "$part")
        check_doubts "$1" "$part"
        if [[ -z $path ]]; then
            find_out 2 "$1: no copy of $part was ever proven"
            continue
        fi
        age=$(( (now - $(stat -c %Y "$path")) / 3600 ))
        if (( age > allowed )); then
            find_out 2 "$1: the newest proven copy of $part came $age h ago, allowed are $allowed h"
        else
            find_out 0 "$1: a proven copy of $part came $age h ago"
        fi
    done <<<"$parts"
}

check_doubts() { # NAME DATABASE PART
    local path dump
    path=$(newest_signed "$2")
    if [[ -z $path ]] || ! lacks_data "$path"; then return 0; fi
    dump=$(basename "${path%/*}")/$(basename "${path%.manifest.json}")
    find_out 1 "$1: $dump lacks what was there before: \
$(json_value "${path%.manifest.json}.proof.json" suspect). Was it intended? Then: vault.sh --accept $1 $dump"
}

# What a run could mend: a source that was never read, a newest copy that nobody has tried.
due_of() { # NAME ...
    local path
    if [[ ! -e $state/$1.reached || -z $(newest_of_each) ]]; then
        printf '%s: nothing was fetched yet\n' "$1"
    fi
    while read -r path; do
        if [[ ! -e ${path%.manifest.json}.proof.json && $vault_prove == each ]] && ! is_signed "$path"; then
            printf '%s: %s is not proven yet\n' "$1" "$(basename "${path%.manifest.json}")"
        fi
    done < <(newest_of_each)
}

# Those of a week; what the last run has said is critical, what was before it a warning.
check_alarms() {
    local when name message now last
    now=$(date +%s)
    last=$(cat "$state/last-through" 2>/dev/null || printf 0)
    [[ -e $state/alarms ]] || return 0
    while read -r when name message; do
        (( now - when < 7 * 86400 )) || continue
        if (( when >= last )); then
            find_out 2 "$name: $message"
        else
            find_out 1 "$name, $(date --date="@$when" +'%F %H:%M'): $message"
        fi
    done < <(sort --numeric-sort --reverse "$state/alarms" | awk '{ text = $0; sub(/^[0-9]+ /, "", text) }
        !seen[text]++ && ++of[$2] <= 20' | tac)    # of each host: none hides what is wrong at another
}

report() {
    each_source report_source
}

report_source() { # NAME ...
    local part path sound signed doubted
    while read -r part; do
        path=$(newest_here "$part")
        sound=$(newest_sound "$part")
        signed=$(newest_signed "$part")
        doubted=''
        if [[ -n $signed ]] && lacks_data "$signed"; then doubted=$(basename "${signed%.manifest.json}"); fi
        jq --null-input --compact-output --arg host "$1" --arg newest "$(basename "${path%.manifest.json}")" \
            --arg database "$(json_value "$path" database)" \
            --arg proven "$(basename "${sound%.manifest.json}")" --arg suspect "$doubted" \
            --argjson hours "$(hours_since "$sound")" \
            --argjson came "$(if [[ -n $sound ]]; then stat -c %Y "$sound"; else printf null; fi)" \
            '{$host, $database, $newest, $proven, proven_hours: $hours, proven_at: $came, $suspect}'
    done < <(parts_here)
}

# Whoever stops reading a pipe ends its other side, and with it the program: this is none.
newest_here() { # DATABASE PART
    local path
    while read -r path; do
        printf '%s' "$path"
        return
    done < <(newest_of_each "$1")
}

hours_since() { # FILE, WHICH MAY BE ""
    if [[ -n $1 ]]; then printf '%s' "$(( ($(date +%s) - $(stat -c %Y "$1")) / 3600 ))"; else printf null; fi
}

list_stored() {
    local line path word
    printf '%-9s %-16s %10s %s\n' PROVEN FETCHED SIZE 'HOST TIER/DUMP'
    for line in "${vault_sources[@]}"; do
        source_name=${line%% *}
        [[ -z $wanted_host || $wanted_host == "$source_name" ]] || continue
        while read -r path; do
            word=-
            if is_signed "$path"; then word=signed; elif [[ -e $path.sig ]]; then word=damaged; fi
            if [[ $word == signed ]] && lacks_data "$path"; then word=suspect; fi
            printf '%-9s %-16s %10s %s %s\n' "$word" "$(date --reference="$path" +'%F %H:%M')" \
                "$(human_size "$(digits "$(jq '[.files[].bytes] | add' "$path" 2>/dev/null)")")" "$source_name" \
                "$(basename "${path%/*}")/$(basename "${path%.manifest.json}")"
        done < <(stored_manifests)
    done
}

offer() {
    local path signed proof
    source_name=$wanted_host
    [[ -d $store/$wanted_host ]] || return 0
    # One whose manifest the disk has damaged hides none of the others.
    while read -r path; do
        signed=false proof=$(json_value "${path%.manifest.json}.proof.json" verdict)
        if is_signed "$path"; then signed=true; elif [[ -e $path.sig ]]; then proof='its signature does not fit it'; fi
        jq --null-input --compact-output --arg tier "$(basename "${path%/*}")" \
            --arg dump "$(basename "${path%.manifest.json}")" --arg database "$(json_value "$path" database)" \
            --arg proof "$proof" \
            --argjson fetched "$(stat -c %Y "$path")" \
            --argjson signed "$signed" \
            --arg suspect "$(if lacks_data "$path"; then
                json_value "${path%.manifest.json}.proof.json" suspect
            fi)" \
            '{$tier, $dump, $database, $proof, $fetched, $signed, $suspect}'
    done < <(stored_manifests)
}

# age's header is all that is read of a file: its first kilobytes.
list_unopenable() {
    local path bad=0
    age-keygen -y "$identity" >/dev/null 2>&1 || die "$identity is no key: it opens nothing" "$EXIT_USAGE"
    while read -r path; do
        if ! opens "$path"; then
            printf '%s\n' "$path"
            bad=1
        fi
    done < <(find "$store" -name '*.age')
    return "$bad"
}

opens() { # FILE
    local said
    said=$(head -c 4096 "$1" | age --decrypt --identity "$identity" 2>&1 >/dev/null || true)
    [[ $said != *'no identity matched'* && $said != *'not a known'* && $said != *'header'* ]]
}

# What was intended: noted beside the copy, with who and when. Nothing that its source says has this effect.
accept_copy() {
    local path=$store/$wanted_host/$wanted_file.manifest.json
    [[ $wanted_file =~ ^(daily|weekly)/[^/]+$ && $wanted_host =~ ^[@A-Za-z0-9._/-]+$ && -f $path ]] ||
        die "there is no $wanted_file of $wanted_host: --list shows what there is" "$EXIT_USAGE"
    lacks_data "$path" || die "$wanted_file lacks nothing: there is nothing to accept" "$EXIT_USAGE"
    write_json "${path%.manifest.json}.accepted.json" --null-input --arg dump "$(basename "$wanted_file")" \
        --arg by "${SUDO_USER:-root}" --arg at "$(utc_now)" "$named_values"
    info "$wanted_file is accepted"
}

# For node_exporter's textfile collector, whole or not at all; its age is counted where it is read.
write_metrics() {
    local aside
    [[ -n $vault_metrics_dir ]] || return 0
    aside=$vault_metrics_dir/.$app_name-vault.$$
    if ! { print_metrics >"$aside" && chmod 0644 "$aside" &&
        mv -fT "$aside" "$vault_metrics_dir/$app_name-vault.prom"; }; then
        rm -f -- "$aside"
        alarm "cannot write into $vault_metrics_dir: install prometheus-node-exporter, see the disk"
    fi
}

print_metrics() {
    { report; each_source figures_of; } |
        jq --null-input --raw-output --arg app "$app_name" --from-file "$here/vault-metrics.jq"
}

figures_of() { # NAME ...
    jq --null-input --compact-output --arg source "$1" --argjson alarms "$(alarms_of "$1")" \
        --argjson reached "$(digits "$(cat "$state/$1.reached" 2>/dev/null || true)")" \
        '{$source, $reached, $alarms}'
}

# How many of the last run.
alarms_of() { # NAME
    local last
    last=$(cat "$state/last-through" 2>/dev/null || printf 0)
    touch "$state/alarms"
    awk -v last="$last" -v name="$1" '$1 >= last && $2 == name' "$state/alarms" |
        sort --unique --key=3 | wc -l
}

# A manifest and its signature go as they are; a file is opened, and its sum looked at by who asked for it.
export_file() {
    local path=$store/$wanted_host/$wanted_file
    [[ $wanted_file =~ ^(daily|weekly)/[^/]+$ && $wanted_host =~ ^[A-Za-z0-9._-]+$ && -f $path ]] ||
        die "there is no $wanted_file of $wanted_host: --list shows what there is" "$EXIT_USAGE"
    case $path in
        *.age) open_copy "$path" ;;
        *) cat -- "$path" ;;
    esac
}
