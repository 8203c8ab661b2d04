#!/usr/bin/env bash
# What cleaning the log costs others: the p99 of a control pair (QoS 0, 2,000/s) while QoS 1 goes through durable sessions as fast as it can and
# 300,000 messages live in the log besides, with the log cleaned and with cleaning switched off (debug: log_clean), alternating, one shard.
#
#   scripts/cleaning.sh                       3 rounds, both drivers: under two minutes
#   CLEANING_ROUNDS=1 CLEANING_DRIVERS=epoll scripts/cleaning.sh
#
# CLEANING_ROUNDS   rounds, default 3               CLEANING_DRIVERS  default "glommio epoll"
# CLEANING_SECONDS  spans of one second, default 4  CLEANING_DIR      where the data lies, default target/cleaning (on the disk that is meant)
# CLEANING_SEGMENT  log_segment, default "16 MiB"   CLEANING_LOAD     further flags of the load, such as "--outstanding 10000"
# CLEANING_BROKER   default: release build's shardmq
#
# Broker on CPU 0, generator on CPU 1, which does not spin: where the disk interrupts that CPU, what ends a write would wait for the next tick.
# Exit code 1: a run failed, nothing was cleaned, or the p99 with cleaning is twice that without.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${CLEANING_ROUNDS:-3} seconds=${CLEANING_SECONDS:-4} drivers=${CLEANING_DRIVERS:-glommio epoll}
read -r -a load <<<"${CLEANING_LOAD:-}"
source scripts/broker.sh
need_tools taskset python3
build_release
broker=${CLEANING_BROKER:-$bin/shardmq}
make_data_folder "${CLEANING_DIR:-${CARGO_TARGET_DIR:-target}/cleaning}"
pin_to_cpus

# Measures driver $1 with cleaning $2 (true, false).
cell() {
    local driver=$1 cleaned=$2 port report=null
    rm -rf "$data/now" && mkdir "$data/now"
    port=$(free_port)
    printf '%s\n' "(data_dir: \"$data/now\", log_segment: \"${CLEANING_SEGMENT:-16 MiB}\", stats_interval: 0, max_connections: 100000," \
        "debug: (log_clean: $cleaned))" >"$work/shardmq.ron"
    if launch "$driver" "$port" "${pin_broker[@]}" "$broker" run --config "$work/shardmq.ron" --listen "127.0.0.1:$port" --shards 1 \
        --io "$driver" --log-level debug; then
        if "$bin/shardmq-bench" --json -p "$port" --broker-pid "$broker_pid" "${pin_bench[@]}" --seconds 1 --stall 30 \
            cleaning --rounds "$seconds" "${load[@]}" >"$work/cell.json" 2>"$work/cell.log"; then
            report=$(cat "$work/cell.json")
        else
            echo "$driver, cleaned $cleaned: $(tail -1 "$work/cell.log")" >&2
        fi
    fi
    printf '{"driver":"%s","cleaned":%s,"ends":%s,"bytes":%s,"report":%s}\n' "$driver" "$cleaned" \
        "$(grep -c "a round of cleaning ends" "$work/broker.log" || true)" "$(du -sb "$data/now" | cut -f1)" "$report" >>"$work/cells"
    stop_broker
}

: >"$work/cells"
for round in $(seq "$rounds"); do
    for driver in $drivers; do
        echo "round $round/$rounds: $driver" >&2
        cell "$driver" true
        cell "$driver" false
    done
done

python3 - "$work/cells" <<'PYTHON'
import json, statistics, sys
found, failed = {}, False
for line in open(sys.argv[1]):
    cell = json.loads(line)
    found.setdefault((cell["driver"], cell["cleaned"]), []).append(cell)
    failed |= cell["report"] is None
print("| driver | cleaning | rounds of it | log MiB at the end | delivered/s | disk bytes per delivery | pair p50 µs | p99 µs | max µs |")
print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
p99 = {}
for (driver, cleaned), cells in sorted(found.items(), key=lambda item: (item[0][0], not item[0][1])):
    reports = [cell["report"] for cell in cells if cell["report"]]
    if not reports:
        continue
    middle = lambda of: statistics.median(of(report) for report in reports)
    p99[driver, cleaned] = middle(lambda r: r["control"]["p99_median_us"])
    ends = statistics.median(cell["ends"] for cell in cells)
    failed |= cleaned and ends == 0
    print(f"| {driver} | {'on' if cleaned else 'off'} | {ends:.0f} | {statistics.median(cell['bytes'] for cell in cells) / 1048576:,.0f} |"
          f" {middle(lambda r: r['delivered_per_second']):,.0f} | {middle(lambda r: r['disk_bytes_per_message'] or 0):,.0f} |"
          f" {middle(lambda r: r['control']['p50_us']):.0f} | {p99[driver, cleaned]:.0f} | {middle(lambda r: r['control']['max_us']):,.0f} |")
for driver in sorted({driver for driver, _ in p99}):
    if (driver, True) in p99 and (driver, False) in p99:
        ratio = p99[driver, True] / p99[driver, False]
        failed |= ratio >= 2
        print(f"{driver}: p99 with cleaning is {ratio:.2f} × that without (< 2 wanted)")
sys.exit(failed)
PYTHON
