# shellcheck shell=bash
# A part of the vault's program. Managed by the project that deploys this host.
# --- Fetching: OpenSSH's own client, as a user who can write in one directory and nowhere else ----------

readonly fetch_unit=$app_name-vault-fetch
readonly manifest_limit=1048576 list_limit=67108864 new_at_a_time=500
readonly errors_limit=1048576
readonly told_limit=67108864    # what a dump tells of itself is read whole, into memory
# Whoever has captured a source may answer for ever: that host's turn ends, and the next one's begins. What is
# not through by then goes on in the next run.
readonly list_seconds=900 files_seconds=7200 turn_seconds=10800

end_fetch() {
    systemctl stop "$fetch_unit.service" 2>/dev/null || true
    systemctl reset-failed "$fetch_unit.service" 2>/dev/null || true
}

# What both of OpenSSH's clients are told: no file, agent or key but ours, and no host but the one that is known.
ssh_options() { # ADDRESS PORT ACCOUNT, FILLS options
    options=(
        -F /dev/null -i "$ssh_key" -o Port="$2" -o IdentitiesOnly=yes -o BatchMode=yes
        -o UserKnownHostsFile="$vault_config_dir/known_hosts" -o GlobalKnownHostsFile=/dev/null
        -o StrictHostKeyChecking=yes -o HostKeyAlias="$source_name" -o HostKeyAlgorithms=ssh-ed25519
        -o UpdateHostKeys=no -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4
        -o ForwardAgent=no -o ClearAllForwardings=yes "$3@$1"
    )
}

# The other side may be anybody's by now: its client is another user, in a view of this host where only `incoming`
# can be written, no file of it grows beyond the limit, and none of its processes is left when this returns. Its
# errors come through a pipe: they are no file of its own, and the other side has a say in how long they are.
as_fetcher() { # BYTES AT MOST, SECONDS AT MOST, COMMAND...
    { as_fetcher_with_errors "$@" 2>&1 >&3 | head -c "$errors_limit" >"$work/sftp.err"; } 3>&1
}

# MemoryMax counts where the kernel's cgroups have memory, as in few containers; LimitDATA of each process everywhere.
as_fetcher_with_errors() { # BYTES AT MOST, SECONDS AT MOST, COMMAND...
    systemd-run --quiet --pipe --wait --collect --unit="$fetch_unit" --service-type=exec \
        --property=User="$vault_user" --property=ProtectSystem=strict --property=ProtectHome=yes \
        --property=ReadWritePaths="$incoming" --property=PrivateTmp=yes --property=NoNewPrivileges=yes \
        --property=CapabilityBoundingSet= --property=MemoryMax=64M --property=LimitDATA=128M \
        --property=LimitFSIZE="$1" --property=RuntimeMaxSec="$2" --property=UMask=0077 \
        --working-directory="$incoming" -- "${@:3}"
}

# Runs sftp's commands from stdin: for what is small.
sftp_from() { # BYTES AT MOST, ADDRESS, PORT, ACCOUNT
    local -a options
    ssh_options "${@:2}"
    as_fetcher "$1" "$list_seconds" sftp -b - "${options[@]}"
}

# Whose name is not exactly what we write is passed over, whatever is in it; newlines end a name.
manifest_regex="$app_name(-[A-Za-z0-9.%-]+)?_$stamp_regex"
manifest_regex+="(\.sql\.gz|\.sql\.zst|\.dump|\.dir)\.manifest\.json"

fetch_from() { # NAME ADDRESS PORT ACCOUNT
    local kind name fetched=0 began=$SECONDS
    local -a where=("${@:2}")
    step=list
    if ! printf 'ls -1 daily\nls -1 weekly\n' | sftp_from 0 "${where[@]}" |
        head -c "$list_limit" >"$work/listed"; then
        alarm "it was not reached: $(why_it_ended): nothing was fetched"
        return 1
    fi
    grep -E "^(daily|weekly)/$manifest_regex\$" "$work/listed" | sort --reverse --field-separator=/ --key=2 \
        >"$work/offered" || true
    note_reached "$1"
    compare_what_is_here "${where[@]}"
    step=fetch
    remove_parts_of_nothing
    remove_halves
    while IFS=/ read -r kind name; do
        [[ ! -e $store/$source_name/$kind/$name ]] || continue
        if (( ++fetched > new_at_a_time )); then
            alarm "it offers more than $new_at_a_time new copies at once: see who writes there"
            break
        fi
        if (( SECONDS - began > turn_seconds )); then
            warn "$source_name has had its time: the next run goes on with the rest"
            break
        fi
        fetch_dump "$kind" "$name" "${where[@]}" </dev/null || true
    done <"$work/offered"
}

