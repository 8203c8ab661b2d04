#!/usr/bin/env bash
# Durable QoS 1 throughput: acknowledged messages per second to durable sessions that are offline, at several windows, for ShardMQ (both
# drivers, durability fsync and memory) and mosquitto, alternating, next to a bare write+flush loop of the same batches in the same run.
# Afterwards every session is drained and counted: a run in which something was dropped fails. At the end the time of a recovery.
#
#   scripts/durable.sh                                 3 rounds: about 6 minutes
#   DURABLE_ROUNDS=1 DURABLE_WINDOWS="1 100" DURABLE_PEERS="epoll-fsync epoll-memory disk" scripts/durable.sh
#
# DURABLE_ROUNDS   rounds, default 3               DURABLE_WINDOWS  messages in flight, default "1 10 100 1000 10000"
# DURABLE_SECONDS  measured per cell, default 2    DURABLE_PEERS    default "glommio-fsync epoll-fsync glommio-memory epoll-memory mosquitto disk"
# DURABLE_WARMUP   before it, default 0.3          DURABLE_SHARDS   shards, and logs of the bare loop, default 1
# DURABLE_RECORD   bytes of the bare loop's records, default 120: what such a message takes in the log with its one copy
# DURABLE_RECOVER  SESSIONSxMESSAGES of the recovery, default 1000x1000; empty: none
# DURABLE_DIR      where the data lies, default target/durable (on the disk that is meant, not a tmpfs)
# DURABLE_BROKER   default: release build's shardmq    DURABLE_RAW   where to keep each cell's line of JSON
# DURABLE_PREFIX   before every command, such as "chrt -f 10" where others use the machine; default none
# DURABLE_COMMANDS further peers, a line each: name|command with {port} and {dir}; name|@HOST:PORT is not started here
#
# Broker (and bare loop) on CPU 0, generator on CPU 1 with one shard; more shards are left to the scheduler. mosquitto acknowledges before it saves, and
# saves everything anew each time: what it keeps is less. Only what this script started is ended, by its pid. Exit code 1: a cell failed, or a
# ratio is missed: ≥ 0.6 of the bare loop where that stays below 200,000 records/s, else ≥ 0.6 of the same with durability: memory.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${DURABLE_ROUNDS:-3} seconds=${DURABLE_SECONDS:-2} warmup=${DURABLE_WARMUP:-0.3} shards=${DURABLE_SHARDS:-1}
windows=${DURABLE_WINDOWS:-1 10 100 1000 10000} record=${DURABLE_RECORD:-120} recover=${DURABLE_RECOVER-1000x1000}
peers=${DURABLE_PEERS:-glommio-fsync epoll-fsync glommio-memory epoll-memory mosquitto disk}
read -r -a prefix <<<"${DURABLE_PREFIX:-}"

source scripts/broker.sh
need_tools taskset python3
build_release
broker=${DURABLE_BROKER:-$bin/shardmq}
make_data_folder "${DURABLE_DIR:-${CARGO_TARGET_DIR:-target}/durable}"
mosquitto=$(command -v mosquitto || ls /usr/sbin/mosquitto 2>/dev/null || true)
if [[ " $peers " == *" mosquitto "* && -z "$mosquitto" ]]; then
    echo "mosquitto is not installed (apt-get install mosquitto), or leave it out with DURABLE_PEERS" >&2
    exit 2
fi
pin_broker=() pin_bench=()
[ "$shards" != 1 ] || pin_to_cpus
pin_broker=("${prefix[@]}" "${pin_broker[@]}")

