#!/bin/sh
# The head node: Ray in the foreground, and the applications once it answers. Options go to `ray start`.
set -eu

ray start --head --block --disable-usage-stats --port=6379 \
    --include-dashboard=true --dashboard-host=127.0.0.1 --dashboard-port=8265 \
    --temp-dir=/tmp/ray "$@" &
node=$!
trap 'kill -TERM "$node"; wait "$node"' TERM INT

if ! ragserve deploy "$RAGSERVE_CONFIG" --wait 180 --timeout 900; then
    kill -TERM "$node"
    wait "$node"
    exit 1
fi
wait "$node"
