#!/usr/bin/env bash
# Runs the simulator on N seeds from FIRST on and prints which states they reached; a failing seed is named with the promise it broke.
#   scripts/sim.sh N [FIRST]          SIM_STEPS=20000 makes longer runs
#   SIM_TRACE=1 scripts/sim.sh 1 SEED tells the story of one run
set -euo pipefail
cd "$(dirname "$0")/.."
export SIM_SEEDS="${1:?usage: scripts/sim.sh N [FIRST]}" SIM_FIRST="${2:-0}"
exec cargo test --quiet --package shardmq-shards --test sim every_promise_holds -- --nocapture