# Sets command and address for peer $1 on port $2; its data are in $data/now.
command_of() {
    local name=$1 port=$2 line
    address="127.0.0.1:$port"
    case $name in
    mosquitto)
        printf '%s\n' "listener $port 127.0.0.1" "allow_anonymous true" "max_queued_messages 0" "max_inflight_messages 0" \
            "set_tcp_nodelay true" "log_type error" "user $(id -un)" "persistence true" "persistence_location $data/now/" \
            "autosave_on_changes true" "autosave_interval 1" >"$work/mosquitto.conf"
        command=("$mosquitto" -c "$work/mosquitto.conf") ;;
    glommio-fsync | epoll-fsync | glommio-os | epoll-os | glommio-memory | epoll-memory)
        printf '%s\n' "(durability: ${name#*-}, data_dir: \"$data/now\", stats_interval: 0, max_connections: 100000," \
            "limits: (queue_messages_max: 100_000_000, queue_bytes_max: 4_294_967_295, session_expiry_v3: \"1 d\"))" >"$work/shardmq.ron"
        command=("$broker" run --config "$work/shardmq.ron" --listen "$address" --shards "$shards" --io "${name%-*}" --log-level warn) ;;
    *)
        line=$(sed -n "s/^$name|//p" <<<"${DURABLE_COMMANDS:-}")
        [ -n "$line" ] || { echo "no peer is called $name" >&2; exit 2; }
        if [[ $line == @* ]]; then address=${line#@} command=(); return; fi
        line=${line//\{port\}/$port}
        read -r -a command <<<"${line//\{dir\}/$data/now}" ;;
    esac
}

# Runs the generator with the arguments behind $2 for peer $1 and window $2, and keeps its report.
measure() {
    local name=$1 window=$2
    shift 2
    if "${prefix[@]}" "$bin/shardmq-bench" --json --seconds "$seconds" "$@" >"$work/cell.json" 2>"$work/cell.log"; then
        printf '{"peer":"%s","window":%s,"report":%s}\n' "$name" "$window" "$(cat "$work/cell.json")" >>"$work/cells"
    else
        echo "$name, $window: $(tail -1 "$work/cell.log")" >&2
        printf '{"peer":"%s","window":%s,"report":null}\n' "$name" "$window" >>"$work/cells"
    fi
}

# Measures peer $1 at window $2.
cell() {
    local name=$1 window=$2 watch=() port
    rm -rf "$data/now" && mkdir "$data/now"
    if [ "$name" = disk ]; then
        local loop=(disk --dir "$data/now" --logs "$shards" --outstanding "$window" --record "$record" --rounds 1 --api dsync --segments recycled)
        [ "${#pin_bench[@]}" = 0 ] || loop+=(--cpu 0)
        measure disk "$window" "${loop[@]}"
        return
    fi
    port=$(free_port)
    command_of "$name" "$port"
    if [ "${#command[@]}" -gt 0 ]; then
        launch "$name" "$port" "${pin_broker[@]}" "${command[@]}" ||
            { printf '{"peer":"%s","window":%s,"report":null}\n' "$name" "$window" >>"$work/cells"; stop_broker; return; }
        watch=(--broker-pid "$broker_pid")
    fi
    measure "$name" "$window" durable --outstanding "$window" --host "${address%:*}" -p "${address##*:}" "${watch[@]}" "${pin_bench[@]}" \
        --warmup "$warmup" --stall 30
    stop_broker
}

: >"$work/cells"
for round in $(seq "$rounds"); do
    for window in $windows; do
        echo "round $round/$rounds: $window in flight" >&2
        for peer in $peers; do cell "$peer" "$window"; done
    done
done
for peer in ${recover:+$peers}; do
    case $peer in disk | *-memory | mosquitto) continue ;; esac # mosquitto takes minutes to fill: it saves everything after each message
    rm -rf "$data/now" && mkdir "$data/now"
    port=$(free_port)
    command_of "$peer" "$port"
    [ "${#command[@]}" -gt 0 ] || continue # it can be killed by who started it only
    echo "recovery of $recover: $peer" >&2
    measure "$peer" 0 recover --sessions "${recover%x*}" --messages "${recover#*x}" -p "$port" "${pin_bench[@]}" --stall 60 \
        -- "${pin_broker[@]}" "${command[@]}"
done
[ -z "${DURABLE_RAW:-}" ] || cp "$work/cells" "$DURABLE_RAW"

