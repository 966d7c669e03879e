# shellcheck shell=bash
# A part of the vault's program. Managed by the project that deploys this host.
# --- The proof: what was fetched is opened and restored as the runbook says, then signed ---------------

readonly namespace=$app_name-backup

# The manifests of this source, a path a line; those of one database newest first by the time in their names.
stored_manifests() {
    find "$store/$source_name"/{daily,weekly} -name '*.manifest.json' -printf '%f %p\n' 2>/dev/null |
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

# One for each database and tier.
newest_of_each() {
    local path key latest
    local -A seen=()
    latest=$(latest_stamp)
    while read -r path; do
        key=$(basename "${path%/*}")/$(database_part "$path")
        [[ -z ${seen["$key"]:-} && ! $(stamp_of "$path") > $latest ]] || continue
        seen["$key"]=1
        printf '%s\n' "$path"
    done < <(stored_manifests)
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
        if [[ $(database_part "$path") == "$1" && -e $path.sig ]] && is_signed "$path"; then
            printf '%s' "$path"
            return
        fi
    done < <(stored_manifests)
}

# Whether it lacks what was there before, and nobody has said that this was intended.
lacks_data() { # MANIFEST
    [[ ! -e ${1%.manifest.json}.accepted.json && -n $(json_value "${1%.manifest.json}.proof.json" suspect) ]]
}

is_sound() { # MANIFEST
    is_signed "$1" && ! lacks_data "$1"
}

# The one to recover from.
newest_sound() { # DATABASE PART
    local path
    while read -r path; do
        if [[ $(database_part "$path") == "$1" ]] && is_sound "$path"; then
            printf '%s' "$path"
            return
        fi
    done < <(stored_manifests)
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

# By its source's own word; and, since that host may be anybody's by now, beside what was proven last.
look_for_doubts() { # MANIFEST, THE DUMP'S OWN MANIFEST IN PLAIN
    local before
    doubt=$(json_value "$2" suspect)
    before=$(newest_sound "$(database_part "$1")")
    if [[ -n $doubt || -z $before ]]; then return 0; fi
    look_for_another_time "$1" "$before"
    if [[ -n $doubt ]]; then return 0; fi
    if ! open_copy "${before%.manifest.json}.json.age" >"$work/before.json" 2>"$work/age.err"; then
        warn "$(basename "${before%.manifest.json}") cannot be compared with: $(reason_in "$work/age.err")"
        return 0
    fi
    if ! jq --exit-status '.content | select([.tables, .objects] | all(type == "object"))' \
        "$2" >"$work/now.json"; then
        doubt='its manifest does not say what is in it'
        return 0
    fi
    doubt=$(jq --raw-output --slurpfile now "$work/now.json" --argjson few "$few_rows" \
        --argjson percent "$backup_size_change_percent" --arg explained "$(volatile_ones)" \
        "$losses_program" "$work/before.json") || doubt='it cannot be compared with what was proven before'
    doubt=${doubt%; }
}

# A dump that was good once says nothing that is wrong, under a new name either: it is what came since that it lacks.
look_for_another_time() { # MANIFEST, THE NEWEST SOUND ONE
    local path sum between='' part
    part=$(database_part "$1")
    sum=$(main_sum "$1")
    if [[ $(json_value "$2" database) != "$(json_value "$1" database)" ]]; then
        doubt="the one before it was of the database $(json_value "$2" database)"
    fi
    while read -r path; do
        [[ $(database_part "$path") == "$part" && $(stamp_of "$path") < $(stamp_of "$1") ]] || continue
        if ! grep -qF -- "$sum" "$path"; then
            if [[ -z $between ]] && is_sound "$path"; then between=$path; fi
        elif [[ -n $between ]]; then
            doubt="it is what $(basename "${path%.manifest.json}") was, though another has come since"
            break
        else
            break    # nothing has changed in this database
        fi
    done < <(stored_manifests)
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
    if is_still_one "$manifest" "$dump" && open_dump "$manifest" "$work" &&
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
    rm -f -- "$work/$app_name"*
    # What it lacks is noted before it is signed: a run that is killed in between proves it again.
    note_verdict "$manifest" "$verdict"
    if [[ $verdict == ok ]]; then sign "$manifest" || note_verdict "$manifest" 'not made'; fi
}

is_still_one() { # MANIFEST DUMP
    is_a_manifest "$1" "$(basename "${1%/*}")" "$2" || { said_of_proof='its manifest is damaged'; return 1; }
}

# The restoring user gets the files as a night's dump lies on its host.
hand_over() { # MANIFEST DUMP
    if [[ -e $work/$2.tar ]]; then
        # Neither a pipe, for which somebody would wait, nor a link, nor a device.
        tar --list --verbose --file "$work/$2.tar" | awk '!/^[-d]/ { odd = 1 } END { exit odd }' ||
            { said_of_proof="$2.tar holds what is neither file nor directory"; return 1; }
        tar --extract --file "$work/$2.tar" --directory "$work" --no-same-owner --no-same-permissions \
            --wildcards "$2/*" || { said_of_proof="$2.tar cannot be unpacked"; return 1; }
        rm -f -- "$work/$2.tar"
    fi
    chown --no-dereference --recursive "$backup_user:$backup_user" "$work/$2"*
    mv -- "$work/$2"* "$vault_proof_dir/"
}

sign() { # MANIFEST
    if ! ssh-keygen -Y sign -q -f "$signing_key" -n "$namespace" "$1" </dev/null 2>"$work/sign.err"; then
        said_of_proof="it cannot be signed: $(reason_in "$work/sign.err")"
        rm -f -- "$1.sig"
        return 1
    fi
    sync "$1.sig"
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
