# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The store: names and tiers -----------------------------------------------------------------------

# A name is the wall clock's time, so names sort by age as they stand. What accompanies a dump has its
# name and one more ending: .json (the manifest), .globals.gz (roles), .restore-test.json (the verdict). What is
# encrypted ends with .age, the dump as well as what lies beside it and holds secrets.
readonly stamp_pattern='[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]_[0-2][0-9]-[0-5][0-9]-[0-6][0-9]'
readonly stamp_regex='[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2}'
readonly suffixes=(.sql.gz .sql.zst .dump .dir .sql.gz.age .sql.zst.age .dump.age)
readonly tiers=(daily weekly monthly yearly)

# The app's own database gives its dumps the app's name; any other adds its own, spelt for a file name.
prefix_of() { # DATABASE
    if [[ $1 == "$postgres_database" ]]; then
        printf '%s' "$app_name"
    else
        printf '%s-%s' "$app_name" "$(spelt_for_files "$1")"
    fi
}

spelt_for_files() { # TEXT
    local LC_ALL=C text=$1 out='' char code i
    for (( i = 0; i < ${#text}; i++ )); do
        char=${text:i:1}
        if [[ $char == [A-Za-z0-9.-] ]]; then
            out+=$char
        else
            printf -v code '%d' "'$char"
            printf -v char '%%%02x' "$(( code & 255 ))"
            out+=$char
        fi
    done
    printf '%s' "$out"
}

# Of the 255 bytes of a file's name, _YYYY-MM-DD_HH-MM-SS.sql.zst.restore-test.json.part leaves 204, and
# _YYYY-MM-DD_HH-MM-SS.sql.zst.age.properties.json.age.part 198.
longest_prefix() {
    if (( backup_encrypt_local )); then printf 198; else printf 204; fi
}

tier_dir() { # TIER
    if [[ $1 == daily ]]; then printf '%s' "$backup_dir"; else printf '%s/%s' "$backup_dir" "$1"; fi
}

# What lies beside a dump, by its name and one more ending: the longer ending first, since a verdict's name
# ends like a manifest's.
readonly companions=(
    .globals.gz.age .globals.gz .restore-test.json .accepted.json .properties.json.age .properties.json .json
)

# Our dumps of a tier, newest first, one path a line. What others have put there is none of our business.
dumps_in() { # TIER PREFIX
    local path kind
    for kind in "${suffixes[@]}"; do
        for path in "$(tier_dir "$1")/$2"_$stamp_pattern"$kind"; do
            if is_a_dump "$path" && is_a_time "$(stamp_of "$path")"; then printf '%s\n' "$path"; fi
        done
    done | sort --reverse
}

# A directory for that format alone, and a file for the others.
is_a_dump() { # PATH
    [[ ! -L $1 ]] || return 1
    if [[ $1 == *.dir ]]; then [[ -d $1 ]]; else [[ -f $1 ]]; fi
}

# A name that no script but ours gives: a dump's, or what lies beside one, finished or not. What others call
# their files is theirs, however much of our name it begins with.
is_our_name() { # NAME
    local name=${1%.part} ending
    for ending in "${companions[@]}" ''; do
        [[ $name == *"$ending" ]] || continue
        name=${name%"$ending"}
        break
    done
    [[ $name =~ ^$app_name(-[A-Za-z0-9.%-]+)?_($stamp_regex)(\.[a-z.]+)$ ]] || return 1
    is_a_suffix "${BASH_REMATCH[3]}" && is_a_time "${BASH_REMATCH[2]}"
}

is_a_suffix() { # TEXT
    local suffix
    for suffix in "${suffixes[@]}"; do
        if [[ $1 == "$suffix" ]]; then return; fi
    done
    return 1
}

is_encrypted() { # DUMP
    [[ $1 == *.age ]]
}

# A dump with what lies beside it, and nothing else: "$path".* would be somebody's notes, too.
remove_dump() { # DUMP
    local companion
    for companion in "${companions[@]}"; do
        if [[ -f $1$companion && -O $1$companion ]]; then rm -f -- "$1$companion" || return; fi
    done
    rm -rf -- "$1"
}

# No calendar has 24:00 or the 31st of June: a name with such a time is somebody else's.
is_a_time() { # STAMP
    local -a lengths=(31 28 31 30 31 30 31 31 30 31 30 31)
    local year=$((10#${1:0:4})) month=$((10#${1:5:2})) day=$((10#${1:8:2}))
    (( year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) )) && lengths[1]=29
    (( month >= 1 && month <= 12 && day >= 1 && day <= lengths[month - 1] )) &&
        (( 10#${1:11:2} < 24 && 10#${1:14:2} < 60 && 10#${1:17:2} < 60 ))
}

# The dumps of all tiers, newest first; those of longer tiers are the same files by another name.
all_dumps() { # PREFIX
    local kind
    for kind in daily weekly; do
        dumps_in "$kind" "$1"
    done | awk -F / '{ print $NF, $0 }' | sort --reverse | cut -d ' ' -f 2-
}

# The one that `latest` points to was made last, whatever the clock said; without it, the newest by name, but
# for those whose time is still to come. Of these the first that is neither suspect nor without a table (a
# server that was just made has been backed up, too); one of unknown quality only where there is no such one.
newest_dump() { # PREFIX
    local link path unknown=''
    local -a paths=()
    for link in "$backup_dir/$1"_latest.*; do
        if [[ -e $link && $link != *.part ]]; then paths+=("$(readlink --canonicalize "$link")"); fi
    done
    mapfile -t -O "${#paths[@]}" paths < <(all_dumps "$1" | that_are_past)
    if (( ${#paths[@]} == 0 )); then mapfile -t paths < <(all_dumps "$1"); fi
    (( ${#paths[@]} > 0 )) || return 0
    load_suspicions "${paths[@]}"
    for path in "${paths[@]}"; do
        if ! is_suspect "$path" && [[ ${json[$path.json empty]:-} != true ]]; then
            if has_manifest "$path"; then
                printf '%s' "$path"
                return
            fi
            unknown=${unknown:-$path}
        fi
    done
    printf '%s' "${unknown:-${paths[0]}}"
}

# Of paths, one a line, those whose time is not still to come: a clock that was ahead gave the others.
that_are_past() {
    local path now
    now=$(wall_clock)
    while read -r path; do
        [[ $path =~ _($stamp_regex)\. ]]
        if [[ ! ${BASH_REMATCH[1]} > $now ]]; then printf '%s\n' "$path"; fi
    done
}

# Every prefix that has dumps.
prefixes() {
    local path
    for path in "$backup_dir"/{,weekly/}"$app_name"*; do
        if [[ ${path##*/} =~ ^($app_name|$app_name-.+)_$stamp_regex\. ]]; then
            printf '%s\n' "${BASH_REMATCH[1]}"
        fi
    done | sort --unique
}

# What the restore tests of these tiers' dumps found, into `json`.
load_verdicts() { # TIER...
    local kind
    for kind in "$@"; do
        load_json 'verdict message tested' "$(tier_dir "$kind")/$app_name"*.restore-test.json
    done
}

# Made and verified by these scripts. One without, such as the handbook's, is of unknown quality: it proves
# nothing, and is nobody's to remove.
has_manifest() { # DUMP
    [[ -e $1.json ]]
}

with_manifest() { # of paths, one a line
    local path
    while IFS= read -r path; do
        if has_manifest "$path"; then printf '%s\n' "$path"; fi
    done
}

is_suspect() { # DUMP
    [[ -n ${json[$1.json suspect]:-} && ! -e $1.accepted.json ]]
}

# Reads what there is to know of these dumps at once.
load_suspicions() { # DUMP...
    load_json 'suspect bytes empty started left_out' "${@/%/.json}"
}

stamp_of() { # PATH
    local name=${1##*/}
    [[ $name =~ _($stamp_regex)\. ]] && printf '%s' "${BASH_REMATCH[1]}"
}

size_of() { # PATH
    du --apparent-size --bytes --summarize "$1" | cut -f 1
}

wall_clock() { printf '%(%Y-%m-%d_%H-%M-%S)T' -1; }

# A stamp as seconds, and back, both read as if they were UTC: stamps are compared with stamps only, so
# neither a change of zone nor the hour that summer time skips or repeats comes into it.
seconds_of() { # STAMP
    local time=${1#*_}
    TZ=UTC0 date --date="${1%_*} ${time//-/:}" +%s
}

stamp_at() { # SECONDS
    TZ=UTC0 date --date="@$1" +%Y-%m-%d_%H-%M-%S
}

# How many seconds ago a dump was begun: by its manifest, in UTC; without one by its name, which is the wall
# clock's and goes astray where the time zone has changed since. Reads `json` after `load_suspicions`.
age_of() { # DUMP
    local began=${json[$1.json started]:-}
    if [[ -n $began ]] && began=$(date --date="$began" +%s 2>/dev/null); then
        printf '%s' "$(( $(date +%s) - began ))"
    else
        printf '%s' "$(( $(seconds_of "$(wall_clock)") - $(seconds_of "$(stamp_of "$1")") ))"
    fi
}

# Where a restore has opened an encrypted dump, or a dump in plain was being encrypted, when it was killed. Who is at
# work holds a file there (over NFS no directory can be locked), and has had a minute to take it.
sweep_opened() { # DIRECTORY OF DUMPS
    local path
    for path in "$1"{,/weekly,/monthly,/yearly}/.open.??????; do
        # What is of a time to come was made while the clock was ahead.
        if [[ -d $path && ! -L $path && -O $path &&
            -n $(find "$path" -maxdepth 0 \( -mmin +1 -o -newermt '1 minute' \)) ]] &&
            flock --nonblock "$path/.lock" true; then
            rm -rf -- "$path"
            info "removed ${path##*/}, left by an interrupted run"
        fi
    done
}

free_bytes() { # DIRECTORY
    df --output=avail --block-size=1 "$1" | tail -n 1 | tr -d ' '    # it is padded, and numfmt would keep that
}
