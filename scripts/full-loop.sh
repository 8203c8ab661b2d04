#!/usr/bin/env bash
# A full disk under load, again and again: durable publishers at full speed on a small tmpfs, until all they get is 0x97, with the watermark at its default and
# at 0, so that the error itself is met. What was acknowledged is there, also after kill -9 on the full disk, once or twelve times, what was refused is nowhere, clean
# sessions go on, and service resumes when the sessions are drained or somebody else's file goes away.
#
#   scripts/full-loop.sh [N] [glommio|epoll|both]   N rounds (10) on each driver (both) and watermark, with the release binary
#
# Needs root (mount). SHARDMQ names another binary, SEED another run. Exit code 1: a promise was broken, 2: it could not run here. See scripts/crash/full.py.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/broker.sh
. scripts/broker.sh

rounds=${1:-10}
drivers=$(drivers_of "${2:-both}")
[ "$(id -u)" = 0 ] || { echo "full-loop: needs root to mount a small file system" >&2; exit 2; }
need_tools python3 mount
need_binaries

failed=0
for driver in $drivers; do
    for watermark in default 0; do
        echo "== full disk, $driver, watermark $watermark"
        mkdir "$work/$driver-$watermark"
        python3 -B scripts/crash/full.py --broker "$SHARDMQ" --io "$driver" --work "$work/$driver-$watermark" --port "$(free_port)" \
            --seed "${SEED:-$RANDOM}" --rounds "$rounds" --watermark "${watermark#default}" || failed=1
    done
done
exit "$failed"
