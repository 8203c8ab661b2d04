#!/usr/bin/env bash
# The figures behind the broker's promises: takeover, a stalled subscriber, a message to very many, a million QoS 1 messages
# across shards, idle connections. Both drivers, one freshly started broker per row, a table at the end.
#
#   scripts/done-when.sh                               about 12 minutes
#   DONE_ROWS="takeover idle" DONE_IO=epoll DONE_SCALE=0.1 scripts/done-when.sh
#
# DONE_ROWS   default: all, see `rows` below       DONE_IO     default "glommio epoll"
# DONE_SCALE  shortens rows and shrinks counts, default 1; figures that hold need 1
# DONE_BROKER default: release build's shardmq     DONE_RAW    where to keep each row's line of JSON
#
# One-shard rows: broker on CPU 0, generator on CPU 1. Rows with more shards leave both to the scheduler. Only what this script
# started is ended, by its pid. Exit code 1: a row failed its check (lost, duplicated, wedged …) or its time.
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${DONE_SCALE:-1} drivers=${DONE_IO:-glommio epoll}
scaled() { awk -v value="$1" -v scale="$scale" -v least="$2" 'BEGIN { value *= scale; print value < least ? least : int(value) }'; }
contest=$(scaled 10 1) idle_seconds=$(scaled 30 3) connections=$(scaled 15000 100) count=$(scaled 1000000 1000)
mib=$(scaled 200 5) rounds=$(scaled 5 1) calm=$(scaled 3 1)

# name | what it shows | shards | arguments | keys to show | what is wanted
stall="--mib $mib --rounds $rounds --seconds $calm"
burst="burst --subscribers $connections --rounds $rounds --seconds $calm"
rows="takeover|two clients take one session from each other|1|takeover --seconds $contest|takeovers_per_second p99_us max_us|≥ 1000/s, nothing lost
takeover5|the same, MQTT 5, always two CONNECTs under way|1|takeover --race -V 5 --seconds $contest|takeovers_per_second p99_us max_us|≥ 1000/s, nothing lost
takeover2|the same on 2 shards|2|takeover --race --seconds $contest|takeovers_per_second p99_us max_us|≥ 1000/s, nothing lost
takeover4|the same on 4 shards, MQTT 5|4|takeover --race -V 5 --seconds $contest|takeovers_per_second p99_us max_us|≥ 1000/s, nothing lost
million|20 pairs, QoS 1, $count messages|4|pair --pairs 20 -q 1 --count $count|delivered delivered_per_second p99_us|all, in order
stall0|$mib MiB to a stalled subscriber, QoS 0, 50 MiB/s|1|stall $stall --mib-per-second 50 -s 1024|rss_growth_bytes p99_ratio|≤ 4 MiB, < 2
stall0full|the same, as fast as the broker reads|1|stall $stall -s 1024|rss_growth_bytes p99_ratio|≤ 4 MiB
stall0read|the same, but the subscriber reads (to compare)|1|stall $stall -s 1024 --reading|rss_growth_bytes p99_ratio|–
stall1|$mib MiB to a stalled subscriber, QoS 1, 50 MiB/s|1|stall -q 1 $stall --mib-per-second 50 -s 1024|rss_growth_bytes p99_ratio|≤ 4 MiB, < 2
stall1large|the same in messages of 100 kB|1|stall -q 1 $stall --mib-per-second 50 -s 100000|rss_growth_bytes p99_ratio|≤ 4 MiB, < 2
retained0|100,000 retained messages of 32 bytes to a new subscriber of all, QoS 0|1|retained -s 32 --rounds $rounds --seconds $calm|rss_bytes_per_message all_have_come_ms p99_ratio|≤ 300 bytes without payload and topic, < 5
retained1|the same, QoS 1|1|retained -q 1 -s 32 --rounds $rounds --seconds $calm|rss_bytes_per_message all_have_come_ms p99_ratio|the same
retained03|QoS 0, three shards|3|retained -s 32 --rounds $rounds --seconds $calm|rss_bytes_per_message all_have_come_ms p99_ratio|the same
retained13|QoS 1, three shards|3|retained -q 1 -s 32 --rounds $rounds --seconds $calm|rss_bytes_per_message all_have_come_ms p99_ratio|the same
burst|one message to $connections subscribers|1|$burst|all_have_it_ms during.longest_gap_us during.p99_us|p99 < 5000 µs
burst20|20 messages in a row|1|$burst --messages 20|all_have_it_ms during.longest_gap_us during.p99_us|p99 < 5000 µs
burst1|one message, QoS 1|1|$burst -q 1|all_have_it_ms during.longest_gap_us during.p99_us|p99 < 5000 µs
filters|100,000 filters on one client|1|filters|seconds rss_mb|≤ 0.5 s, ≤ 30 MB
filters3|the same on 3 shards|3|filters|seconds rss_mb|≤ 0.5 s, ≤ 30 MB
wildcards|100,000 wildcard filters on one client|1|filters --wildcards|seconds rss_mb|≤ 0.5 s, ≤ 30 MB
wildcards3|the same on 3 shards|3|filters --wildcards|seconds rss_mb|≤ 0.5 s, ≤ 30 MB
idle|$connections connections, one own filter each|1|idle --connections $connections --own-filter --seconds $idle_seconds|rss_bytes_per_connection cpu_percent shard_wakeups|≤ 850 B, < 0.1 %, ≤ 1/s
idle4|the same on 4 shards|4|idle --connections $connections --own-filter --seconds $idle_seconds|rss_bytes_per_connection cpu_percent shard_wakeups|< 0.1 %, ≤ 1/s"
wanted=${DONE_ROWS:-$(cut -d'|' -f1 <<<"$rows")}

