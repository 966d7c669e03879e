# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- A part of a dump, or a dump without its owners

# Passes a plain dump's SQL on, entry by entry as pg_dump's own comments name them, without what is not
# wanted.
# It reads as psql does: what stands in quotes, in a function's body or in a table's rows is no statement. A
# command of psql's own (\! runs a program) has no place in a dump: it ends there.
#   owners=keep|drop|FILE  what names an owner is kept, left out, or written to FILE; grants likewise, to
#                          FILE.acl: an owner's own rights can be taken from him once he is the owner
#   data=1                 rows alone          tables=a,b schemas=c   of these alone: NAME or SCHEMA.NAME
#   comments=drop          no comments on extensions: an administrator made those, who alone may
read -r -d '' sift_program <<'PERL' || true
    my %want = map { split /=/, $_, 2 } @ARGV;
    my %tables = map { $_ => 1 } split /,/, $want{tables} // "";
    my %schemas = map { $_ => 1 } split /,/, $want{schemas} // "";
    my $part = %tables || %schemas;
    my ($type, $name, $schema) = ("", "", "");
    my ($open, $text, $rows, %waiting, %mine) = ("", "", 0);
    my ($aside, $rights);
    if (($want{owners} // "keep") !~ /^(keep|drop)$/) {
        open($aside, ">", $want{owners}) or die "$want{owners}: $!\n";
        open($rights, ">", "$want{owners}.acl") or die "$want{owners}.acl: $!\n";
    }

    sub is_wanted_table { return $tables{$_[1]} || $tables{"$_[0].$_[1]"} }

    # An entry of a table's own bears its name first: "patients patients_pkey", "TABLE patients".
    sub is_wanted {
        my ($statement) = @_;
        return 1 if $type eq "";
        return 0 if $want{data} && $type !~ /^(TABLE DATA|SEQUENCE SET|BLOBS?|BLOB METADATA)$/;
        return 1 if !$part;
        return 1 if $schemas{$schema} || ($type eq "SCHEMA" && $schemas{$name});
        return 0 if !%tables;
        return 1 if $type =~ /^(TABLE|TABLE DATA|TABLE ATTACH|ROW SECURITY)$/
            && is_wanted_table($schema, $name);
        return 1 if $type =~ /^(DEFAULT|CONSTRAINT|FK CONSTRAINT|TRIGGER|POLICY|RULE)$/
            && grep { is_wanted_table($schema, substr($name, 0, $_)) } spaces($name);
        return 1 if $type =~ /^(COMMENT|ACL)$/ && $name =~ /^(?:TABLE|COLUMN) "?(.+?)"?(?:\.|$)/
            && is_wanted_table($schema, $1);
        return 1 if $type eq "INDEX" && $statement =~ / ON (?:ONLY )?(\S.*?) USING /s && is_named($1);
        return 1 if $type eq "SEQUENCE SET" && $mine{"$schema.$name"};
        if ($type eq "SEQUENCE" && $statement =~ /^ALTER TABLE (?:ONLY )?(.*?) ALTER COLUMN /s) {
            return is_named($1) ? $mine{"$schema.$name"} = 1 : 0;
        }
        if ($type eq "SEQUENCE OWNED BY" && $statement =~ / OWNED BY (.*)\.[^.]+;/s && is_named($1)) {
            $mine{"$schema.$name"} = 1;
            print delete $waiting{"$schema.$name"} // "";
            return 1;
        }
        $waiting{"$schema.$name"} .= $statement if $type eq "SEQUENCE";
        return 0;
    }

    sub spaces { my @at; while ($_[0] =~ / /g) { push @at, pos($_[0]) - 1 } return @at }

    sub is_named {
        my ($of, $as) = $_[0] =~ /^"?(.*?)"?\."?(.*?)"?$/ or return 0;
        return is_wanted_table($of, $as);
    }

    sub statement_ends {
        my $statement = $text;
        $text = "";
        (my $bare = $statement) =~ s/\A\s+|\s+\z//g;
        if ($bare =~ /\ACOPY .* FROM stdin;\z/s) { $rows = is_wanted($bare) ? 1 : 2 }
        return if !is_wanted($statement);
        if (($want{owners} // "keep") ne "keep") {
            if ($bare =~ /\AALTER [A-Z ]+ .* OWNER TO \S.*;\z/s) {
                print {$aside} "$bare\n" if $aside;
                return;
            }
            return if !$aside && $type =~ /^(ACL|DEFAULT ACL)$/;
            if ($type =~ /ACL/) {    # who granted it: a superuser alone may become him that way
                $statement =~ s/RESET SESSION AUTHORIZATION;/RESET ROLE;/;
                $statement =~ s/SET SESSION AUTHORIZATION/SET ROLE/;
                if ($rights) { print {$rights} $statement; return }
            }
        }
        return if ($want{comments} // "") eq "drop" && $bare =~ /\ACOMMENT ON EXTENSION /;
        print $statement;
    }

    while (my $line = <STDIN>) {
        if ($rows) {
            print $line if $rows == 1;
            $rows = 0 if $line eq "\\.\n";
            next;
        }
        if ($open eq "" && $text !~ /\S/) {
            if ($line =~ /^\\(?:un)?restrict \w+$/) { next }
            die "the dump holds a command of psql's own, $line" if $line =~ /^\\/;
            if ($line =~ /^-- (?:Data for )?Name: (.*); Type: (.*?); Schema: (.*?); Owner: /) {
                ($name, $type, $schema) = ($1, $2, $3);
                next;
            }
            next if $line =~ /^--/;
        }
        $text .= $line;
        my $ended = 0;
        pos($line) = 0;
        while (pos($line) < length $line) {
            if ($open eq "") {
                if ($line =~ /\G--.*\n?/gc) { next }
                if ($line =~ /\G(E?')/gci) { $open = length $1 > 1 ? "e'" : "'" }
                elsif ($line =~ /\G"/gc) { $open = "\"" }
                elsif ($line =~ /\G(?<![\w\$])(\$(?:[^\W\d]\w*)?\$)/gc) { $open = $1 }
                elsif ($line =~ m{\G/\*}gc) { $open = "*/" }
                elsif ($line =~ /\G\\/gc) { die "the dump holds a command of psql's own: $line" }
                elsif ($line =~ /\G;/gc) {
                    $ended = $line =~ /\G\s*\z/ && $text !~ /BEGIN ATOMIC(?!.*\bEND;)/s;
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
    print $text if $text =~ /\S/ && is_wanted($text);
    close(STDOUT) or die "writing: $!\n";
    for my $file (grep { $_ } $aside, $rights) { close($file) or die "writing: $!\n" }
PERL
