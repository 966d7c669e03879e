# shellcheck shell=bash
# A part of the vault's program. Managed by the project that deploys this host.
# --- The proof: what was fetched is opened and restored as the runbook says, then signed ---------------

readonly namespace=$app_name-backup

# The manifests of this source, or of one of its databases, a path a line; those of one database newest first by the
# time in their names. Chosen by find: whoever has captured a source may have sent thousands of databases, and to look
# at all copies by a process each, for each of them, would take days.
stored_manifests() { # [DATABASE PART]
    find "$store/$source_name"/{daily,weekly} -name "${1:+$1_????-??-??_??-??-??.}*.manifest.json" \
        -printf '%f %p\n' 2>/dev/null |
        sort --reverse | cut -d ' ' -f 2-
}

database_part() { # PATH
    local name=${1##*/}
    [[ $name =~ ^(.*)_$stamp_regex\. ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# A time that is still to come is no reason to be the newest: no zone is further ahead than this.
latest_stamp() {
    date --date='26 hours' +%Y-%m-%d_%H-%M-%S
}

# One for each database and tier; or of that database alone.
newest_of_each() { # [DATABASE PART]
    local path key latest
    local -A seen=()
    latest=$(latest_stamp)
    while read -r path; do
        key=$(basename "${path%/*}")/$(database_part "$path")
        [[ -z ${seen["$key"]:-} && ! $(stamp_of "$path") > $latest ]] || continue
        seen["$key"]=1
        printf '%s\n' "$path"
    done < <(stored_manifests "$@")
}

# The databases of this source, as their copies' names begin.
parts_here() {
    local path
    while read -r path; do
        database_part "$path"
        echo
    done < <(newest_of_each) | sort --unique
}

is_signed() { # MANIFEST
    [[ -e $1.sig ]] && ssh-keygen -Y verify -f "$vault_config_dir/signers" -I vault -n "$namespace" \
        -s "$1.sig" <"$1" >/dev/null 2>&1
}

prove_newest() { # SOURCE
    local manifest began=$SECONDS
    step=prove
    if ! age-keygen -y "$identity" >/dev/null 2>&1; then
        alarm "$identity is no key: nothing can be opened here. What is stored waits for it"
        return
    fi
    while read -r manifest; do
        needs_a_proof "$manifest" || continue
        # Whoever has captured a source may offer any number of databases, none of which ends being restored.
        if (( SECONDS - began > turn_seconds )); then
            warn "$source_name has had its time: the next run proves the rest"
            break
        fi
        prove "$manifest" </dev/null
    done < <(newest_of_each)
}

needs_a_proof() { # MANIFEST
    local verdict last
    is_signed "$1" && return 1
    verdict=$(json_value "${1%.manifest.json}.proof.json" verdict)
    if [[ $verdict == failed ]]; then
        alarm "$(basename "${1%.manifest.json}") did not restore: \
$(json_value "${1%.manifest.json}.proof.json" message)"
        return 1
    fi
    [[ $vault_prove == weekly ]] || return 0
    last=$(newest_signed "$(database_part "$1")")
    [[ -z $last ]] || (( $(date +%s) - $(stat -c %Y "$last") >= 6 * 86400 ))
}

newest_signed() { # DATABASE PART
    local path
    while read -r path; do
        if is_signed "$path"; then
            printf '%s' "$path"
            return
        fi
    done < <(stored_manifests "$1")
}

# Whether it lacks what was there before, and nobody has said that this was intended.
lacks_data() { # MANIFEST
    [[ ! -e ${1%.manifest.json}.accepted.json && -n $(json_value "${1%.manifest.json}.proof.json" suspect) ]]
}

is_sound() { # MANIFEST
    is_signed "$1" && ! lacks_data "$1"
}

# The one to recover from; or the newest of those that were made before that time.
newest_sound() { # DATABASE PART [STAMP]
    local path
    while read -r path; do
        if [[ -z ${2:-} || $(stamp_of "$path") < $2 ]] && is_sound "$path"; then
            printf '%s' "$path"
            return
        fi
    done < <(stored_manifests "$1")
}

clear_proofs() {
    rm -rf -- "${vault_proof_dir:?}"/"$app_name"* "${vault_proof_dir:?}"/.run.*
}

# age holds a file's head in memory until that ends: of one that has none, whoever made it, twice all of the file.
# shellcheck disable=SC2016  # Perl's own names
readonly head_program='
    read(STDIN, my $head, 65536) // exit 1;
    exit !($head =~ /\Aage-encryption\.org\/v1\n/ && $head =~ /\n--- [^\n]*\n/)'

open_copy() { # FILE
    perl -e "$head_program" <"$1" || { printf 'it does not begin as age writes it\n' >&2; return 1; }
    age --decrypt --identity "$identity" "$1"
}

# Opens all of a dump's files where only the restoring user and root can see them.
open_dump() { # MANIFEST, DIRECTORY
    local file plain sum
    while read -r file plain sum; do
        open_copy "${1%/*}/$file" >"$2/$plain" 2>"$work/age.err" || {
            said_of_proof="$file cannot be opened: $(reason_in "$work/age.err")"
            return 1
        }
        if [[ $(sha256_of_file "$2/$plain") != "$sum" ]]; then
            said_of_proof="$plain is not what was dumped: its sum is not the manifest's"
            return 1
        fi
    done < <(jq --raw-output '.files[] | "\(.name) \(.plain_name) \(.plain_sha256)"' "$1")
}

# What it was dumped of stands in its own manifest, too, which travels encrypted.
is_what_it_says() { # MANIFEST, THE DUMP'S OWN MANIFEST IN PLAIN
    local own
    own=$(json_value "$2" database)
    if [[ $own != "$(json_value "$1" database)" ]]; then
        said_of_proof="its own manifest says that it is of the database ${own:-(none)}"
        return 1
    fi
}

said_of_proof=''
doubt=''    # of the copy that is being proven: what it lacks, or nothing

# By its source's own word; and, since that host may be anybody's by now, beside what was proven of the time before it:
# a week's copy that comes with a newer night's lacks nothing of that.
look_for_doubts() { # MANIFEST, THE DUMP'S OWN MANIFEST IN PLAIN
    local before
    doubt=$(json_value "$2" suspect)
    before=$(newest_sound "$(database_part "$1")" "$(stamp_of "$1")")
    if [[ -n $doubt || -z $before ]]; then return 0; fi
    look_for_another_time "$1" "$before"
    if [[ -n $doubt ]]; then return 0; fi
    if ! open_copy "${before%.manifest.json}.json.age" >"$work/before.json" 2>"$work/age.err"; then
        warn "$(basename "${before%.manifest.json}") cannot be compared with: $(reason_in "$work/age.err")"
        return 0
    fi
    # What its source says that it leaves out on purpose is gone all the same: a person accepts it here, once.
    if ! jq --exit-status '.content | select([.tables, .objects] | all(type == "object")) | del(.left_out)' \
        "$2" >"$work/now.json"; then
        doubt='its manifest does not say what is in it'
        return 0
    fi
    if ! doubt=$(lost_since "$first_losses_program") ||
        { [[ -z $doubt ]] && ! doubt=$(lost_since "$uncounted_program"); }; then
        doubt='it cannot be compared with what was proven before'
    fi
    doubt=${doubt%; }
}

lost_since() { # JQ PROGRAM
    jq --raw-output --slurpfile now "$work/now.json" --argjson few "$few_rows" \
        --argjson percent "$backup_size_change_percent" --arg explained "$(volatile_ones)" "$1" "$work/before.json"
}

# Whoever has captured a source need not say how many rows are left of a table: then they count as gone.
# shellcheck disable=SC2016  # jq's own names
readonly uncounted_program='
    ($explained | split("\n")) as $volatile | first(.content.tables // {} | to_entries[]
    | select(.key as $k | .value > 0 and ($volatile | index($k) | not) and ($now[0].tables | has($k) | not)))
    | "how many rows the table \(.key) has is not told, it had \(.value); "'

# A dump that was good once says nothing that is wrong, under a new name either: it is what came since that it lacks.
look_for_another_time() { # MANIFEST, THE NEWEST SOUND ONE
    local path sum between='' part
    part=$(database_part "$1")
    sum=$(main_sum "$1")
    if [[ $(json_value "$2" database) != "$(json_value "$1" database)" ]]; then
        doubt="the one before it was of the database $(json_value "$2" database)"
    fi
    while read -r path; do
        [[ $(stamp_of "$path") < $(stamp_of "$1") ]] || continue
        if ! grep -qF -- "$sum" "$path"; then
            if [[ -z $between ]] && is_sound "$path"; then between=$path; fi
        elif [[ -n $between ]]; then
            doubt="it is what $(basename "${path%.manifest.json}") was, though another has come since"
            break
        else
            break    # nothing has changed in this database
        fi
    done < <(stored_manifests "$part")
}

main_sum() { # MANIFEST
    jq --raw-output '.dump as $dump | .files[] | select(.plain_name == ($dump, $dump + ".tar")) | .plain_sha256' "$1"
}

prove() { # MANIFEST
    local manifest=$1 dump plain verdict=failed
    dump=$(basename "${manifest%.manifest.json}")
    plain=$vault_proof_dir/$dump
    said_of_proof='' doubt=''
    info "proving $dump"
    if ! room_to_prove "$manifest"; then
        verdict='not made'
    elif is_still_one "$manifest" "$dump" && open_dump "$manifest" "$work" &&
        is_what_it_says "$manifest" "$work/$dump.json" && look_for_doubts "$manifest" "$work/$dump.json" &&
        hand_over "$manifest" "$dump"; then
        if "$here/restore-database.sh" --test --from "$plain" 2>"$work/restore.err" >&2; then
            verdict=ok
        else
            said_of_proof=$(tail -n 1 "$work/restore.err")
            verdict=$(json_value "$plain.restore-test.json" verdict)
            if [[ $verdict != failed ]]; then verdict='not made'; fi
        fi
    fi
    clear_proofs
    rm -rf -- "${work:?}/$app_name"*    # of one that could not be unpacked a directory
    # What it lacks is noted before it is signed: a run that is killed in between proves it again.
    note_verdict "$manifest" "$verdict"
    if [[ $verdict == ok ]]; then sign "$manifest" || note_verdict "$manifest" 'not made'; fi
}

# That this disk is full is no fault of the copy: it is tried again. A directory's archive lies there beside its files.
room_to_prove() { # MANIFEST
    local needed free
    needed=$(digits "$(jq '[.files[] | .bytes * if .name | endswith(".tar.age") then 2 else 1 end] | add | floor' \
        "$1" 2>/dev/null)")
    needed=$(( needed + vault_reserve_mb * 1048576 ))
    free=$(free_bytes "$vault_dir")
    if (( free < needed )); then
        said_of_proof="to open it $(human_size "$needed") are needed, $vault_dir has $(human_size "$free"): make room"
        return 1
    fi
}

is_still_one() { # MANIFEST DUMP
    is_a_manifest "$1" "$(basename "${1%/*}")" "$2" || { said_of_proof='its manifest is damaged'; return 1; }
}

# The restoring user gets the files as a night's dump lies on its host.
hand_over() { # MANIFEST DUMP
    if [[ -e $work/$2.tar ]]; then
        # Neither a pipe, for which somebody would wait, nor a link, nor a device. From standard input: of a file tar
        # would open whatever it is packed with, and a few kilobytes could fill the disk.
        tar --list --verbose --file - <"$work/$2.tar" | awk '!/^[-d]/ { odd = 1 } END { exit odd }' ||
            { said_of_proof="$2.tar holds what is neither file nor directory, or is no plain archive"; return 1; }
        tar --extract --file - --directory "$work" --no-same-owner --no-same-permissions \
            --wildcards "$2/*" <"$work/$2.tar" || { said_of_proof="$2.tar cannot be unpacked"; return 1; }
        rm -f -- "$work/$2.tar"
    fi
    chown --no-dereference --recursive "$backup_user:$backup_user" "$work/$2"*
    mv -- "$work/$2"* "$vault_proof_dir/"
}

sign() { # MANIFEST
    # Aside first: a half one that a killed run has left under that name ssh-keygen would never replace.
    if ! ssh-keygen -Y sign -q -f "$signing_key" -n "$namespace" <"$1" >"$work/signature" 2>"$work/sign.err" ||
        ! sync "$work/signature"; then
        said_of_proof="it cannot be signed: $(reason_in "$work/sign.err")"
        return 1
    fi
    mv -f -- "$work/signature" "$1.sig"
    sync "${1%/*}"
    info "$(basename "${1%.manifest.json}") restores, and is signed"
}

# What its host says of it is shown to people, and a terminal obeys.
note_verdict() { # MANIFEST VERDICT
    doubt=$(plain_text <<<"${doubt:0:2000}")
    jq --null-input --arg dump "$(basename "${1%.manifest.json}")" --arg verdict "$2" \
        --arg message "$(plain_text <<<"$said_of_proof")" --arg suspect "$doubt" --arg tested "$(utc_now)" \
        "$named_values" >"$work/proof.json"
    sync "$work/proof.json"
    mv -- "$work/proof.json" "${1%.manifest.json}.proof.json"
    [[ -z $doubt ]] || warn "$(basename "${1%.manifest.json}") lacks what was there before: $doubt"
    if [[ $2 != ok ]]; then
        alarm "$(basename "${1%.manifest.json}") is not proven ($2): $said_of_proof"
    fi
}
