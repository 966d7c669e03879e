# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- A part of a dump, or a dump without its owners

# Passes a plain dump's SQL on, entry by entry as pg_dump's own comments name them, without what is not
# wanted.
# It reads as psql does: what stands in quotes, in a function's body or in a table's rows is no statement. A
# command of psql's own (\! runs a program) has no place in a dump: it ends there.
# What is wanted stands in a file, each ended by NUL: thousands of tables would be too long for an argument.
#   owners=keep|drop|FILE|last  what names an owner is kept, left out, written to FILE (of schemas to FILE.schemas), or
#                          said last; grants likewise, to FILE.acl: an owner's own rights can be taken from him once he
#                          is the owner
#   data=1                 rows alone, and sequences: these never backwards
#   tables=a,b schemas=c   of these alone: NAME or SCHEMA.NAME, a line each
#   made=a                 schemas that are there already, a line each
#   places=drop            nothing names a tablespace
#   until=rows             all is passed on, unread, from the first row: comments on extensions stand before it
#   comments=drop          no comments on extensions: an administrator made those, who alone may
#   one=1                  one transaction, which ends well only where the dump has its end; first, before, between,
#                          after and last are SQL for it, the middle ones around the owners; not_to=a is an owner,
#                          each ended by 1E, who gets none
#   list=1                 nothing of it, but what of it would come: type, schema, name and owner, parted by 1F and 1E
read -r -d '' sift_program <<'PERL' || true
    open(my $wanted, "<", $ARGV[0]) or die "$ARGV[0]: $!\n";
    my %want = do { local $/; map { split /=/, $_, 2 } split /\0/, <$wanted> };
    my %ends = (tables => "\n", schemas => "\n", not_to => "\x1e", made => "\n");
    my ($tables, $schemas, $not_to, $there) =
        map { my %named = map { $_ => 1 } split /$ends{$_}/, $want{$_} // ""; \%named }
        qw(tables schemas not_to made);
    my $part = %$tables || %$schemas;
    my ($type, $name, $schema) = ("", "", "");
    my ($open, $text, $body, $rows, $whole, %waiting, %mine, %made) = ("", "", 0, 0, 0);
    my (@entries, %partitions, @attached, @schemas_owners, @owners, @rights, @sequences);
    my ($aside, $aside_schemas, $rights);
    if (($want{owners} // "keep") !~ /^(keep|drop|last)$/) {
        open($aside, ">", $want{owners}) or die "$want{owners}: $!\n";
        open($aside_schemas, ">", "$want{owners}.schemas") or die "$want{owners}.schemas: $!\n";
        open($rights, ">", "$want{owners}.acl") or die "$want{owners}.acl: $!\n";
    }

    sub is_wanted_table { return $tables->{$_[1]} || $tables->{"$_[0].$_[1]"} }

    # The parts of a name as SQL has it.
    sub parts {
        my ($names) = @_;    # a copy: what is given may be $1
        my @parts;
        while ($names =~ /\G(?:"((?:[^"]|"")*)"|([^".\s(]+))\.?/gc) { push @parts, $2 // $1 =~ s/""/"/gr }
        return @parts;
    }

    sub is_named { my @of = parts($_[0]); return is_wanted_table(@of[0, 1]) }

    # An entry of a table's own bears its name first, "patients patients_pkey": as long as the statement says so.
    sub is_of_named {
        my ($statement) = @_;
        my @words = split / /, $name, -1;
        for my $last (0 .. $#words - 1) {
            my $of = join " ", @words[0 .. $last];
            my $quoted = $of =~ s/"/""/gr;
            return 1 if is_wanted_table($schema, $of)
                && $statement =~ /[\s.](?:"\Q$quoted\E"|\Q$of\E)(?=[\s(;])/;
        }
        return 0;
    }

    sub is_wanted {
        my ($statement) = @_;
        return 1 if $type eq "";
        if ($part) {
            return 0 if !is_of_part($statement);
            $made{"$schema.$name"} = 1 if $type eq "INDEX";
            $made{"$schema." . (parts($1))[0]} = 1 if $type eq "CONSTRAINT" && $statement =~ / ADD CONSTRAINT (.*)/s;
        }
        return !$want{data} || $type =~ /^(TABLE DATA|SEQUENCE SET|BLOBS?|BLOB METADATA)$/;
    }

    sub is_of_part {
        my ($statement) = @_;
        # To a table that is there already it goes last: its indexes are matched with those that it has by then.
        if ($statement =~ /\A\s*ALTER TABLE (?:ONLY )?(.*?) ATTACH PARTITION /s && !is_here(parts($1))) {
            push @attached, $statement if is_here($schema, $name);
            return 0;
        }
        if ($type eq "INDEX ATTACH" && $statement =~ /ALTER INDEX (.*?) ATTACH PARTITION (.*);/s) {
            my ($whole, $of) = ($1, $2);
            return $made{join ".", parts($whole)} && $made{join ".", parts($of)};
        }
        return 1 if $schemas->{$schema} || ($type eq "SCHEMA" && $schemas->{$name});
        if ($type =~ /^(COMMENT|ACL)$/ && $name =~ /^SCHEMA (.*)/) { return $schemas->{(parts($1))[0]} }
        return 0 if !%$tables;
        return 1 if $type =~ /^(TABLE|TABLE DATA|TABLE ATTACH|ROW SECURITY)$/ && is_wanted_table($schema, $name);
        return is_of_named($statement) if $type =~ /^(DEFAULT|CONSTRAINT|FK CONSTRAINT|TRIGGER|POLICY|RULE)$/;
        return comments_or_grants($statement) if $type =~ /^(COMMENT|ACL)$/;
        return 1 if $type eq "INDEX" && $statement =~ / ON (?:ONLY )?(\S.*?) USING /s && is_named($1);
        return 1 if $type eq "STATISTICS" && $statement =~ / FROM ([^;]*);/s && is_named($1);
        return $mine{"$schema.$name"} if $type eq "SEQUENCE SET";
        if ($type eq "SEQUENCE" && $statement =~ /^\s*ALTER TABLE (?:ONLY )?(.*?) ALTER COLUMN /s) {
            return is_named($1) ? $mine{"$schema.$name"} = 1 : 0;
        }
        if ($type eq "SEQUENCE OWNED BY" && $statement =~ / OWNED BY (.*);/s && is_named($1)) {
            $mine{"$schema.$name"} = 1;
            my $waited = delete $waiting{"$schema.$name"};
            if (!$want{data} && !$want{list}) { pass_on($_) for @{ $waited // [] } }
            return 1;
        }
        push @{ $waiting{"$schema.$name"} }, $statement if $type eq "SEQUENCE";
        return 0;
    }

    sub is_here { return $schemas->{$_[0]} || is_wanted_table(@_[0, 1]) }

    sub comments_or_grants {
        my ($statement) = @_;
        my ($of, $what) = $name =~ /^([A-Z ]+) (\S.*)/ or return 0;
        my @of = parts($what);
        return is_wanted_table($schema, $of[0]) if $of =~ /^(TABLE|COLUMN)$/;
        return $mine{"$schema.$of[0]"} if $of eq "SEQUENCE";
        return $made{"$schema.$of[0]"} if $of eq "INDEX";
        return $of =~ /^(CONSTRAINT|TRIGGER|POLICY|RULE)$/ && $statement =~ / ON (\S.*?) IS /s && is_named($1);
    }

    sub statement_ends {
        my $statement = $text;
        $text = "";
        (my $bare = $statement) =~ s/\A\s+|\s+\z//g;
        if ($bare =~ /\ACOPY .* FROM stdin;\z/s) { $rows = !$want{list} && is_wanted($bare) ? 1 : 2 }
        return note($bare) if $want{list};
        pass_on($statement) if is_wanted($statement);
        pass_on_the_rest() if $rows && $want{until};
    }

    sub pass_on_the_rest {
        local $/ = \(1 << 20);
        while (my $block = <STDIN>) { print $block }
        $rows = 0;
    }

    sub pass_on {
        my ($statement) = @_;
        (my $bare = $statement) =~ s/\A\s+|\s+\z//g;
        if ($want{one}) {
            return if $type =~ /^BLOB/ && $bare =~ /\A(BEGIN|COMMIT);\z/;
            die "the dump begins or ends a transaction of its own\n"
                if $bare =~ /\A(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE|SAVEPOINT|RELEASE)\b/i;
            return push @sequences, forwards($bare) if $want{data} && $type eq "SEQUENCE SET";
        }
        if (($want{owners} // "keep") ne "keep") {
            if ($bare =~ /\AALTER ([A-Z ]+) .* OWNER TO (\S.*);\z/s) {
                my ($of, $owner) = ($1, $2);
                return if $not_to->{(parts($owner))[0]};
                print { $of eq "SCHEMA" ? $aside_schemas : $aside } "$bare\n" if $aside;
                push @{ $of eq "SCHEMA" ? \@schemas_owners : \@owners }, "$bare\n" if $want{owners} eq "last";
                return;
            }
            return if $want{owners} eq "drop" && $type =~ /^(ACL|DEFAULT ACL)$/;
            if ($type =~ /ACL/) {    # who granted it: a superuser alone may become him that way
                $statement =~ s/RESET SESSION AUTHORIZATION;/RESET ROLE;/;
                $statement =~ s/SET SESSION AUTHORIZATION/SET ROLE/;
                if ($rights) { print {$rights} $statement; return }
                if ($want{owners} eq "last") { push @rights, $statement; return }
            }
        }
        return if $want{places} && $bare =~ /\ASET default_tablespace = /;
        return if $type eq "SCHEMA" && $there->{$name} && $bare =~ /\ACREATE SCHEMA /;
        return if ($want{comments} // "") eq "drop" && $bare =~ /\ACOMMENT ON EXTENSION /;
        print $statement;
    }

    # A sequence knows no transaction, so it is set last of all; and who has moved on since does not begin again.
    sub forwards {
        my ($text, $number, $called) =
            $_[0] =~ /\ASELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);\z/
            or die "the dump sets a sequence in another way than pg_dump does\n";
        my $sequence = $text =~ s/''/'/gr;
        return "SELECT pg_catalog.setval('$text', $number, $called) FROM $sequence s, pg_catalog.pg_sequence q"
            . " WHERE q.seqrelid = '$text'::regclass AND ((${number}::numeric - s.last_value) * q.seqincrement > 0"
            . " OR s.last_value = $number AND $called AND NOT s.is_called);\n";
    }

    sub note {
        my ($bare) = @_;
        if ($bare =~ /\AALTER TABLE (?:ONLY )?(.*?) ATTACH PARTITION /s) {
            push @{ $partitions{join ".", (parts($1))[0, 1]} }, "$schema.$name";
        }
        is_wanted($bare) if $type =~ /^SEQUENCE/;    # whose they are
    }

    # With a table come its partitions.
    sub list {
        my %seen;
        my @queue = map { "$_->[1].$_->[2]" } grep { $_->[0] eq "TABLE" && $part && is_here(@$_[1, 2]) } @entries;
        while (defined(my $table = shift @queue)) {
            next if $seen{$table}++;
            push @queue, @{ $partitions{$table} // [] };
        }
        $tables->{$_} = 1 for keys %seen;
        for my $entry (@entries) {
            my ($type, $schema, $name) = @$entry;
            my $comes = !$part || ($type =~ /^TABLE/ ? is_here($schema, $name) : $schemas->{$schema})
                || $type eq "SCHEMA" && $schemas->{$name} || $type eq "SEQUENCE" && $mine{"$schema.$name"};
            print join("\x1f", map { tr/\x1e\x1f/??/r } @$entry), "\x1e" if $comes;
        }
    }

    print "BEGIN;\n", $want{first} // "", "\n" if $want{one};
    while (my $line = <STDIN>) {
        if ($rows) {
            print $line if $rows == 1;
            $rows = 0 if $line eq "\\.\n";
            next;
        }
        if ($open eq "" && $text !~ /\S/) {
            if ($line =~ /^\\(?:un)?restrict \w+$/) {
                print $line if $want{until};    # its other one comes unread
                next;
            }
            die "the dump holds a command of psql's own in line $.\n" if $line =~ /^\\/;    # it may be a row
            if ($line =~ /^-- (?:Data for )?Name: (.*); Type: (.*?); Schema: (.*?); Owner: (.*)$/) {
                ($name, $type, $schema) = ($1, $2, $3);
                push @entries, [$type, $schema, $name, $4 =~ s/; Tablespace: .*//r] if $want{list};
                next;
            }
            $whole = 1 if $line =~ /^-- PostgreSQL database dump complete$/;
            next if $line =~ /^--/;
        }
        $text .= $line;
        # As pg_get_functiondef writes a body of SQL: it stands in no quotes, and its statements end nothing.
        if ($open eq "") {
            $body = 1 if $line =~ /^ *BEGIN ATOMIC$/;
            $body = 0 if $line =~ /^END;$/;
        }
        my $ended = 0;
        pos($line) = 0;
        while (pos($line) < length $line) {
            if ($open eq "") {
                if ($line =~ /\G--.*\n?/gc) { next }
                if ($line =~ /\G(E?')/gci) { $open = length $1 > 1 ? "e'" : "'" }
                elsif ($line =~ /\G"/gc) { $open = "\"" }
                elsif ($line =~ /\G(?<![\w\$])(\$(?:[^\W\d]\w*)?\$)/gc) { $open = $1 }
                elsif ($line =~ m{\G/\*}gc) { $open = "*/" }
                elsif ($line =~ /\G\\/gc) { die "the dump holds a command of psql's own in line $.\n" }
                elsif ($line =~ /\G;/gc) {
                    $ended = $line =~ /\G\s*\z/ && !$body;
                }
                else { $line =~ /\G(?:[^'"\$\\\/;eE-]+|.)/gcs }
            }
            elsif ($open eq "e'") {
                $line =~ /\G(?:[^'\\]|\\.|\\\z|'')+/gcs or ($line =~ /\G'/gc, $open = "");
            }
            elsif ($open eq "'") { $line =~ /\G(?:[^']|'')+/gc or ($line =~ /\G'/gc, $open = "") }
            elsif ($open eq "\"") { $line =~ /\G(?:[^"]|"")+/gc or ($line =~ /\G"/gc, $open = "") }
            else {
                my $at = index $line, $open, pos $line;
                if ($at < 0) { pos($line) = length $line }
                else { pos($line) = $at + length $open; $open = "" }
            }
        }
        statement_ends() if $ended && $open eq "";
    }
    print $text if $text =~ /\S/ && !$want{list} && is_wanted($text);
    die "the dump is cut short: its last line is missing\n" if ($want{one} || $want{list}) && !$whole;
    list() if $want{list};
    print @attached, @schemas_owners, $want{before} // "", @owners, $want{between} // "", @rights, $want{after} // "",
        "SET CONSTRAINTS ALL IMMEDIATE;\n", $want{last} // "", "\n", @sequences, "COMMIT;\n" if $want{one};
    close(STDOUT) or die "writing: $!\n";
    for my $file (grep { $_ } $aside, $aside_schemas, $rights) { close($file) or die "writing: $!\n" }
PERL