python3 - "$work/cells" "$record" "$peers" <<'PYTHON'
import json, os, platform, statistics, sys, time
cells, record, peers = sys.argv[1:4]
found, recovered, failed = {}, {}, False
for line in open(cells):
    cell = json.loads(line)
    failed |= cell["report"] is None
    if cell["window"] == 0:
        recovered[cell["peer"]] = cell["report"]
    else:
        found.setdefault((cell["peer"], cell["window"]), []).append(cell["report"])
windows = sorted({window for _, window in found})
names = [name for name in peers.split() if any(peer == name for peer, _ in found)]

def middle(name, window, of):
    reports = found.get((name, window), [])
    try:
        return statistics.median(of(report) for report in reports) if reports and None not in reports else None
    except (KeyError, TypeError):
        return None

def rate(name, window):
    return middle(name, window, lambda r: r["cells"][0]["records_per_second"] if name == "disk" else r["acknowledged_per_second"])

def number(value, decimals=0):
    return "–" if value is None else f"{value:,.{decimals}f}"

def ratio(one, other):
    return one / other if one is not None and other else None

disk = next((r["file_system"] for (name, _), reports in found.items() if name == "disk" for r in reports if r), "unknown")
print(f"Acknowledged messages/s, QoS 1, 64 bytes, offline durable sessions; disk: records of {record} bytes, {disk}. Medians, {time.strftime('%F')},",
      f"kernel {platform.release()}, load at the end {os.getloadavg()[0]:.2f}:\n")
print("| in flight |", *(f"{name} |" for name in names))
print("|---:|" + "---:|" * len(names))
for window in windows:
    print(f"| {window:,} |", *(f"{number(rate(name, window))} |" for name in names))
brokers = [name for name in names if name != "disk"]
print("\nBroker CPU µs per acknowledged message (CPU in percent; bytes given to the disk for each):\n")
print("| in flight |", *(f"{name} |" for name in brokers))
print("|---:|" + "---:|" * len(brokers))
for window in windows:
    of = lambda name, key: middle(name, window, lambda r: r["broker"][key])
    print(f"| {window:,} |", *(
        f"{number(of(name, 'cpu_us_per_message'), 2)} ({number(of(name, 'cpu_percent'))} %, "
        f"{number(middle(name, window, lambda r: r['disk_bytes_per_message']))} B) |" for name in brokers))
durable = [name for name in names if name.endswith("-fsync")]
if durable:
    print("\nRatios; what counts is the bare loop below 200,000 records/s, else durability: memory; ≥ 0.6 wanted:\n")
    print("| in flight |", *(f"{name} ÷ disk | ÷ memory | ÷ mosquitto |" for name in durable))
    print("|---:|" + "---:|" * 3 * len(durable))
    for window in windows:
        line, bare = f"| {window:,} |", rate("disk", window)
        for name in durable:
            own = rate(name, window)
            ratios = [ratio(own, other) for other in (bare, rate(name.replace("fsync", "memory"), window), rate("mosquitto", window))]
            counts = None if bare is None else 0 if bare < 200_000 else 1
            missed = counts is not None and ratios[counts] is not None and ratios[counts] < 0.6
            failed |= missed
            shown = [number(value, 2) for value in ratios]
            if counts is not None:
                shown[counts] = f"**{shown[counts]}**" + (" (missed)" if missed else "")
            line += "".join(f" {text} |" for text in shown)
        print(line)
if recovered:
    print("\nRecovery after kill -9:\n")
    print("| | first CONNACK ms | all sessions ms | RSS MiB then | RSS MiB before | nothing lost |\n|---|---:|---:|---:|---:|---|")
    for name, r in recovered.items():
        mib = lambda value: number(value / 1048576, 1)
        print(f"| {name} | failed | | | | |" if r is None else
              f"| {name} | {r['first_connack_ms']:.0f} | {r['all_sessions_ms']:.0f} | {mib(r['rss_bytes_all_sessions'])} | {mib(r['rss_bytes_filled'])} | yes |")
sys.exit(failed)
PYTHON
