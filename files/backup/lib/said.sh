# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What may be said of a load that failed: no row -------------------------------------------------------

# A server says in an error what it was given, and a function of the dump's what it likes, by any code. So the words
# are shown only of errors that have names of objects in them or none, raised in a file of PostgreSQL's own that raises
# such (LOCATION, in no language); of all others the code and what it means.

# Where no program of PostgreSQL's has begun, somebody else speaks: sudo, Docker.
reason_of_load() { # FILE
    if grep -qE '^(psql:[^ ]+:[0-9]+|pg_restore): ' "$1"; then
        perl -e "$said_program" <"$1"
    else
        reason_in "$1"
    fi
}

# files/windows/lib/postgres.ps1 says the same: tests/rules asks both.
# shellcheck disable=SC2016  # Perl's own names
readonly said_program='
    my $said = do { local $/; <STDIN> };
    my $hidden = "; the words may hold a row and are not shown";
    my @kinds = (["P0|38" => "code of the dump refused it"], ["22P04" => "a row has other columns than its table"],
        [22 => "a value was refused"], [23502 => "a row lacks a value"],
        [23503 => "a row refers to one that is not there"],
        [23505 => "two rows have the same key"], [23 => "a row breaks a constraint"],
        ["3F000" => "a schema is not there"], [42501 => "a right is missing"], [42601 => "the syntax is wrong"],
        [42703 => "a column is not there"], [42704 => "a type, a role or another object is not there"],
        [42883 => "a function or an operator is not there"], ["42P01" => "a table is not there"],
        ["42(?:710|723|P0[467])" => "something of that name is there"], [53100 => "the disk is full"]);
    my $core = qr/^(?:acl|aclchk|aggregatecmds|alter|amcmds|aset|auth|buffile|bufmgr|bufpage|bump|catalog|cluster
        |collationcmds|comment|conversioncmds|copy|createas|dbcommands|deadlock|dependency|dfmgr|domains|dropcmds
        |dsm|dsm_impl|event_trigger|exec(?:ExprInterp|Indexing|Main|Partition)|extension|fd|fmgr|foreign|foreigncmds
        |functioncmds|generation|guc|guc_funcs|hba|heap|heapam|hio|index|indexcmds|inv_api|ipc|lmgr|localbuf|lock
        |lockcmds|logtape|lsyscache|matview|mcxt|md|miscinit|namespace|nbtinsert|nbtsort|nbtutils|objectaddress
        |opclasscmds|operatorcmds|parse_(?:func|oper|relation|type|utilcmd)|partbounds
        |pg_(?:aggregate|cast|class|collation|constraint|conversion|enum|namespace|operator|proc|publication|type)
        |policy|postgres|postinit|postmaster|predicate|proc|procarray|proclang|publicationcmds|relation|ri_triggers
        |schemacmds|seclabel|sequence|slab|smgr|statscmds|storage|subscriptioncmds|tablecmds|tablespace|trigger
        |tsearchcmds|tuplesort|tuplesortvariants|tuplestore|typecmds|user|utility|variable|view|xact|xlog
        |xloginsert)\.c$/x;
    my $preload = qr/^\S{1,63} (?:must|can only) be (?:pre)?loaded via "?shared_preload_libraries"?/;

    sub kind { my ($code) = @_; for (@kinds) { return $_->[1] if $code =~ /^(?:$_->[0])/ } "the server refused it" }

    # A name at which a statement cannot be understood may be the word of a damaged row: no row is in a statement that
    # begins so, or in what pg_dump indents, without a quote.
    sub is_ours {
        my ($at) = $_[0] =~ /^LINE (.*)/m;
        !defined $at || $at =~ /^1: (?:ALTER|COMMENT|CREATE|DROP|GRANT|REVOKE|SET) |^(?!1:)\d+:    [^\x27]*$/;
    }

    # The first error is the one that ended it, all below is of that one, and the last place is its own.
    if ($said =~ /^psql:[^ \n]+?:(\d+): [^\s:]+ ?:  ?(?!0[0-2])([0-9A-Z]{5}): ([^\n]*)(.*)/ms) {
        my ($line, $code, $words, $below) = ($1, $2, $3, $4);
        my ($file) = $below =~ /.*^LOCATION:  \w+, ([\w.]+):\d+$/ms;
        my $inside = $below =~ /^CONTEXT:  /m;
        my $told = $code !~ /^P0/ && ($file // "") =~ $core && (
            $code =~ /^(?:08|23|25|28|40|53|54|55006|55P03|57|58)/
            || !$inside && ($code eq "42501" || is_ours($below)
                && "$code $file" =~ /^(?:0A000|2BP01|3D000|3F000|42(?:70[34]|710|723|809|830|883|P0[1467]|P1[67])|55000
                    |22023[ ]guc\.c$)/x));
        $told ||= ($file // "pl") !~ /^pl/i && $words =~ $preload;
        if (!$told) {
            $words = kind(($file // "") =~ /^pl(?!an)/i ? "P0" : $code);
            $words .= ", for code of the dump" if $inside && $code =~ /^(?:42|3F)/ && $words !~ /code of/;
            $words .= $hidden;
        }
        print "line $line: $words ($code)\n";
    }
    # These are psql of its own.
    elsif ($said =~ /^psql:[^ \n]+?:(\d+): (?:error: )?(server[ ]closed[ ]the[ ]connection[ ]unexpectedly
            |connection[ ]to[ ]server[ ]was[ ]lost|could[ ]not[ ](?:receive[ ]data[ ]from|send[ ]data[ ]to)[ ]server
            |SSL[ ]connection[ ]has[ ]been[ ]closed[ ]unexpectedly|SSL[ ]SYSCALL[ ]error|out[ ]of[ ]memory
            |backslash[ ]commands[ ]are[ ]restricted|invalid[ ]command)/mx) {
        print "line $1: $2\n";
    }
    # pg_restore tells no code: of what the server says some sentences are known, in English alone, and of what it was
    # asked the first line, unless that has rows.
    elsif ($said =~ /^pg_restore: error: ([^\n]*)(.*)/ms) {
        my ($words, $below, $before) = ($1, $2, $`);
        my $name = qr/"[^"]*"/;
        my $object = qr/(?:operator[ ](?:class|family)|access[ ]method|foreign-data[ ]wrapper|text[ ]search[ ]\w+
            |large[ ]object|event[ ]trigger|aggregate|cast|collation|constraint|conversion|database|extension|function
            |index|language|operator|policy|procedure|publication|relation|role|rule|schema|server|tablespace|trigger
            |type|view)/x;
        my $told;
        if ($before =~ /^pg_restore: [^\s:]+ ?:  /m) {    # a notice of whoever wrote the dump, in any lines
            $words = "the server refused it$hidden";
        } elsif ($words =~ /^(?!connection to server )(.*?)[^\s:]+ ?:  (.*)/) {
            (my $doing, $words) = ($1, $2);
            $doing = "" unless $doing =~ /^(?:could[ ]not[ ]execute[ ]query|COPY[ ]failed[ ]for[ ]table[ ]$name
                |error[ ]returned[ ]by[ ]\w+):[ ]$/x;
            my @contexts = $below =~ /^CONTEXT:  ([^\n]*)/mg;
            $told = $words =~ /^(?:duplicate[ ]key[ ]value[ ]violates[ ]unique[ ]constraint[ ]$name
                    |could[ ]not[ ]create[ ]unique[ ]index[ ]$name
                    |insert[ ]or[ ]update[ ]on[ ]table[ ]$name[ ]violates[ ]foreign[ ]key[ ]constraint[ ]$name
                    |new[ ]row[ ]for[ ]relation[ ]$name[ ]violates[ ]check[ ]constraint[ ]$name
                    |check[ ]constraint[ ]$name[ ]of[ ]relation[ ]$name[ ]is[ ]violated[ ]by[ ]some[ ]row
                    |null[ ]value[ ]in[ ]column[ ]$name[ ]of[ ]relation[ ]$name[ ]violates[ ]not-null[ ]constraint
                    |conflicting[ ]key[ ]value[ ]violates[ ]exclusion[ ]constraint[ ]$name
                    |could[ ]not[ ]\w+[ ](?:temporary[ ])?file[ ]$name:[ ](?:No[ ]space[ ]left[ ]on[ ]device
                        |Disk[ ]quota[ ]exceeded|File[ ]too[ ]large|Input\/output[ ]error|Read-only[ ]file[ ]system)
                    |out[ ]of[ ](?:shared[ ])?memory|deadlock[ ]detected
                    |(?:terminating[ ]connection|canceling[ ]statement)[ ]due[ ]to[ ][a-z -]+
                    |the[ ]database[ ]system[ ]is[ ][a-z ]+)$/x
                && !grep { !/^COPY / } @contexts;
            $told ||= $words =~ $preload && $below !~ /^CONTEXT:  PL/m;
            $told ||= $words =~ /^(?:permission[ ]denied[ ](?:for|to)|must[ ]be)[ ]/x && !@contexts;
            $told ||= $words =~ /^(?:$object[ ].*[ ](?:does[ ]not[ ]exist|already[ ]exists)(?:[ ](?:for|in)[ ].*)?
                    |(?:required[ ])?extension[ ]$name[ ](?:is[ ]not[ ](?:available|installed)|has[ ]no[ ].*)
                    |unrecognized[ ]configuration[ ]parameter[ ]$name
                    |could[ ]not[ ](?:open[ ]extension[ ]control|access|load|open)[ ](?:file|library)[ ]$name.*)$/x
                && !@contexts && is_ours($below);
            $words = $doing . ($told ? $words : "the server refused it$hidden");
            $words .= ": $1" if !$told && $doing =~ /query/ && $below =~ /.*^Command[ ]was:[ ]((?:ALTER|COMMENT|CREATE
                |DROP|GRANT|REVOKE|SET)[ ][^\n]{1,200})/msx;
        }
        print "$words\n";
    }
    else { print "it gave a reason that may hold a row and is not shown\n" }'
