#!/usr/bin/env bash
# PEERS.md's columns on this machine: mosquitto and ShardMQ (both drivers) in one run, alternating, medians and ratios.
#
#   scripts/figures.sh                      3 rounds of 3 s: about 8 minutes
#   FIGURES_ROUNDS=1 FIGURES_SECONDS=0.5 FIGURES_COLUMNS="qos0 fanout" scripts/figures.sh
#
# FIGURES_ROUNDS    rounds, default 3              FIGURES_BROKERS  default "mosquitto glommio epoll"
# FIGURES_SECONDS   measured per cell, default 3   FIGURES_COLUMNS  default: all, see `columns` below
# FIGURES_WARMUP    before it, default 0.7         FIGURES_IDLE     idle connections, default 10000
# FIGURES_CONFIG    ShardMQ's configuration file   FIGURES_RAW      where to keep each cell's line of JSON
#
# Brokers: mosquitto, glommio, epoll, and glommio-memory and epoll-memory: without a log, which messages to clean sessions must not notice.
# The broker runs on CPU 0, the generator on CPU 1; every cell gets a freshly started broker. Only what this script
# started is ended, by its pid. Exit code 1: a cell failed its check (lost, duplicated, reordered …).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${FIGURES_ROUNDS:-3} seconds=${FIGURES_SECONDS:-3} warmup=${FIGURES_WARMUP:-0.7}
brokers=${FIGURES_BROKERS:-mosquitto glommio epoll} idle=${FIGURES_IDLE:-10000}

# The paced generator spins: asleep, waking its halted CPU would be charged to the broker and outweigh the broker's own work.
# name | what PEERS.md calls it | arguments | key measured | decimals | target | target as a ratio to mosquitto
columns="qos0|1:1 QoS 0|pair -q 0|cpu_us_per_message|2|1.5|7
qos1|1:1 QoS 1|pair -q 1|cpu_us_per_message|2|3.0|7
qos2|1:1 QoS 2|pair -q 2|cpu_us_per_message|2|4.5|9
fanout|fan-out 1→500|fanout|cpu_us_per_message|3|0.35|23
fanin|fan-in 200→1|fanin|cpu_us_per_message|2|1.3|7
wildcard|wildcards (20k filters)|wildcard|cpu_us_per_message|2|1.7|6.5
inflight20|20 in flight|pair --pairs 20 --outstanding 20|cpu_us_per_message|2|6.5|1.5
paced|paced 5,000/s|pair --pairs 50 --rate 5000 --spin|cpu_us_per_message|2|12|1.2
conn|connect+disconnect|conn|cpu_us_per_message|1|25|1.6
idle|idle, bytes per connection|idle --connections $idle|rss_bytes_per_connection|0|600|
idlefilter|idle with own filter, bytes|idle --connections $idle --own-filter|rss_bytes_per_connection|0|850|"
wanted=${FIGURES_COLUMNS:-$(cut -d'|' -f1 <<<"$columns")}

source scripts/broker.sh
need_tools taskset awk
mosquitto=$(command -v mosquitto || ls /usr/sbin/mosquitto 2>/dev/null || true)
if [[ " $brokers " == *" mosquitto "* && -z "$mosquitto" ]]; then
    echo "mosquitto is not installed (apt-get install mosquitto), or leave it out with FIGURES_BROKERS" >&2
    exit 2
fi
pin_to_cpus
[ "$(nproc)" -ge 2 ] || echo "only one CPU: broker and generator share it, the figures are worth little" >&2
build_release

# Starts broker $1 on port $2.
start_broker() {
    local command
    case $1 in
    mosquitto)
        printf '%s\n' "listener $2 127.0.0.1" "allow_anonymous true" "max_queued_messages 0" \
            "max_inflight_messages 0" "set_tcp_nodelay true" "log_type error" >"$work/mosquitto.conf"
        command=("$mosquitto" -c "$work/mosquitto.conf") ;;
    glommio | epoll | glommio-memory | epoll-memory)
        command=("$bin/shardmq" run --listen "127.0.0.1:$2" --shards 1 --io "${1%-memory}" --log-level warn --data-dir "$(mktemp -d "$work/data.XXXXXX")")
        [ "$1" = "${1%-memory}" ] || command+=(--durability memory)
        [ -z "${FIGURES_CONFIG:-}" ] || command+=(--config "$FIGURES_CONFIG") ;;
    *) echo "no broker is called $1" >&2; exit 2 ;;
    esac
    launch "$1" "$2" "${pin_broker[@]}" "${command[@]}"
}

field() { sed -n "s/.*\"$1\":\(-\{0,1\}[0-9.e+-]*\).*/\1/p" "$2"; }

