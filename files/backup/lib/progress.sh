# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Progress -----------------------------------------------------------------------------------------

# Passes its input on, and says on file descriptor 8 how far it is: in place on a terminal, else a line
# every ten percent.
read -r -d '' progress_program <<'PERL' || true
    my ($total, $tty) = @ARGV;
    my ($done, $said) = (0, -1);
    open(my $say, ">&=", 8) or die "descriptor 8: $!\n";
    $say->autoflush(1);
    while (1) {
        my $got = sysread(STDIN, my $block, 1 << 17);
        defined $got or die "reading: $!\n";
        last if !$got;
        for (my $sent = 0; $sent < $got;) {
            my $more = syswrite(STDOUT, $block, $got - $sent, $sent);
            defined $more or die "writing: $!\n";
            $sent += $more;
        }
        $done += $got;
        my $percent = $total ? int(100 * $done / $total) : 100;
        $percent -= $percent % 10 if !$tty;
        next if $percent == $said;
        $said = $percent;
        printf {$say} "%s%3d %%, %.1f of %.1f MiB%s",
            $tty ? "\r" : "", $percent, $done / 2**20, $total / 2**20, $tty ? "" : "\n";
    }
    print {$say} "\n" if $tty;
PERL
