#!/usr/bin/env bash
# kill -9 again and again: clients in another process keep a ledger of what the broker acknowledged, kill it at a random moment of the
# traffic (and at some moments of the recovery), start it again and check that it has kept its word. See shardmq-ledger --help.
#
#   scripts/kill-loop.sh [N] [glommio|epoll|both]   N rounds (50) on each driver (both), with the release binary
#   scripts/kill-loop.sh prove                      the ledger judged: it must find what brokers in memory lose, and nothing else
#
# SHARDMQ and LEDGER name other binaries, SEED another run; BATCH (100) is the number of rounds after which a fresh directory is begun.
# Exit code 1: a promise was broken; the directory of that batch is then left and named.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/broker.sh
. scripts/broker.sh

rounds=${1:-50}
drivers=$(drivers_of "${2:-both}")
need_binaries ledger

# Limits above what a session that is offline over several rounds gets queued; segments that a start makes in no time.
write_config() {
    cat >"$work/$1.ron" <<RON
(shards: 3, durability: $2, log_segment: "1 MiB", limits: (queue_messages_max: 100_000, queue_bytes_max: "256 MiB"))
RON
}
write_config shardmq fsync
write_config memory memory

# ledger ROUNDS PORT ARGUMENTS... -- COMMAND...
ledger() {
    local rounds=$1 port=$2
    shift 2
    "$LEDGER" --rounds "$rounds" --port "$port" --seed "${SEED:-$RANDOM}" --broker-log "$work/broker.log" "$@"
}

# shardmq CONFIG PORT DIRECTORY ARGUMENTS...: the words of its command
shardmq() { echo "$SHARDMQ" --config "$work/$1.ron" --listen "127.0.0.1:$2" --data-dir "$work/$3" "${@:4}"; }

# What a run that is in memory loses is found; a broker that nobody kills behind a proxy that is killed loses nothing.
prove() {
    local port faults
    port=$(free_port)
    # shellcheck disable=SC2046 # words of a command
    ledger 3 "$port" --stop-one-in 0 --json -- $(shardmq memory "$port" none) >"$work/memory.json" 2>/dev/null && {
        echo "the ledger finds nothing wrong with a broker in memory" >&2
        exit 1
    }
    for faults in acknowledged_messages_lost sessions_missing retained_messages_lost wills_lost; do
        grep -q "\"$faults\":[1-9]" "$work/memory.json" || { echo "in memory, but no $faults" >&2; exit 1; }
    done
    echo "in memory: $(grep -o '"counts":{[^}]*}' "$work/memory.json")"
    # shellcheck disable=SC2046
    launch shardmq "$port" $(shardmq memory "$port" none)
    local front
    front=$(free_port)
    ledger "${ROUNDS:-20}" "$front" --extensions -- python3 scripts/crash/proxy.py "$front" "$port"
}

if [ "$rounds" = prove ]; then
    prove
    exit
fi

failed=0
for driver in $drivers; do
    echo "== kill -9, $driver"
    : >"$work/reports.json"
    for ((left = rounds; left > 0; left -= batch)); do
        port=$(free_port)
        batch=$((left < ${BATCH:-100} ? left : ${BATCH:-100}))
        # shellcheck disable=SC2046 # words of a command
        ledger "$batch" "$port" --json --extensions -- $(shardmq shardmq "$port" "$driver" --io "$driver") >>"$work/reports.json" || {
            failed=1
            tail -20 "$work/broker.log" >&2
            kept=$(mktemp -d) && mv "$work/$driver" "$work/broker.log" "$kept" && echo "kept: $kept" >&2
        }
        rm -rf "${work:?}/$driver"
    done
    python3 scripts/crash/total.py "$work/reports.json"
done
exit "$failed"
