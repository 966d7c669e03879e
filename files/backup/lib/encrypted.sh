# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Of which files a dump that lies encrypted consists, and what each is once it is opened --------------------

# As its manifest has them, a line each: name, sum, and the sum of what is in it. Names become paths, which root writes
# to: of a manifest that anybody else has made no other comes out than this dump's own, nor anything but a sum. The dump
# itself comes first; where something is wrong, it alone, with sums that none has.
encrypted_files_of() { # DUMP MANIFEST
    # shellcheck disable=SC2016  # jq's own names
    local of_dump='def is_sum: type == "string" and test("\\A[0-9a-f]{64}\\z");
        [.encrypted[]? | select(.name | IN($dump, $dump + ".globals.gz.age", $dump + ".properties.json.age"))]
        | if any(.[]; .name == $dump) and all(.[]; (.sha256, .plain_sha256) | is_sum)
            and (map(.name) | length == (unique | length)) then . else null end
        | (. // [{name: $dump, sha256: "(none)", plain_sha256: "(none)"}])
        | sort_by(.name != $dump) | .[] | "\(.name) \(.sha256) \(.plain_sha256)"'
    jq --raw-output --arg dump "${1##*/}" "$of_dump" "$2" 2>/dev/null || printf '%s (none) (none)\n' "${1##*/}"
}

# The name of the same file beside a dump in plain.
opened_name() { # NAME
    local name=${1%.age} beside
    for beside in .globals.gz .properties.json; do
        if [[ $name == *.age"$beside" ]]; then name=${name%.age"$beside"}$beside; fi
    done
    printf '%s' "$name"
}

# What a manifest says of a dump that is not encrypted any more, letter by letter the same wherever that is done.
# shellcheck disable=SC2016,SC2034  # jq's own names; backups only look whether a dump is whole
readonly as_opened='del(.encrypted, .recipients) | .dump |= rtrimstr(".age")
    | if .globals then .globals = .dump + ".globals.gz" else . end'

# --- What carries a dump to age and its sums ------------------------------------------------------------------------

# What FROM, a file or - for standard input, holds: to standard output and to each TO, a path or a descriptor's number.
# In large turns through large pipes, which is half of what tee's cost. A pipe in a file's place is not waited for.
# shellcheck disable=SC2016,SC2034  # Perl's own names
readonly spread_program='
    use Fcntl;
    sub fail { print STDERR "$_[0]: $!\n"; exit 1 }
    my ($name, @names) = @ARGV;
    my $from = *STDIN;
    if ($name ne "-") {
        sysopen $from, $name, O_RDONLY | O_NONBLOCK or fail($name);
        -f $from or do { print STDERR "$name is no file\n"; exit 1 };
    }
    my @to = map { open my $each, /^[0-9]+$/ ? ">&=" : ">", $_ or fail($_); [$each, $_] } @names;
    unshift @to, [*STDOUT, "standard output"];
    fcntl $_, 1031, 1 << 20 for $from, map { $_->[0] } @to;    # F_SETPIPE_SZ
    while (1) {
        my $got = sysread($from, my $part, 1 << 18) // fail($name eq "-" ? "standard input" : $name);
        last if !$got;
        for my $each (@to) {
            for (my $sent = 0; $sent < $got;) {
                $sent += syswrite($each->[0], $part, $got - $sent, $sent) // fail($each->[1]);
            }
        }
    }
    for my $each (@to) { close $each->[0] or fail($each->[1]) }'
