#!/usr/bin/env bash
# Clients we did not write against a 2-shard broker, on both drivers: mosquitto_pub/sub (3.1, 3.1.1, 5) and paho-mqtt
# (3.1.1, 5) exchange QoS 0, 1 and 2, retained and will messages, and deliveries across shards are seen for each.
#
#   scripts/interop.sh            builds the release binary and runs everything
#   SHARDMQ=path scripts/interop.sh   takes that binary
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mosquitto_pub >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "interop: mosquitto_pub is missing; install Debian's mosquitto-clients" >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -y -qq mosquitto-clients >/dev/null
fi

if [ -z "${SHARDMQ:-}" ]; then
    cargo build --release --bin shardmq
    SHARDMQ="${CARGO_TARGET_DIR:-target}/release/shardmq"
fi

python="${CARGO_TARGET_DIR:-target}/interop-python"
if ! "$python/bin/python" -c 'import paho.mqtt' 2>/dev/null; then
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet 'paho-mqtt>=2.1,<3'
fi

exec "$python/bin/python" scripts/interop.py "$SHARDMQ"
