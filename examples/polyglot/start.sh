#!/bin/sh
# Starts a gateway and a worker in each language, and a Redis of their own unless $STREAMERSON_BROKER names one.
# Ctrl-C stops them all: first the gateway, which answers what it has begun, then the workers, then Redis.
set -eu
cd "$(dirname "$0")"

cargo build --quiet --package streamerson-cli
# The libraries that the first lines of the workers name, in this directory.
[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check "$(sed -n '1s/.*pip install \([^ ]*\) .*/\1/p' worker.py)"
npm install --silent --no-save --no-audit --no-fund "$(sed -n '1s/.*npm install \([^ ]*\) .*/\1/p' worker.mjs)"

redis='' workers='' gateway=''
stop() {
    trap - EXIT INT TERM
    for processes in "$gateway" "$workers" "$redis"; do
        # Each is one number or several, or none if the start did not come so far.
        [ -z "$processes" ] || { kill $processes 2>/dev/null || true; wait $processes 2>/dev/null || true; }
    done
}
trap stop EXIT
trap 'exit 0' INT TERM

if [ -z "${STREAMERSON_BROKER:-}" ]; then
    export STREAMERSON_BROKER=redis://127.0.0.1:6390
    # Not in this terminal's group of processes, or Ctrl-C would stop it before the workers.
    setsid redis-server --port 6390 --save '' --loglevel warning & redis=$!
fi
.venv/bin/python worker.py "$STREAMERSON_BROKER" default:orders orders & workers=$!
node worker.mjs "$STREAMERSON_BROKER" default:orders orders & workers="$workers $!"
"${CARGO_TARGET_DIR:-../../target}/debug/streamerson" gateway --config gateway.toml --broker "$STREAMERSON_BROKER" & gateway=$!
wait "$gateway"