source scripts/broker.sh
need_tools taskset awk timeout python3
many=0
[ "$(nproc)" -ge 2 ] && many=1
build_release
broker=${DONE_BROKER:-$bin/shardmq}

# Limits above the load: what is dropped for a full queue would otherwise count as lost.
cat >"$work/broad.ron" <<RON
(
    max_connections: $((connections + 100)),
    stats_interval: 0,
    limits: (queue_messages_max: 1_000_000, queue_bytes_max: "1 GiB", filters_per_client_max: 1_000_000),
)
RON
# A stalled subscriber and idle connections meet the limits that an operator would have.
cat >"$work/usual.ron" <<RON
( max_connections: $((connections + 100)) )
RON

# Starts the broker with driver $1 and $2 shards, configuration $3, on port $4.
start_broker() {
    local pin=()
    [ "$2" = 1 ] && [ $many = 1 ] && pin=(taskset -c 0)
    launch "the broker" "$4" "${pin[@]}" "$broker" run --config "$work/$3.ron" --listen "127.0.0.1:$4" --shards "$2" --io "$1" \
        --log-level warn --data-dir "$(mktemp -d "$work/data.XXXXXX")"
}

# The keys $1 of the report, as text; `shard_wakeups` is the busiest shard thread's.
figures() {
    python3 - "$work/row.json" "$1" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
texts = []
for key in sys.argv[2].split():
    if key == "shard_wakeups":
        rates = [w["per_second"] for w in report["broker"]["wakeups"] if w["thread"].startswith("shardmq-") and w["thread"][8:].isdigit()]
        texts.append(f"wake-ups/s of a shard {max(rates, default=float('nan')):.2f}")
        continue
    if key == "rss_mb":
        texts.append(f"RSS {report['rss_bytes'] / 1e6:.1f} MB")
        continue
    value = report
    for part in key.split("."):
        value = value[part] if part in value else value["broker"][part]
    if key == "rss_growth_bytes":
        key, value = "RSS growth MiB", value / 1048576
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if key == "p99_ratio":
        text += f" ({report['before']['p99_median_us']:.0f} → {report['during']['p99_median_us']:.0f} µs)"
    texts.append(key.replace("_", " ").replace("during.", "") + " " + text)
print(", ".join(texts))
PY
}

# Measures driver $1, row $2 with $3 shards and arguments $4; appends "driver|name|figures" to results.
row() {
    local config=broad port pin=() status=0
    port=$(free_port)
    case $4 in stall* | idle*) config=usual ;; esac
    [ "$3" = 1 ] && [ $many = 1 ] && pin=(--cpu 1)
    if start_broker "$1" "$3" "$config" "$port"; then
        # shellcheck disable=SC2086 # the arguments are words
        timeout 300 "$bin/shardmq-bench" $4 -p "$port" --broker-pid "$broker_pid" "${pin[@]}" --json \
            --prefix "done" >"$work/row.json" 2>"$work/row.log" || status=$?
        [ -z "${DONE_RAW:-}" ] || { printf '{"io":"%s","row":"%s","report":' "$1" "$2"
            if [ -s "$work/row.json" ]; then tr -d '\n' <"$work/row.json"; else printf null; fi; echo '}'; } >>"$DONE_RAW"
        if [ $status = 0 ]; then
            echo "$1|$2|$(figures "$5")" >>"$work/results"
        else
            echo "$1, $2 (exit $status): $(tail -1 "$work/row.log")" >&2
            echo "$1|$2|failed: $(tail -1 "$work/row.log" | cut -c1-160 | tr '|' '/')" >>"$work/results"
        fi
        kill -0 "$broker_pid" 2>/dev/null || { echo "$1, $2: the broker is gone:" >&2; tail -3 "$work/broker.log" >&2
            echo "$1|$2|failed: the broker died" >>"$work/results"; }
    else
        echo "$1|$2|failed: not started" >>"$work/results"
    fi
    stop_broker
}

: >"$work/results"
while IFS='|' read -r name _ shards arguments keys _; do
    [[ " $(tr '\n' ' ' <<<"$wanted") " == *" $name "* ]] || continue
    for driver in $drivers; do
        echo "$name, $driver" >&2
        row "$driver" "$name" "$shards" "$arguments" "$keys"
    done
done <<<"$rows"

echo "$(date +%F), kernel $(uname -r), $(nproc) CPUs, load at the end $(cut -d' ' -f1 /proc/loadavg), scale $scale:"
echo
echo "| | shards | driver | figures | wanted |"
echo "|---|---:|---|---|---|"
while IFS='|' read -r name label shards _ _ target; do
    grep -F "|$name|" "$work/results" | while IFS='|' read -r driver _ text; do
        echo "| $label | $shards | $driver | $text | $target |"
    done || true
done <<<"$rows"
! grep -q '|failed' "$work/results"
