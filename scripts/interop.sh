#!/usr/bin/env bash
# Clients we did not write, on both drivers. On 2 shards mosquitto_pub/sub (3.1, 3.1.1, 5) and paho-mqtt (3.1.1, 5)
# exchange QoS 0, 1 and 2, retained and will messages, and deliveries across shards are seen for each. On 3 shards
# paho-mqtt, mqtt.js and rumqttc tour every feature that they support, over TCP and WebSocket (scripts/tour).
#
#   scripts/interop.sh            builds the release binary and runs everything
#   SHARDMQ=path scripts/interop.sh   takes that binary
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/broker.sh
. scripts/broker.sh

# need COMMAND PACKAGE...: installs Debian's packages where the command is missing.
need() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then
        return
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "interop: $command is missing; install Debian's $*" >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -y -qq "$@" >/dev/null
}
need mosquitto_pub mosquitto-clients
need npm nodejs npm

need_binaries

python="${CARGO_TARGET_DIR:-target}/interop-python"
if ! "$python/bin/python" -c 'import paho.mqtt' 2>/dev/null; then
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet 'paho-mqtt>=2.1,<3'
fi

node="${CARGO_TARGET_DIR:-target}/interop-node"
if [ ! -d "$node/node_modules/mqtt" ]; then
    mkdir -p "$node"
    cp scripts/tour/package.json "$node/"
    npm install --prefix "$node" --silent --no-audit --no-fund
fi

# As the tests build it: after them there is nothing to do.
cargo test --workspace --example rumqttc_tour --no-run
"$python/bin/python" scripts/interop.py "$SHARDMQ" "${CARGO_TARGET_DIR:-target}/debug/examples/rumqttc_tour" "$node"
