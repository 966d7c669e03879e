# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Loading a dump -----------------------------------------------------------------------------------

# How much of a dump is loaded, and for whom: see lib/sift.sh. Names are a line each.
owners=keep
data_only=0
tables=''
schemas=''
part_options=()    # of a part, see lib/part.sh

load_into() { # DATABASE FILE
    local why on_terminal=0
    local -a stages=() selected=()
    exec 8>&2
    if [[ -t 8 ]]; then on_terminal=1; fi
    choose_places "$1"
    rm -f -- "$run_dir"/{packed,unpacked,sql,guarded}
    mkfifo "$run_dir"/{packed,unpacked,sql,guarded}
    if is_sifted || [[ $2 =~ \.sql(\.|$) ]]; then
        load_sql "$1" "$2"
    elif [[ $server_mode != direct ]] || (( backup_parallel_jobs == 1 )) && [[ ! -d $2 ]]; then
        stages=(progress pg_restore)
        use_tool pg_restore
        start_progress "$2" "$run_dir/packed"
        if [[ $server_mode == direct ]]; then select_owned "$1" "$2"; fi
        start pg_restore "$run_dir/packed" /dev/null \
            "${tool[@]}" --exit-on-error "${selected[@]}" "${places[@]}" --dbname="$(conninfo "$1")"
    else
        stages=(pg_restore)
        info "loading $(human_size "$(size_of "$2")") with $backup_parallel_jobs job(s)"
        use_tool pg_restore
        select_owned "$1" "$2"
        start pg_restore /dev/null /dev/null \
            "${tool[@]}" --exit-on-error "${selected[@]}" "${places[@]}" --jobs="$backup_parallel_jobs" \
            --dbname="$(conninfo "$1")" "$2"
        tell_growth "$1" "$(digits "$(json_value "$2.json" database_bytes)")" "${children[pg_restore]}"
    fi
    if ! all_ended_well "${stages[@]}"; then
        why=$(why_failed "${stages[@]}")
        die "the restore into $1 failed: $why: ${older_server:-$(advice_for_restore "$why")}"
    fi
}

# A tablespace is a place on a server's disks, and another server may have none of that name: then everything lies
# where the database itself does. Sets `places`, in pg_restore's words.
places=()

