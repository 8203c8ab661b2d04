#!/usr/bin/env bash
# Bit flips, again and again: a data directory with sessions, subscriptions, queued messages, exchanges of QoS 2 under way, retained messages and a will has one
# random bit flipped in a byte that is in use (manifest, lock, segments), and a broker is started on it. It has to start, to say what is damaged
# (log, quarantine, `shardmq log verify`), to serve everything that was not hit (at most what one record holds is missing), and to stop in order.
#
#   scripts/flip-loop.sh [N] [glommio|epoll|both]   N rounds (1000) on each driver (both), with the release binary
#   scripts/flip-loop.sh prove                      the checker judged: with 40 bits flipped at once it has to find every round wrong
#
# SHARDMQ names another binary, SEED another run. Exit code 1: something was missing, or was not said. See scripts/crash/flip.py.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/broker.sh
. scripts/broker.sh

rounds=${1:-1000}
drivers=$(drivers_of "${2:-both}")
need_tools python3
need_binaries

arguments=(--rounds "$rounds")
[ "$rounds" != prove ] || arguments=(--rounds 5 --bits 40 --prove)
failed=0
for driver in $drivers; do
    echo "== bit flips, $driver"
    mkdir "$work/$driver"
    python3 -B scripts/crash/flip.py --broker "$SHARDMQ" --io "$driver" --work "$work/$driver" --port "$(free_port)" --seed "${SEED:-$RANDOM}" "${arguments[@]}" || failed=1
done
exit "$failed"