# Where the parts of a copy are until all are there. A host and a database may have names that are too long for one
# name of a file together: then each is told by how it begins and by its sum.
part_of() { # TIER DUMP, OF source_name
    printf '%s.%s.%s' "$(shortened "$source_name" 64)" "$1" "$(shortened "$2" 160)"
}

shortened() { # NAME, BYTES
    if (( ${#1} <= $2 )); then
        printf '%s' "$1"
    else
        printf '%s~%s' "${1:0:$2 - 17}" "$(sha256sum <<<"$1" | head -c 16)"
    fi
}

# What a run that was killed has left of a copy, before its manifest came or after that had gone. What has a signature
# is a person's to judge: its manifest was not removed by us.
remove_halves() {
    local path dump ending
    for path in "$store/$source_name"/{daily,weekly}/*.{age,proof.json,accepted.json}; do
        dump=$path
        for ending in .proof.json .accepted.json .age; do dump=${dump%"$ending"}; done
        for ending in .tar .globals.gz .properties.json .json; do dump=${dump%"$ending"}; done
        [[ ! -e $dump.manifest.json && ! -e $dump.manifest.json.sig ]] || continue
        rm -f -- "$path"
    done
}

# Parts of what is not offered any more: nobody adds to them.
remove_parts_of_nothing() {
    local path part ours
    ours=$incoming/$(shortened "$source_name" 64).
    for path in "$ours"*; do
        part=${path#"$ours"}
        [[ $part =~ ^(daily|weekly)\.(.+)\.[0-9a-f]{16}$ ]] || continue    # of a source whose name begins alike
        if ! is_offered "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"; then rm -rf -- "$path"; fi
    done
}

is_offered() { # TIER, A DUMP AS part_of HAS IT
    local name
    if [[ $2 != *~* ]]; then
        grep -qxF -- "$1/$2.manifest.json" "$work/offered"
        return
    fi
    # No more of them than are fetched at once: whoever has captured the source may offer any number that begin alike.
    while read -r name; do
        if [[ $(shortened "$name" 160) == "$2" ]]; then return 0; fi
    done < <(awk -v begin="$1/${2%~*}" \
        'index($0, begin) == 1 { sub(/.*\//, ""); sub(/\.manifest\.json$/, ""); print }' \
        "$work/offered" | head -n "$new_at_a_time")
    return 1
}

# What was fetched before and stands there still must be what it was. A recovered host encrypts its dumps
# anew: then the sums of the encrypted files differ, and those of the dumps do not. Whoever writes the dumps'
# sums into another manifest gains nothing by it: what is here was fetched, and none of it is replaced.
compare_what_is_here() { # ADDRESS PORT ACCOUNT
    local kind name here unread=''
    here=$incoming/again
    : >"$work/sftp.err"
    fresh_directory "$here"
    while IFS=/ read -r kind name; do
        [[ -e $store/$source_name/$kind/$name ]] || continue
        printf -- '-get "/%s/%s" "again/%s_%s"\n' "$kind" "$name" "$kind" "$name"
    done <"$work/offered" >"$work/again"
    if [[ -s $work/again ]]; then
        sftp_from "$manifest_limit" "$@" <"$work/again" >/dev/null || true
    fi
    take_over "$here" "$work/compare"
    while IFS=/ read -r kind name; do
        [[ -e $store/$source_name/$kind/$name ]] || continue
        if [[ ! -e $work/compare/${kind}_$name ]]; then
            # One that has gone since it was listed has been read by every vault.
            grep -qF "\"/$kind/$name\" not found" "$work/sftp.err" || unread=$name
            continue
        fi
        tells_the_same "$store/$source_name/$kind/$name" "$work/compare/${kind}_$name" "$kind" ||
            alarm "${name%.manifest.json} $(where_it_changed "$store/$source_name/$kind/$name")"
    done <"$work/offered"
    [[ -z $unread ]] || alarm "manifests of copies that were fetched cannot be read there any more, such as $unread: \
$(why_it_ended): what is here stays"
    rm -rf -- "$work/compare"
    missing_newest
}

where_it_changed() { # MANIFEST HERE
    if [[ -e $1.sig ]] && ! is_signed "$1"; then
        printf 'is damaged here, its signature does not fit its manifest any more: see the disk'
    else
        printf 'was changed there after it was fetched: what is here stays'
    fi
}

tells_the_same() { # MANIFEST HERE, MANIFEST THERE, TIER
    local dump
    if cmp --silent -- "$1" "$2"; then return; fi
    dump=$(basename "${1%.manifest.json}")
    is_a_manifest "$2" "$3" "$dump" && [[ $(plain_part "$1") == "$(plain_part "$2")" ]]
}

plain_part() { # MANIFEST
    jq --sort-keys --compact-output 'del(.recipients)
        | .files |= (map({plain_name, plain_sha256}) | sort_by(.plain_name))' "$1" 2>/dev/null
}

# The newest copy of a database always stays at its source, until there is a newer one.
missing_newest() {
    local path
    while read -r path; do
        if grep -qxF -- "${path#"$store/$source_name/"}" "$work/offered" ||
            a_newer_one_is_offered "$path"; then continue; fi
        alarm "$(basename "${path%.manifest.json}"), the newest copy, is gone there: see who removed it"
    done < <(newest_of_each)
}

# In one pass: whoever has captured the source may offer a hundred thousand.
a_newer_one_is_offered() { # MANIFEST
    awk -F / -v part="$(database_part "$1")_" -v have="$(stamp_of "$1")" -v latest="$(latest_stamp)" '
        index($2, part) == 1 {
            stamp = substr($2, length(part) + 1, length(have))
            if (stamp > have && stamp <= latest) newer = 1
        }
        END { exit !newer }' "$work/offered"
}

# Directories of the fetching user, made anew, and taken from it whole: a rename, nothing is followed.
fresh_directory() { # PATH BELOW incoming
    rm -rf -- "$1"
    install --directory --owner="$vault_user" --group="$vault_user" --mode=0700 "$1"
}

take_over() { # DIRECTORY, NEW PLACE
    rm -rf -- "$2"
    mv --no-target-directory -- "$1" "$2"
    if [[ -L $2 || ! -d $2 ]]; then rm -f -- "$2" && mkdir "$2"; fi    # as made by no client of ours, either
    chown --no-dereference root:root "$2"
    chmod 0700 "$2"
    # What is no plain file of one name was made by no client of ours.
    find "$2" -mindepth 1 \( ! -type f -o -links +1 \) -exec rm -rf -- {} +
    find "$2" -mindepth 1 -type f -exec chown root:root {} + -exec chmod 0600 {} +
}

fetch_dump() { # TIER MANIFEST NAME, ADDRESS PORT ACCOUNT
    local kind=$1 name=$2 dump=${2%.manifest.json}
    local into=$work/new whole partial
    shift 2
    fresh_directory "$incoming/new"
    printf 'get "/%s/%s" "new/%s"\n' "$kind" "$name" "$name" |
        sftp_from "$manifest_limit" "$@" >/dev/null || { not_fetched "$name"; return 1; }
    take_over "$incoming/new" "$into"
    if ! is_a_manifest "$into/$name" "$kind" "$dump"; then
        alarm "$name is no manifest of ours: nothing of it was taken"
        return 1
    fi
    if ! is_of_its_database "$into/$name" "$dump"; then
        alarm "$name says that it is of the database $(json_value "$into/$name" database), its name says another: \
nothing of it was taken"
        return 1
    fi
    # Encrypted anew, a dump is another file: a part of what it was is no beginning of it.
    whole=$(part_of "$kind" "$dump")
    partial=$whole.$(sha256_of_file "$into/$name" | head -c 16)
    room_for "$into/$name" "$partial" || return 1
    if [[ -L $incoming/$partial || ! -d $incoming/$partial ]]; then
        rm -rf -- "$incoming/$whole".*
        fresh_directory "$incoming/$partial"
    fi
    # A number may be written as 5e2, which is none to bash: floor writes it as digits.
    jq --raw-output '.files[] | "\(.name) \(.bytes | floor) \(.sha256)"' "$into/$name" >"$work/wanted"
    fetch_files "$kind" "$partial" "$@" || { not_fetched "$(first_unfinished "$partial")"; return 1; }
    take_over "$incoming/$partial" "$work/files"
    if ! every_file_is_as_told; then
        alarm "$(sed -n '1s/: FAILED.*//p' "$work/differs") is not what its manifest says: it was thrown away"
        rm -rf -- "$work/files"
        return 1
    fi
    put_away "$kind" "$name" "$into/$name"
}

not_fetched() { # FILE
    local said path
    # fetch-files.sh's words: as much of that file as there should be is here. The other side may say the like of any.
    said=$(tail -n 1 "$work/sftp.err") path=${said%' is longer there than its manifest says'}
    if [[ $path != "$said" ]] && cut -d ' ' -f 3 "$work/left" 2>/dev/null | grep -qxF -- "$path"; then
        said="${path##*/} is longer there than its manifest says"
    else
        said="$1 could not be fetched: $(why_it_ended)"
    fi
    alarm "$said: the next run goes on"
}

# Its last words: before them stands whatever the other side greets with.
why_it_ended() {
    local said
    said=$(tail -n 2 "$work/sftp.err" | tr -d '\r' | plain_text | without_rows)
    printf '%s' "${said:0:400}"
    [[ -n $said ]] || printf 'it took too long, or the connection was cut'
}

# Those that are not there yet as long as they should be.
fetch_files() { # TIER PARTIAL ADDRESS PORT ACCOUNT
    local largest
    local -a options
    left_to_fetch "$1" "$2" >"$work/left"
    [[ -s $work/left ]] || return 0
    ssh_options "${@:3}"
    largest=$(cut -d ' ' -f 2 "$work/left" | sort --numeric-sort | tail -n 1)
    as_fetcher "$largest" "$files_seconds" "$here/fetch-files.sh" "$vault_bandwidth_kbit" "${options[@]}" \
        <"$work/left" >/dev/null
}

# A part that is there already is added to. One that is as long as it should be waits for its sum.
left_to_fetch() { # TIER PARTIAL
    local file bytes sum have how
    while read -r file bytes sum; do
        have=$(size_here "$2/$file") how=get
        if (( have == bytes )); then continue; fi
        if (( have > bytes )); then rm -f -- "$incoming/$2/$file"; elif (( have > 0 )); then how=reget; fi
        info "fetching $file, $(human_size "$bytes")"
        printf '%s %s /%s/%s %s/%s\n' "$how" "$bytes" "$1" "$file" "$2" "$file"
    done <"$work/wanted"
}

size_here() { # PATH BELOW incoming
    stat -c %s -- "$incoming/$1" 2>/dev/null || printf 0
}

first_unfinished() { # PARTIAL
    local file bytes sum
    while read -r file bytes sum; do
        if (( $(size_here "$1/$file") != bytes )); then break; fi
    done <"$work/wanted"
    printf '%s' "$file"
}

# All sums in one process: what a small copy costs is processes.
every_file_is_as_told() { # FILLS $work/differs
    local file bytes
    while read -r file bytes _; do
        if [[ ! -f $work/files/$file || $(stat -c %s "$work/files/$file") != "$bytes" ]]; then
            printf '%s: FAILED\n' "$file" >"$work/differs"
            return 1
        fi
    done <"$work/wanted"
    awk '{ print $3 "  " $1 }' "$work/wanted" |
        (cd "$work/files" && sha256sum --check --strict --quiet >"$work/differs" 2>/dev/null)
}

# Every member is what it should be and nothing else is asked for: names above all, which become paths here. One object
# and no other: jq would answer for the last, and whoever reads the file after it would read all of them.
is_a_manifest() { # FILE TIER DUMP
    (( $(stat -c %s "$1") <= manifest_limit )) &&
        jq --exit-status --slurp --arg tier "$2" --arg dump "$3" --arg source "$source_name" --arg app "$app_name" \
            --argjson told_limit "$told_limit" '
            length == 1 and (.[0] | .version == 1 and .dump == $dump and .tier == $tier and .source == $source
            and .app == $app
            and (.database | type == "string" and (explode | all(. > 31)))
            and (.server_version | type == "string" and test("^[0-9]{1,3}[0-9.]*"))
            and (.database_bytes | type == "number" and . >= 0)
            and (.files | type == "array" and length >= 1 and length <= 4)
            and ([.files[].name] | length == (unique | length))
            and ([.files[].name] | any(. == $dump + ".age" or . == $dump + ".tar.age"))
            and ([.files[].name] | any(. == $dump + ".json.age"))
            and all(.files[]; . as $file
                | (["", ".tar", ".globals.gz", ".properties.json", ".json"]
                    | any($dump + . + ".age" == $file.name))
                and $file.plain_name == ($file.name | rtrimstr(".age"))
                and ($file.bytes | type == "number" and . > 0 and . < 1e15 and . == floor)
                and ($file.bytes <= $told_limit or ($file.name | endswith(".json.age") | not))
                and ($file.sha256 | test("\\A[0-9a-f]{64}\\z"))
                and ($file.plain_sha256 | test("\\A[0-9a-f]{64}\\z"))))' \
            "$1" >/dev/null 2>&1
}

# Its name is what a copy is kept and compared by, the database in its manifest what people are told.
is_of_its_database() { # MANIFEST DUMP
    local part
    part=$(database_part "$2")
    [[ $part == "$app_name" || $(named_database "$part") == "$(json_value "$1" database)" ]]
}

# As its manifest has it: `spelt_for_files` the other way round, in one line.
named_database() { # DATABASE PART
    printf '%s' "${1#"$app_name-"}" | perl -pe 's/%([0-9a-f]{2})/chr hex $1/ge' |
        jq --raw-input --slurp --raw-output 'gsub("\\s"; " ")'
}

# What a run before has fetched of it is there already.
room_for() { # MANIFEST PARTIAL
    local needed free have
    have=$(find "$incoming/$2" -type f -printf '%b\n' 2>/dev/null |
        awk '{ sum += $1 } END { printf "%.0f", sum * 512 }')
    needed=$(( $(jq '[.files[].bytes] | add | floor' "$1") - have + vault_reserve_mb * 1048576 ))
    free=$(free_bytes "$vault_dir")
    if (( free < needed )); then
        alarm "$(jq --raw-output .dump "$1") needs $(human_size "$needed"), $vault_dir has \
$(human_size "$free"): make room"
        return 1
    fi
}

sha256_of_file() { # PATH
    sha256sum <"$1" | cut -d ' ' -f 1
}

# On the disk first, then by name, the manifest last: what has one is whole.
put_away() { # TIER MANIFEST NAME, MANIFEST
    local to=$store/$source_name/$1
    local -a files
    # Of a run that was killed: without their manifest they are nobody's, and what was said of another is not of this.
    rm -f -- "$to/${2%.manifest.json}"{,.tar,.globals.gz,.properties.json,.json}.age \
        "$to/${2%.manifest.json}".{proof,accepted}.json "$to/$2.sig"
    mapfile -t files < <(cut -d ' ' -f 1 "$work/wanted")    # and nothing else that may lie with them
    files=("${files[@]/#/"$work/files/"}")
    sync "${files[@]}" "$3"
    mv --no-clobber --target-directory="$to" -- "${files[@]}"
    touch "$3"    # its time is when it came: what retention counts from
    mv --no-clobber --no-target-directory -- "$3" "$to/$2"
    sync "$to"
    rm -rf -- "$work/files"
    info "${2%.manifest.json} is here, every sum as its manifest says"
}
