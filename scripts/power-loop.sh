#!/usr/bin/env bash
# Power loss again and again: the broker's data lie on an ext4 image of their own, which is shut down in the middle of the traffic as a power cut
# would (EXT4_IOC_SHUTDOWN, journal not flushed). The broker has to notice, say so and exit with code 1; then the image is mounted again, the
# broker started, and the ledger compared (see kill-loop.sh).
#
#   scripts/power-loop.sh [N] [glommio|epoll|both] [direct|buffered|new-segments|all]   N rounds (100) of each (both, all)
#
# direct: as shipped. buffered: through the page cache with fdatasync. new-segments: segments are not recycled. An unflushed direct write to a
# recycled segment survives this shutdown, since ext4 has nothing to forget of it: a missing flush there shows only in the simulator.
# Needs root (loop device, mount, ioctl). SHARDMQ and LEDGER name other binaries, SEED another run, IMAGE_MB the image's size.
# Exit code 1: a promise was broken, 2: it could not run here.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/broker.sh
. scripts/broker.sh

rounds=${1:-100}
drivers=$(drivers_of "${2:-both}")
ways=${3:-all}
[ "$ways" != all ] || ways="direct buffered new-segments"

[ "$(id -u)" = 0 ] || { echo "power-loop: needs root for a loop device, a mount and EXT4_IOC_SHUTDOWN" >&2; exit 2; }
need_tools mkfs.ext4 losetup mount mountpoint python3

need_binaries ledger

disk=$work/disk
mkdir "$disk"
leave() {
    stop_broker
    umount "$disk" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT

# An empty file system of its own.
fresh_disk() {
    umount "$disk" 2>/dev/null || true
    rm -f "$work/image"
    truncate -s "${IMAGE_MB:-3072}M" "$work/image"
    mkfs.ext4 -q -F "$work/image"
    mount -o loop "$work/image" "$disk" || { echo "power-loop: cannot mount a loop device here" >&2; exit 2; }
}

cut_power="python3 scripts/crash/power_cut.py $disk"
# A ring gives its files back a little after its process has ended.
restore_power="for _ in \$(seq 100); do umount $disk 2>$work/umount && break; sleep 0.05; done; ! mountpoint -q $disk && mount -o loop $work/image $disk"

failed=0
for driver in $drivers; do
    for way in $ways; do
        echo "== power loss, $driver, $way"
        fresh_disk
        port=$(free_port)
        debug=
        [ "$way" != buffered ] || debug='log_direct: false'
        [ "$way" != new-segments ] || debug='log_recycle: false'
        cat >"$work/shardmq.ron" <<RON
(shards: 3, log_segment: "1 MiB", limits: (queue_messages_max: 100_000, queue_bytes_max: "256 MiB")${debug:+, debug: ($debug)})
RON
        "$LEDGER" --rounds "$rounds" --port "$port" --seed "${SEED:-$RANDOM}" --broker-log "$work/broker.log" --extensions \
            --cut "$cut_power" --revive "$restore_power" --stop-one-in 20 -- \
            "$SHARDMQ" --config "$work/shardmq.ron" --listen "127.0.0.1:$port" --data-dir "$disk/data" --io "$driver" || {
            failed=1
            tail -20 "$work/broker.log" >&2
        }
    done
done
exit "$failed"
