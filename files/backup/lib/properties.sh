# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What belongs to the database itself: encoding and sorting, settings, comment, grants

# As the dumped one was made. Where this server lacks its locale or tablespace, it is made without, and that is said.
sorted_otherwise=''    # why, where it could not be made with its own locale

create_database() { # NAME
    local plainly="ENCODING 'UTF8'" like='' where=''
    if [[ -e $file.json ]]; then
        like=$(jq --raw-output "$creation_program" "$file.json")
        where=$(place_clause)
    fi
    for _ in {1..3}; do
        if run_as_maker "CREATE DATABASE $(sql_name "$1") $(owner_clause) TEMPLATE template0 \
${like:-$plainly} $where"; then return; fi
        if [[ -n $where ]] && grep -q tablespace "$run_dir/psql.err"; then
            warn "$1 is not in its tablespace: $(reason_in "$run_dir/psql.err")"
            where=''
        elif [[ $like == *' '*' '* ]] && grep -qiE 'locale|provider|collation' "$run_dir/psql.err"; then
            sorted_otherwise=$(reason_in "$run_dir/psql.err")
            warn "$1 is not sorted as it was: $sorted_otherwise: install that locale on the server, then restore \
again, or live with the server's own"
            like="ENCODING $(sql_text "$(jq --raw-output .properties.encoding "$file.json")")"
        else
            break
        fi
    done
    die "cannot create the database $1: $(reason_in "$run_dir/psql.err"): have an administrator create it \
for $postgres_user, or ALTER ROLE $(sql_name "$postgres_user") CREATEDB, or use --as-administrator"
}

# A manifest of version 1.0.0 has none.
has_properties() {
    [[ -n $(jq '.properties // empty' "$file.json" 2>/dev/null) ]]
}

place_clause() {
    jq --raw-output "$quoting"'.properties.tablespace // empty | "TABLESPACE " + name' "$file.json"
}

# A setting's value may be a secret: never in an argument.
run_text_as_maker() { # the SQL on stdin
    if [[ -n $administrator ]]; then
        administrator_text postgres >/dev/null 2>"$run_dir/psql.err"
    else
        query_text postgres >/dev/null 2>"$run_dir/psql.err"
    fi
}

run_as_maker() { # SQL
    if [[ -n $administrator ]]; then
        as_administrator postgres "$1" >/dev/null 2>"$run_dir/psql.err"
    else
        query postgres "$1" 2>"$run_dir/psql.err"
    fi
}

# Not WITH (FORCE): while autovacuum is at work there it is refused to all but a superuser. Without that, whoever owns
# the database has autovacuum ended; sessions are ended before, and have some seconds to go.
drop_database() { # NAME
    for _ in {1..3}; do
        run_as_maker "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = $(sql_text "$1") AND usesysid IS NOT NULL AND pg_has_role(usesysid, 'USAGE')" >/dev/null
        # In a trap, a plain return gives the exit code from before it.
        if run_as_maker "DROP DATABASE IF EXISTS $(sql_name "$1")"; then return 0; fi
    done
    return 1
}

# The administrator makes it for the one who owned it, or who will.
owner_clause() {
    [[ -z $administrator ]] || printf 'OWNER %s' "$(sql_name "$(future_owner)")"
}

