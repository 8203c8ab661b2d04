# Sourced by the other scripts: a scratch folder, the tools, a release build, who runs on which CPU, one broker at a time.
# shellcheck shell=bash

work=$(mktemp -d)
broker_pid=
stop_broker() {
    [ -n "$broker_pid" ] || return 0
    kill "$broker_pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$broker_pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$broker_pid" 2>/dev/null && echo "the broker ignored SIGTERM for 10 s" >&2
    wait "$broker_pid" 2>/dev/null || true
    broker_pid=
}
trap 'stop_broker; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Ends the script when one of these commands is missing.
need_tools() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || { echo "$(basename "$0") needs $tool" >&2; exit 2; }
    done
}

# Builds broker, load generator and ledger; sets bin to where they lie.
build_release() {
    cargo build --release --bin shardmq --bin shardmq-bench --bin shardmq-ledger --workspace >&2
    bin=${CARGO_TARGET_DIR:-target}/release
    ulimit -n "$(ulimit -Hn)"
}

# Builds them, unless SHARDMQ (and LEDGER, where $1 says ledger) name other binaries.
need_binaries() {
    if [ -z "${SHARDMQ:-}" ] || [ "${1:-}" = ledger ] && [ -z "${LEDGER:-}" ]; then
        build_release
        SHARDMQ=${SHARDMQ:-$bin/shardmq} LEDGER=${LEDGER:-$bin/shardmq-ledger}
    fi
}

# The drivers that $1 means: glommio, epoll, or both.
drivers_of() {
    case $1 in
    both) echo glommio epoll ;;
    glommio | epoll) echo "$1" ;;
    *) echo "no driver is called $1: glommio, epoll or both" >&2; return 2 ;;
    esac
}

# Sets data to a new folder in $1, which lies on the disk that is meant; it goes with the script.
make_data_folder() {
    mkdir -p "$1"
    data=$(mktemp -d "$1/run.XXXXXX")
    trap 'stop_broker; rm -rf "$work" "$data"' EXIT
}

# Broker on CPU 0, generator on CPU 1, where there are two: sets pin_broker (a prefix) and pin_bench (arguments).
pin_to_cpus() {
    pin_broker=() pin_bench=()
    if [ "$(nproc)" -ge 2 ]; then
        pin_broker=(taskset -c 0) pin_bench=(--cpu 1)
    fi
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# Starts the broker called $1 with the command behind $2, which listens on port $2; sets broker_pid; false when it does not within 10 s.
launch() {
    local name=$1 port=$2
    shift 2
    "$@" >"$work/broker.log" 2>&1 &
    broker_pid=$!
    for _ in $(seq 200); do
        kill -0 "$broker_pid" 2>/dev/null || break
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 0
        sleep 0.05
    done
    echo "$name did not start:" >&2
    tail -3 "$work/broker.log" >&2
    return 1
}