choose_places() { # DATABASE
    local missing
    local -a names
    places=()
    mapfile -t -d $'\x1e' names < <(needed tablespaces)
    (( ${#names[@]} > 0 )) || return 0
    missing=$(query "$1" "SELECT string_agg(name, ', ') FROM unnest(ARRAY[$(sql_list "${names[@]}")]::text[]) name
         WHERE name IS NOT NULL AND name NOT IN (SELECT spcname FROM pg_tablespace
                                                  WHERE has_tablespace_privilege(oid, 'CREATE'))")
    [[ -n $missing ]] || return 0
    places=(--no-tablespaces)
    warn "the server lacks the tablespaces $missing, or $server_user may not create in them: all lies where the \
database does; ALTER TABLE ... SET TABLESPACE moves it"
}

is_whole() { [[ -z $tables$schemas ]] && (( ! data_only )); }

is_sifted() { [[ $owners != keep ]] || ! is_whole; }

# The whole of it as one stream of SQL.
load_sql() { # DATABASE FILE
    local from=$2 comments=keep
    stages=(unpack)
    choose_source "$2"
    if [[ $2 =~ \.sql(\.|$) ]]; then
        stages=(progress unpack)
        from=$run_dir/packed
        start_progress "$2" "$from"
    fi
    if (( $(digits "$(foreign_extensions "$1")") > 0 )); then comments=drop; fi
    if is_sifted || (( ${#places[@]} > 0 )); then
        stages+=(sift)
        start_sift "$run_dir/sql" \
            "owners=$owners" "data=$data_only" "tables=$tables" "schemas=$schemas" "comments=$comments" \
            "made=${made_schemas:-}" "places=${places[*]:+drop}" \
            "${part_options[@]}"
        start unpack "$from" "$run_dir/unpacked" "${unpacker[@]}"
    elif [[ $comments == drop ]]; then
        stages+=(sift)
        start_sift "$run_dir/sql" comments=drop until=rows
        start unpack "$from" "$run_dir/unpacked" "${unpacker[@]}"
    else
        start unpack "$from" "$run_dir/sql" "${unpacker[@]}"
    fi
    stages+=(guard psql)
    if [[ $server_mode == direct ]]; then use_tool psql; else use_tool load; fi
    choose_guard "$2"
    start guard "$run_dir/sql" "$run_dir/guarded" "${guard[@]}"
    start psql "$run_dir/guarded" /dev/null "${tool[@]}" "${load_options[@]}" --dbname="$(conninfo "$1")"
}

start_sift() { # OUTPUT WHAT IS WANTED...
    printf '%s\0' "${@:2}" >"$run_dir/wanted" || die "cannot write in $run_dir: make room on its disk"
    start sift "$run_dir/unpacked" "$1" perl -e "$sift_program" "$run_dir/wanted"
}

# What makes SQL of it: sets `unpacker`, which reads the file on its standard input.
choose_source() { # FILE
    if [[ $1 =~ \.sql(\.|$) ]]; then
        choose_unpacker "$1"
    else
        use_tool pg_restore
        unpacker=("${tool[@]}" --file=-)
        # A container has it on its standard input alone.
        if [[ $server_mode == direct ]]; then unpacker+=("$1"); fi
    fi
}

start_progress() { # FILE OUTPUT
    start progress "$1" "$2" perl -MIO::Handle -e "$progress_program" "$(size_of "$1")" "$on_terminal"
}

# A plain dump is psql's own language, and a line of it such as \! runs a program as whoever restores. psql
# can be told to obey no such line until it sees a word that no dump can know (PostgreSQL 17.6 and the minor
# versions of that day, CVE-2025-8714); dumps bring a word of their own, which is left out: at their very beginning,
# and where that word comes again, which nobody knew whose words are in the dump. With an older psql
# only what is known to be our own pg_dump's is restored.
guard=()

choose_guard() { # FILE
    local version
    version=$("${tool[@]}" --version </dev/null | sed -nE '1 s/[^0-9]*([0-9]+)\.([0-9]+).*/\1 \2/p')
    if knows_restrict "$version"; then
        guard=(perl -ne "$guard_program" "$(od -A n -N 16 -t x1 /dev/urandom | tr -d ' \n')")
        # Root has said the word already: see postgres-in-container.sh.
        if [[ $server_mode != direct ]]; then guard[3]=''; fi
        return
    fi
    [[ $server_mode == direct ]] ||
        die "psql ${version/ /.} in the container would run any program that a dump names: update the image, \
or restore by hand as root, see docs/restore.md"
    [[ -e $1.json ]] ||
        die "psql ${version/ /.} would run any program that $1 names, and no manifest says that it is ours: \
update postgresql-client"
    warn "psql ${version/ /.} cannot be kept from running what a dump tells it to: update postgresql-client"
    guard=(cat)
}

knows_restrict() { # "MAJOR MINOR"
    local -A since=([13]=22 [14]=19 [15]=14 [16]=10 [17]=6)
    [[ $1 =~ ^[0-9]+\ [0-9]+$ ]] || return 1
    (( ${1% *} > 17 || ${since[${1% *}]:-1000} <= ${1#* } ))
}

# shellcheck disable=SC2016  # Perl's own names
readonly guard_program='
    BEGIN { my $word = shift @ARGV; $| = 0; print "\\restrict $word\n" if $word }
    # psql passes over what follows one in its line, the end of the line too, and says nothing.
    die "the dump is damaged: it holds a byte of zero\n" if index($_, "\0") >= 0;
    if (!$begun) {
        if (/^\\restrict ([A-Za-z0-9]+)$/) { $its_own = "\\unrestrict $1\n"; $begun = 1; next }
        $begun = /^(?!--)./;
    }
    next if $its_own && $_ eq $its_own;
    print'

# An extension that only an administrator may make is there before the restore, and then its comment is not
# ours to set: it came with the extension. Says how many of these there are.
foreign_extensions() { # DATABASE
    query "$1" "SELECT count(*) FROM pg_extension
                 WHERE extname <> 'plpgsql' AND NOT pg_has_role(extowner, 'USAGE')"
}

# The same for pg_restore, which takes a list: sets `selected`.
select_owned() { # DATABASE FILE
    (( $(digits "$(foreign_extensions "$1")") > 0 )) || return 0
    "${tool[@]}" --list "$2" | grep -v ' COMMENT - EXTENSION ' >"$run_dir/selected" ||
        die "cannot list what is in $2: see the lines above"
    selected=(--use-list="$run_dir/selected")
}

# Several jobs read the file where they need it, so there is no one stream to measure: a line for each tenth
# of what the database had when it was dumped.
tell_growth() { # DATABASE BYTES PROCESS
    local size tenth said=0
    (( $2 > 0 )) || return 0
    while kill -0 "$3" 2>/dev/null; do
        size=$(query "$1" 'SELECT pg_database_size(current_database())' 2>/dev/null || true)
        size=$(digits "$size")
        tenth=$(( size * 10 / $2 ))
        if (( tenth > said )); then
            said=$tenth
            info "about $(( tenth * 10 )) %, $(human_size "$size")"
        fi
        timeout 1 tail --pid="$3" --sleep-interval=0.1 --follow /dev/null || true
    done
}