# shellcheck disable=SC2016  # jq's own names
readonly quoting='
    # Of a line with a backslash a container lets psql read none.
    def quoted($quote): ($quote + gsub($quote; $quote + $quote) + $quote)
      | if contains("\\") then "U&\(gsub("!"; "!!") | gsub("\\\\"; "!005C")) UESCAPE '"'!'"'" else . end;
    def text: quoted("'"'"'");
    def name: quoted("\"");'
readonly creation_program="$quoting"'
    .properties // empty
    | "ENCODING \(.encoding | text) LC_COLLATE \(.collate | text) LC_CTYPE \(.ctype | text)"
      + (if .provider == "i" then " LOCALE_PROVIDER icu ICU_LOCALE \(.locale | text)"
           + (if .icu_rules then " ICU_RULES \(.icu_rules | text)" else "" end)
         elif .provider == "b" then " LOCALE_PROVIDER builtin BUILTIN_LOCALE \(.locale | text)" else "" end)'

# What cannot be set by this role is named, one by one. A setting's value goes into no message.
apply_properties() { # DATABASE
    local what sql failed='' distrusted=''
    [[ -e $file.json && -e $file.properties.json ]] || return 0
    tell_other_sorting "$1"
    while IFS= read -r -d '' what && IFS= read -r -d '' sql; do
        if [[ -z $sql ]]; then distrusted+="${distrusted:+, }$what"
        elif ! printf '%s;\n' "$sql" | run_text_as_maker; then failed+="${failed:+, }$what"; fi
    done < <(jq --join-output --arg database "$1" --arg trusted "$trust_dump" --slurpfile manifest "$file.json" \
        "$properties_program" "$file.properties.json")
    [[ -z $failed ]] || warn "$1 lacks of what was set on it: $failed: an administrator can set that"
    [[ -z $distrusted ]] || warn "$1 lacks of what was set on it: $distrusted, which names code \
that its sessions would run: --trust-dump sets it"
}

# What is done, and the statements for it, from another database: what is set on this one would hold for them as well.
# A list is set element by element, as pg_dumpall does it (variable_is_guc_list_quote in PostgreSQL's dumputils.c).
# The database's owner chooses these texts, others may have written the file: each ends with NUL, which no text of
# PostgreSQL's has, and what is not in quotes is a word or a number.
# shellcheck disable=SC2016  # jq's own names
readonly properties_program="$quoting"'
    def pair($what; $sql): ($what, $sql) | gsub("\u0000"; "") + "\u0000";
    def elements: [scan("\"(?:[^\"]|\"\")*\"|[^,\\s]+")]
      | map(if startswith("\"") then .[1:-1] | gsub("\"\""; "\"") else . end | text) | join(", ");
    def set_to: if .name | IN("local_preload_libraries", "search_path", "session_preload_libraries",
        "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories")
      then .value | elements else .value | text end;
    # With such a value every session there, an administrator of the server at work in it too, runs code of a file.
    def names_code: (.name | gsub("\u0000"; "") | ascii_downcase) as $name
      | ($name | IN("dynamic_library_path", "extension_control_path") or test("^pl(?!pgsql)[^.]*\\."))
        or ($name | endswith("_preload_libraries")) and (.value | contains("/"));
    ($database | name) as $db | [
      (.settings[] | pair("the setting \(.name)" + (if .role then " of \(.role)" else "" end);
        if names_code and $trusted == "0" then "" else
          "ALTER " + (if .role then "ROLE \(.role | name) IN DATABASE \($db)" else "DATABASE \($db)" end)
          + " SET \(.name | split(".") | map(name) | join(".")) TO \(set_to)" end)),
      (.comment // empty | pair("its comment"; "COMMENT ON DATABASE \($db) IS \(text)")),
      (if .grants then pair("the grants on it"; "REVOKE ALL ON DATABASE \($db) FROM PUBLIC"),
        (.grants[] | select(.what | test("^[A-Z]+$"))
          | pair("\(.what) for \(.to // "PUBLIC")"; "GRANT \(.what) ON DATABASE \($db) TO "
          + (if .to then .to | name else "PUBLIC" end) + (if .again then " WITH GRANT OPTION" else "" end)))
       else empty end),
      ($manifest[0].properties.connection_limit // -1 | numbers | select(. >= 0)
        | pair("its connection limit"; "ALTER DATABASE \($db) CONNECTION LIMIT \(.)")),
      ($manifest[0].properties.template // false | select(. == true)
        | pair("being a template"; "ALTER DATABASE \($db) IS_TEMPLATE true"))
    ] | join("")'

# One that stood there before has its own encoding and sorting: these cannot be changed.
tell_other_sorting() { # DATABASE
    local was now
    was=$(jq --raw-output '.properties // empty | [.encoding, .collate, .ctype, .locale // ""] | join(", ")' \
        "$file.json")
    now=$(inspect "$1" "SELECT format('%s, %s, %s, %s', pg_encoding_to_char(encoding), datcollate, datctype,
        coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) FROM pg_database d
        WHERE datname = current_database()")
    [[ -z $was || $was == "$now" ]] || warn "$1 has the encoding and sorting $now, the dumped database had \
$was: drop it and let the restore make it to have those"
}
