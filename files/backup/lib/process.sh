# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Processes of our own: none outlives this script --------------------------------------------------

declare -A children=()   # process ids by name
declare -A ended=()      # exit codes by name
declare -A opening=()    # those of which it is not known yet that all their files are open

# The child opens its files by itself: a FIFO may block it, and nobody else. It gives up the lock, and dies with us even
# when we are killed by SIGKILL: from before it waits at a FIFO, to whose other end nobody would come any more.
start() { # NAME INPUT OUTPUT COMMAND...
    start_spreading "$1" "$2" "$3" '' '' "${@:4}"
}

# With more outputs, or '', as its descriptors 3 and 4: a command that opened them itself would wait where nobody looks.
start_spreading() { # NAME INPUT OUTPUT 3 4 COMMAND...
    local name=$1 parent=$BASHPID    # behind the & it would be the child's
    setpriv --pdeathsig TERM -- sh -c "$open_and_become" sh "$parent" "${@:2}" \
        >/dev/null 2>"$run_dir/$name.err" 9>&- &
    children[$name]=$!
    opening[$name]=1
}

# shellcheck disable=SC2016  # the child's own names
readonly open_and_become='[ "$PPID" = "$1" ] || exit 143
    exec <"$2" >"$3" 6<&- 7>&-
    [ -z "$4" ] || exec 3>"$4"
    [ -z "$5" ] || exec 4>"$5"
    shift 5
    exec "$@"'

# Until each has opened its files, or has ended. Who ended before, in whichever way, leaves others at the other ends of
# its FIFOs, to which nobody comes any more: they end as if they had lost it later.
await_open_files() { # NAME...
    local name waiting failed=0
    local -a own command
    mapfile -d '' -t own <"/proc/$BASHPID/cmdline"
    while :; do
        waiting=0
        for name in "$@"; do
            [[ -n ${opening[$name]:-} ]] || continue
            command=()
            { mapfile -d '' -t command <"/proc/${children[$name]}/cmdline"; } 2>/dev/null || true
            case "${command[*]}" in
                '' | "${own[*]}")    # it has ended, or was just born, or becomes another program at this moment
                    if kill -0 "${children[$name]}" 2>/dev/null; then
                        waiting=1
                    else
                        reap "$name"
                        (( ended[$name] == 0 )) || failed=1
                    fi ;;
                *"$open_and_become"*)
                    waiting=1
                    if (( failed )) && kill -TERM "${children[$name]}" 2>/dev/null; then opening[$name]=given-up; fi ;;
                *) unset -v 'opening[$name]' ;;
            esac
        done
        (( waiting )) || return 0
        sleep 0.01
    done
}

reap() { # NAME
    local status=0
    wait "${children[$1]}" || status=$?
    if [[ ${opening[$1]:-} == given-up ]]; then status=$(( 128 + 13 )); fi
    # In single quotes: in double ones bash would expand what a name holds.
    unset -v 'children[$1]' 'opening[$1]'
    ended[$1]=$status
}

# Waits for all of them, then says whether all of them succeeded.
all_ended_well() { # NAME...
    local name well=0
    await_open_files "$@"
    for name in "$@"; do
        if [[ -n ${children[$name]:-} ]]; then reap "$name"; fi
        (( ended[$name] == 0 )) || well=1
    done
    return "$well"
}

# Of two exit codes the one to end with: a plain failure outweighs "published, but" and "busy".
worse_of() { # EXIT CODE, EXIT CODE
    if (( $1 == EXIT_FAILED || $2 == 0 )); then printf '%s' "$1"; else printf '%s' "$2"; fi
}

# The one that failed first: those that lost their reader or writer with it are its victims.
why_failed() { # NAME...
    local name text first=''
    for name in "$@"; do
        (( ended[$name] != 0 )) || continue
        first=${first:-$name}
        if (( ended[$name] != 128 + 13 )); then
            first=$name
            break
        fi
    done
    name=$first
    case $name in
        psql | pg_restore) text=$(reason_of_load "$run_dir/$name.err") ;;    # which load a dump
        *) text=$(reason_in "$run_dir/$name.err") ;;
    esac
    if (( ended[$name] > 128 && ended[$name] < 255 )); then    # 255 is how Perl ends by itself
        text="killed by signal $(( ended[$name] - 128 )) $text"
    fi
    printf '%s ended with exit code %s: %s' "$name" "${ended[$name]}" "${text:-it gave no reason}"
}

end_children() {
    local name pid
    for name in "${!children[@]}"; do
        kill -TERM "${children[$name]}" 2>/dev/null || true
    done
    for name in "${!children[@]}"; do
        pid=${children[$name]}
        for _ in {1..100}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    children=()
}

stop_on_signals() {
    trap 'die "stopped by SIGHUP: run it again" 129' HUP
    trap 'die "stopped by SIGINT: run it again" 130' INT
    trap 'die "stopped by SIGTERM: run it again" 143' TERM
    trap ':' PIPE    # a reader that is gone is an error where we write, not our end
}
