# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --with-roles: what the dump names and the server lacks

# The roles that the dump names, from what was saved beside it: no superuser, and none that is there already.
# A line of that file is taken only where it is what pg_dumpall writes, for one of these roles.
make_roles() {
    local missing
    local -a names
    mapfile -t -d $'\x1e' names < <(needed roles; jq --join-output \
        '.properties.owner // empty | select(contains("\u001e") | not) | ., "\u001e"' "$file.json")
    mapfile -t -d $'\x1e' names < <(printf '%s' "$(as_administrator postgres "SELECT string_agg(DISTINCT name, chr(30))
        FROM unnest(ARRAY[$(sql_list "${names[@]}" "$postgres_user")]::text[]) name
        WHERE name IS NOT NULL AND name NOT IN (SELECT rolname FROM pg_roles)")")
    for missing in "${names[@]}"; do
        [[ -n $missing ]] || continue
        as_administrator postgres "CREATE ROLE $(sql_name "$missing") $(login_of "$missing")" >/dev/null ||
            die "cannot make the role $missing: see the line above"
        info "made the role $missing, without a password: set one where it logs in"
    done
    if (( ${#names[@]} > 0 )); then make_memberships "${names[@]}"; fi
}

# What these roles gave to others comes back: nobody has anything by that but what the dump holds. What they had
# besides (rights of the server's own, a part in roles that were there already, settings) is told, for a person.
make_memberships() { # ROLE...
    local kind role of how told=''
    [[ -e $file.globals.gz ]] || return 0
    while IFS=$'\x1f' read -r -d $'\x1e' kind role of how; do
        if [[ $kind == told ]]; then
            told+="${told:+, }$role: $of"
        elif ! as_administrator postgres "GRANT $(sql_name "$of") TO $(sql_name "$role")$how" >/dev/null \
            2>"$run_dir/psql.err"; then
            told+="${told:+, }$role: member of $of"
        fi
    done < <(gzip -d -c "$file.globals.gz" | perl -e "$memberships_program" "$@")
    [[ -z $told ]] || warn "these roles had more, which is yours to give again, the statements are in \
$file.globals.gz: $told"
}

# shellcheck disable=SC2016  # Perl's own names
readonly memberships_program='
    my %made = map { $_ => 1 } @ARGV;
    my $name = qr/"(?:[^"]|"")*"|[a-z_][a-z0-9_\$]*/;
    my $option = qr/ADMIN OPTION|(?:ADMIN|INHERIT|SET) (?:TRUE|FALSE)/;
    sub plain { my ($text) = @_; return $text =~ /^"(.*)"$/s ? $1 =~ s/""/"/gr : $text }
    sub say { print join("\x1f", map { tr/\x1e\x1f/??/r } @_), "\x1e" }
    undef $/;
    $_ = <STDIN>;
    while (/^ALTER ROLE ($name) (WITH|SET) (.*)$/mg) {
        my ($role, $kind, $what) = (plain($1), $2, $3);
        next if !$made{$role};
        if ($kind eq "SET") { say("told", $role, "the setting " . (split / /, $what)[0]); next }
        $what =~ s/ PASSWORD .*//;
        my @had = $what =~ /\b(SUPERUSER|NOINHERIT|CREATEROLE|CREATEDB|REPLICATION|BYPASSRLS|CONNECTION LIMIT \d+)\b/g;
        say("told", $role, join " ", @had) if @had;
    }
    while (/^GRANT ($name) TO ($name)((?: WITH $option(?:, $option)*)?)(?: GRANTED BY $name)?;$/mg) {
        my ($of, $role, $how) = (plain($1), plain($2), $3);
        if ($made{$of}) { say("grant", $role, $of, $how) }
        elsif ($made{$role}) { say("told", $role, "member of $of") }
    }'

login_of() { # ROLE
    local saved=''
    if [[ -e $file.globals.gz ]]; then saved=$(gzip -d -c "$file.globals.gz"); fi
    if grep -F "ALTER ROLE $(as_dumped "$1") WITH " <<<"$saved" | grep -qw NOLOGIN; then
        printf NOLOGIN
    else
        printf LOGIN
    fi
}
