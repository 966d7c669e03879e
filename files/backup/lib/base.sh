# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Steps: one log line each, one way to fail --------------------------------------------------------

# shellcheck source=lib/required.sh
. "$here/lib/required.sh"
# shellcheck source=lib/json.sh
. "$here/lib/json.sh"

unset -v PERL5LIB PERL5OPT PERLIO PERL_UNICODE    # the shell's of a person who reads Perl otherwise

subject=''
step=start
said_why=''
failed_line=''
trap 'failed_line="$LINENO of ${BASH_SOURCE[0]}"' ERR

log_also=''    # a file that gets these lines too, where no cron line writes one

# Everything goes to stderr, so that a command's own output can be piped.
log() { # LEVEL MESSAGE
    local line=${2//[[:cntrl:]]/ }    # names and errors of others are in it, and a terminal obeys
    printf -v line '%(%Y-%m-%dT%H:%M:%S%z)T %-5s %s %s: %s' -1 "$1" "$subject" "$step" "$line"
    if [[ -n $log_also ]]; then { printf '%s\n' "$line" >>"$log_also"; } 2>/dev/null || true; fi
    printf '%s\n' "$line" >&2
}

# A log that fails half-way does not stop a backup; one that cannot be written at all does: see `prepare`.
info() { log INFO "$1" || true; }
warn() { log WARN "$1" || true; }

die() { # MESSAGE [EXIT CODE]
    said_why=${1//[[:cntrl:]]/ }
    log ERROR "$1" || true
    exit "${2:-$EXIT_FAILED}"
}

# For what no step has foreseen: no run ends without a word.
explain_exit() { # EXIT CODE
    if (( $1 != 0 )) && [[ -z $said_why ]]; then
        said_why="stopped at line $failed_line with exit code $1: see the lines above"
        log ERROR "$said_why" || true
    fi
}

# Who did what: a line of JSON, as deploys leave theirs in root's history. One that cannot be written is no failure.
note_done() { # WHAT DATABASE FILE EXIT CODE
    local result=ok
    if (( $4 != 0 )); then result="failed: ${said_why:-exit code $4}"; fi
    jq --null-input --compact-output --arg what "$1" --arg database "$2" --arg file "$3" --arg result "$result" \
        --arg who "${SUDO_USER:-${LOGNAME:-$(id -un)}}@${HOSTNAME:-}" --arg time "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        '$ARGS.named' >>"$backup_state_dir/history.jsonl" 2>/dev/null || true
}

readonly EXIT_FAILED=1 EXIT_USAGE=2 EXIT_BUSY=75

# The comment at the top of a script is its manual; the settings that it names are shown with their values.
usage() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$(with_values "$line")"
    done < <(sed -n '2,/^$/ { s/^# \{0,1\}//; p }' "$0")
}

with_values() { # LINE
    local rest=$1 text=''
    while [[ $rest =~ ^([^$]*)\$\{?([a-z_]+)\}?(.*)$ ]]; do
        text+=${BASH_REMATCH[1]}${!BASH_REMATCH[2]}
        rest=${BASH_REMATCH[3]}
    done
    printf '%s' "$text$rest"
}

# What a tool has said went wrong: from its first error on, for a warning before it has other causes; without
# what it tells of rows: details, contexts, values of a column.
reason_in() { # FILE
    if grep -qE '(^|: )(error|ERROR|FATAL|PANIC):' "$1"; then
        sed -nE '/(^|: )(error|ERROR|FATAL|PANIC):/,$p' "$1" | without_rows
    else
        without_rows <"$1"
    fi
}

# The server has its own language: what it quotes behind a colon is a value in each.
without_rows() {
    sed -n -E -e '/^[[:space:]]*(DETAIL|CONTEXT|HINT|QUERY|STATEMENT|LINE [0-9]+|Command was):/q' \
        -e '/((ERROR|error): |[^ :] ?:  ).*[^ :] ?: ?("|«|»)/ { s/ ?: ?("|«|»).*/: (a value)/p; q }' -e 'p; 3q'
}

# What somebody else wrote, as it may be shown: a terminal obeys control characters, text that runs from right
# to left shows something else than it says, and a line has an end.
plain_text() {
    perl -ne 'utf8::decode($_) or tr/\x80-\xff/?/;
        s/[\x00-\x08\x0b-\x1f\x7f-\x9f]/?/g;
        s/[\x{ad}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{feff}]/?/g;
        $_ = substr($_, 0, 4000) . " ...\n" if length > 4000;
        utf8::encode($_); print'
}

# A number out of a file or an answer, 0 for what is none: bash runs commands that stand in its arithmetic.
digits() { # TEXT
    local number=0
    if [[ $1 =~ ^0*([0-9]{1,18})$ ]]; then number=${BASH_REMATCH[1]}; fi
    printf '%s' "$number"
}

human_size() { # BYTES
    numfmt --to=iec-i --suffix=B --format=%.1f "$1"
}

handed_on=/dev/null    # what root opens for the rest to read

# The rest runs as the user who owns the dumps: what root wrote, the nightly run could neither read nor prune.
become_backup_user() { # ARGUMENTS...
    local user
    user=$(id -un)
    if [[ $user == "$backup_user" ]]; then
        # Begun in a directory such as /root, which this user may not enter: find and others would fail there.
        [[ -x . ]] || cd /
        return
    fi
    (( EUID == 0 )) || die "you are $user: run this as $backup_user or as root" "$EXIT_USAGE"
    id -u "$backup_user" >/dev/null 2>&1 || die "there is no user $backup_user: deploy first" "$EXIT_USAGE"
    if [[ ! -d $backup_state_dir ]]; then
        install --directory --owner="$backup_user" --mode=0750 "$backup_state_dir"
    fi
    # In root's home Docker and libpq would look for files of theirs, and may not.
    HOME=$(getent passwd "$backup_user" | cut -d : -f 6)
    exec perl -MPOSIX -e "$session_program" \
        setpriv --reuid "$backup_user" --regid "$(id -g "$backup_user")" --init-groups -- \
        setpriv --pdeathsig TERM -- "$BASH" "$(readlink --canonicalize "$0")" "$@" <"$handed_on"
}

# Runs a command in a session of its own: one with root's terminal could type into it (TIOCSTI). Signals are
# passed on, and its end is ours.
# shellcheck disable=SC2016  # Perl's own names
readonly session_program='
    my $child;
    for my $name (qw(HUP INT TERM)) { $SIG{$name} = sub { kill $name, $child if $child } }
    $child = fork // die "fork: $!\n";
    if (!$child) {
        $SIG{$_} = "DEFAULT" for qw(HUP INT TERM);
        POSIX::setsid();
        exec @ARGV or die "$ARGV[0]: $!\n";
    }
    1 while waitpid($child, 0) != $child;
    exit($? & 127 ? 128 + ($? & 127) : $? >> 8)'

# The kernel drops the lock with its last holder, so there is no stale one.
take_lock() { # FILE
    open_lock "$1" || die "cannot write $1: deploy again" "$EXIT_USAGE"
    flock --timeout 2 9 || die "another run holds $1: this one stops" "$EXIT_BUSY"
}

open_lock() { # FILE
    # One that somebody else has made in our own directory, such as root who copied dumps in: nobody holds it.
    [[ ! -e $1 || -w $1 ]] || rm -f -- "$1"
    exec 9>>"$1"
}

utc_now() { TZ=UTC printf '%(%Y-%m-%dT%H:%M:%SZ)T' -1; }

# Tells whoever was named in backup_failure_hook. It can fail, and has a minute; the backup's own exit code
# is not its business.
call_failure_hook() { # MESSAGE EXIT CODE
    [[ -n $backup_failure_hook ]] || return 0
    BACKUP_TIER=$subject BACKUP_STEP=$step BACKUP_MESSAGE=$1 BACKUP_EXIT_CODE=$2 \
        timeout 60 /bin/sh -c "$backup_failure_hook" </dev/null >&2 9>&- ||
        warn "backup_failure_hook failed: nobody may have been told"
}
