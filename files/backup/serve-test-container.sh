#!/bin/sh
# Within the container of a restore test: run what the test asks for. In DIRECTORY each call is a directory
# of its own, named on the FIFO `bell`, with a script, `run`, and the FIFOs of its input, outputs and end.
# Whoever asks is the test, as the same user: a hostile dump could run anything here anyway.
#
#   serve-test-container.sh DIRECTORY
cd "$1" || exit
while read -r call; do
    {
        status=0
        sh "$call/run" <"$call/in" >"$call/out" 2>"$call/err" || status=$?
        echo "$status" >"$call/end"
    } &
done <>bell    # for writing too: it has no end