# Measures column $2 (arguments $3, key $4) of broker $1 and appends a line to cells: broker column figure rate p99 idle-cpu.
cell() {
    local broker=$1 column=$2 arguments=$3 key=$4 port
    port=$(free_port)
    if start_broker "$broker" "$port"; then
        # shellcheck disable=SC2086 # the arguments are words
        if "$bin/shardmq-bench" $arguments -p "$port" --broker-pid "$broker_pid" "${pin_bench[@]}" --json \
            --warmup "$warmup" --seconds "$seconds" >"$work/cell.json" 2>"$work/cell.log"; then
            [ -z "${FIGURES_RAW:-}" ] || { printf '{"broker":"%s","column":"%s","report":' "$broker" "$column"
                tr -d '\n' <"$work/cell.json"; echo '}'; } >>"$FIGURES_RAW"
            local rate p99
            rate=$(field delivered_per_second "$work/cell.json"); rate=${rate:-$(field cycles_per_second "$work/cell.json")}
            p99=$(field p99_us "$work/cell.json")
            echo "$broker|$column|$(field "$key" "$work/cell.json")|${rate:--}|${p99:--}|$(field cpu_percent "$work/cell.json")" \
                >>"$work/cells"
        else
            echo "$broker, $column: $(tail -1 "$work/cell.log")" >&2
            echo "$broker|$column|failed|-|-|-" >>"$work/cells"
        fi
    else
        echo "$broker|$column|failed|-|-|-" >>"$work/cells"
    fi
    stop_broker
}

: >"$work/cells"
for round in $(seq "$rounds"); do
    while IFS='|' read -r name _ arguments key _; do
        [[ " $(tr '\n' ' ' <<<"$wanted") " == *" $name "* ]] || continue
        echo "round $round/$rounds: $name" >&2
        for broker in $brokers; do cell "$broker" "$name" "$arguments" "$key"; done
    done <<<"$columns"
done

echo "Broker CPU µs per delivered message (bytes where named), median of $rounds rounds of $seconds s, $(date +%F)," \
    "kernel $(uname -r), load at the end $(cut -d' ' -f1 /proc/loadavg):"
echo
awk -F'|' -v brokers="$brokers" -v wanted="$(tr '\n' ' ' <<<"$wanted")" '
    function median(broker, column, which,    n, i, j, t, v, list) {
        n = split(values[broker, column, which], list, " ")
        if (n == 0 || values[broker, column, which] ~ /failed/) return "failed"
        for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j] + 0 < list[j-1] + 0; j--) { t = list[j]; list[j] = list[j-1]; list[j-1] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    function number(value, decimals) { return value ~ /^[0-9.e+-]*[0-9][0-9.e+-]*$/ ? sprintf("%." decimals "f", value) : (value == "" || value == "-" ? "–" : value) }
    FNR == NR { for (f = 3; f <= 6; f++) values[$1, $2, f] = values[$1, $2, f] " " $f; next }
    index(" " wanted " ", " " $1 " ") { count++; name[count] = $1; label[count] = $2; decimals[count] = $5; target[count] = $6; ratio[count] = $7 }
    END {
        many = split(brokers, broker, " ")
        head = "| |"; rule = "|---|"
        for (b = 1; b <= many; b++) { head = head " " broker[b] " |"; rule = rule "---:|" }
        for (b = 1; b <= many; b++) if (broker[b] != "mosquitto") { head = head " mosquitto ÷ " broker[b] " |"; rule = rule "---:|" }
        print head " must reach | as a ratio |"; print rule "---:|---:|"
        for (c = 1; c <= count; c++) {
            line = "| " label[c] " |"
            for (b = 1; b <= many; b++) line = line " " number(median(broker[b], name[c], 3), decimals[c]) " |"
            base = median("mosquitto", name[c], 3)
            for (b = 1; b <= many; b++) if (broker[b] != "mosquitto") {
                own = median(broker[b], name[c], 3)
                line = line " " (base + 0 > 0 && own + 0 > 0 ? sprintf("%.1f×", base / own) : "–") " |"
            }
            print line " ≤ " target[c] " | " (ratio[c] == "" ? "–" : ratio[c] "×") " |"
        }
        print "\nRate per second, p99 latency in µs, broker CPU in percent:\n"
        head = "| |"; rule = "|---|"
        for (b = 1; b <= many; b++) { head = head " " broker[b] " rate | p99 | CPU |"; rule = rule "---:|---:|---:|" }
        print head; print rule
        for (c = 1; c <= count; c++) {
            line = "| " label[c] " |"
            for (b = 1; b <= many; b++) line = line " " number(median(broker[b], name[c], 4), 0) " | " number(median(broker[b], name[c], 5), 0) " | " number(median(broker[b], name[c], 6), 2) " |"
            print line
        }
    }' "$work/cells" - <<<"$columns"
! grep -q '|failed|' "$work/cells"
