# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What root alone asks of Docker: which container the server is, and the server of a restore test ----

# Whatever runs in a container that root starts for somebody else has no right there but to run.
readonly bounds=(
    --read-only --cap-drop ALL --security-opt no-new-privileges --ulimit core=0
)

# The container of the settings' service, by the labels that Compose has put on it: who may talk to Docker can
# do that, and nobody else. No Compose file and no .env is read, since the app may write these.
container_of_service() { # OPTION of docker ps...
    local ids directory=${postgres_compose_file%/*} name
    ids=$(docker ps "$@" --quiet --no-trunc --filter label=com.docker.compose.oneoff=False \
        --filter "label=com.docker.compose.service=$postgres_compose_service") || return
    [[ -n $ids ]] || return 0
    name=${directory##*/}
    name=${name,,}
    name=${name//[^a-z0-9_-]/}    # what Compose makes of it, where nobody has named the project
    while [[ $name == [_-]* ]]; do name=${name#?}; done
    xargs docker inspect <<<"$ids" | jq --raw-output --arg project "$postgres_compose_project" \
        --arg directory "$directory" --arg name "$name" "$choice_program"
}

# The project that was named; else the one that was started there; else the one of that name.
# shellcheck disable=SC2016  # jq's own names
readonly choice_program='
    map({id: .Id, labels: .Config.Labels,
         number: (.Config.Labels["com.docker.compose.container-number"] // "")})
    | sort_by(.number)
    | def of(key; value): map(select(.labels["com.docker.compose." + key] == value));
      if $project != "" then of("project"; $project)
      else of("project.working_dir"; $directory) + of("project"; $name) end
    | .[0].id // empty'

# --- The server of a restore test, of the image that runs the real one --------------------------------------

readonly test_container=$app_name-restore-test

image_of_test() {
    if [[ $postgres_mode == container ]]; then
        printf '%s' "$postgres_image"
    else
        docker inspect "$(container_of_service --all)" | jq --raw-output '.[0].Image'
    fi
}

# Beside the unit, and bound as it is: no network, the test's own user, the test's own directory, half of the
# memory. It runs what the unit asks for through FIFOs in that directory: nobody else is asked for anything.
start_test_container() { # DIRECTORY
    local image ids half_kb
    image=$(image_of_test)
    ids=$(id -u "$backup_restore_test_user"):$(id -g "$backup_restore_test_user")
    half_kb=$(awk '/^MemTotal:/ { print int($2 / 2) }' /proc/meminfo)
    as_user "$backup_restore_test_user" mkdir "$1/calls"
    as_user "$backup_restore_test_user" mkfifo "$1/calls/bell"
    # initdb asks for the name of the user who runs it.
    printf 'root:x:0:0::/:/bin/sh\npostgres:x:%s::/:/bin/sh\n' "$ids" >"$backup_restore_test_dir/.passwd"
    chmod 0644 "$backup_restore_test_dir/.passwd"
    docker run --detach --rm --name "$test_container" --network none --userns host --user "$ids" \
        "${bounds[@]}" --pids-limit 256 --memory "${half_kb}k" --memory-swap "${half_kb}k" --cpu-shares 200 \
        --shm-size 256m --tmpfs /tmp:mode=1777,size=64m --workdir / \
        --volume "$1:$1" --volume "$1/dump:$1/dump:ro" \
        --volume "$here/serve-test-container.sh:/serve-test-container.sh:ro" \
        --volume "$backup_restore_test_dir/.passwd:/etc/passwd:ro" \
        --entrypoint /bin/sh "$image" /serve-test-container.sh "$1/calls" >/dev/null
}

# With the volume that the image declares.
remove_test_container() {
    docker rm --force --volumes "$test_container" >/dev/null 2>&1 || true
}
