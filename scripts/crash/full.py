"""Fills a small disk through the broker, and checks what it promises then: see full-loop.sh.

Publishers send as fast as they can until all that they get is 0x97. What was acknowledged has to be there, also after kill -9 on the full disk; what
was refused must not; clients without anything to keep go on as if nothing were; and when there is space again, because the sessions were drained or
somebody else removed his file, the broker takes messages again.

    full.py --broker SHARDMQ --io DRIVER --rounds N --seed SEED --work FOLDER --watermark ""|BYTES
"""
import argparse
import os
import random
import select
import struct
import subprocess
import sys
import time

from flip import Broker
from mqtt import PATIENCE, PUBACK, PUBCOMP, PUBREC, PUBREL, Client, text

DISK_MIB = 48
PAYLOAD = "x" * 2000
PUBLISHERS = 4
WINDOW = 50
SLEEPERS = ["sleeper-0", "sleeper-1"]
# So long a publisher gets nothing but refusals before its disk counts as full.
FULL_SECONDS = 2.5
# How often the broker is killed on the full disk: each start needs something of what is left.
KILLS = [0, 1, 3, 12]


class Fault(Exception):
    """The broker broke a promise."""


class Publisher:
    """One connection with a window of messages under way. Odd ones are of QoS 2."""

    def __init__(self, port, name):
        self.client = Client(port, name, clean=True)
        self.under_way, self.name, self.refused_since = {}, name, None
        self.answered = time.monotonic()

    def fill(self, world):
        while len(self.under_way) < WINDOW and not self.client.closed:
            number = self.client.packet_id = self.client.packet_id % 60_000 + 1
            if number in self.under_way:
                return
            world.numbered += 1
            payload, qos = f"{world.numbered} {PAYLOAD}", 1 + number % 2
            body = text("full/queue") + struct.pack(">H", number) + b"\0" + payload.encode()
            self.under_way[number] = world.numbered
            world.unknown.add(world.numbered)
            self.client.send(0x30 | qos << 1, body)

    def hear(self, world):
        if self.client.read(0):
            self.answered = time.monotonic()
        for kind, number, body in self.client.acks:
            reason = body[0] if body else 0
            if kind in (PUBACK, PUBREC):
                message = self.under_way[number] if kind == PUBREC and reason < 0x80 else self.under_way.pop(number)
                self.settle(world, message, reason)
                if kind == PUBREC and reason < 0x80:
                    self.client.acknowledge(PUBREL, number)
            elif kind == PUBCOMP:
                self.under_way.pop(number)
        self.client.acks.clear()

    def settle(self, world, message, reason):
        world.unknown.discard(message)
        if reason == 0x97:
            world.refused.add(message)
            self.refused_since = self.refused_since or time.monotonic()
        elif reason < 0x80:
            world.acknowledged.add(message)
            self.refused_since = None
        else:
            raise Fault(f"{self.name} is told {reason:#x}")


class World:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.numbered = 0
        self.unknown, self.refused, self.acknowledged = set(), set(), set()
        self.directory = os.path.join(options.work, "disk", "data")
        self.filler = os.path.join(options.work, "disk", "somebody-elses")
        self.totals = [0, 0, 0]

    def publish_until(self, publishers, done, what):
        deadline = time.monotonic() + 90
        while not done():
            for publisher in publishers:
                publisher.fill(self)
            select.select([publisher.client.socket for publisher in publishers], [], [], 0.05)
            for publisher in publishers:
                publisher.hear(self)
                if publisher.client.closed:
                    raise Fault(f"{publisher.name} is closed")
                if publisher.under_way and time.monotonic() - publisher.answered > PATIENCE:
                    raise Fault(f"{publisher.name} has no answer: neither acknowledged nor refused")
            if time.monotonic() > deadline:
                raise Fault(f"{what}: waited in vain")

    def is_full(self, publishers):
        now = time.monotonic()
        return all(p.refused_since and now - p.refused_since > FULL_SECONDS for p in publishers)

    def round(self, number, port):
        """A disk that is filled, and emptied again."""
        by_others = self.random.random() < 0.5
        if by_others:
            self.fill_as_others()
        publishers = [Publisher(port, f"publisher-{number}-{index}") for index in range(PUBLISHERS)]
        self.publish_until(publishers, lambda: self.is_full(publishers), "a full disk")
        self.others_go_on(port)
        for publisher in publishers:
            publisher.client.drop()
        for _ in range(self.random.choice(KILLS)):
            self.broker.kill()
            self.broker = Broker(self.options, self.directory, port)
        if by_others:
            os.remove(self.filler)
            self.takes_messages(port, number)
            self.drain(port)
        else:
            self.drain(port)
            self.takes_messages(port, number)
            self.drain(port)

    def fill_as_others(self):
        """Somebody else takes a quarter of the disk, once the broker has given back what the last round took."""
        size, deadline = (DISK_MIB // 4) << 20, time.monotonic() + PATIENCE
        folder = os.path.dirname(self.filler)
        while (disk := os.statvfs(folder)).f_bavail * disk.f_frsize < 2 * size:
            if time.monotonic() > deadline:
                raise Fault("the broker keeps the space of what it has no more")
            time.sleep(0.02)
        with open(self.filler, "wb") as filler:
            filler.write(b"1" * size)

    def others_go_on(self, port):
        """Who wants nothing kept notices nothing."""
        client = Client(port, "clean", clean=True)
        client.subscribe("mine", 2)
        for qos in range(3):
            client.publish("mine", f"qos-{qos}", qos)
        deadline = time.monotonic() + PATIENCE
        while len(client.messages) < 3 and time.monotonic() < deadline:
            client.read(0.1)
        if sorted(message.payload for message in client.messages) != ["qos-0", "qos-1", "qos-2"]:
            raise Fault("clean sessions get nothing on a full disk")
        client.drop()

    def takes_messages(self, port, number):
        publishers = [Publisher(port, f"again-{number}")]
        before = len(self.acknowledged)
        self.publish_until(publishers, lambda: len(self.acknowledged) > before + 100, "service again")
        publishers[0].client.drop()

    def drain(self, port):
        """All that was acknowledged is there, once for each session, and nothing that was refused."""
        for name in SLEEPERS:
            sleeper = Client(port, name)
            if not sleeper.present:
                raise Fault(f"{name} is gone")
            got, deadline = [], time.monotonic() + PATIENCE
            missing = set(self.acknowledged)
            while missing and time.monotonic() < deadline:
                if sleeper.read(0.2):
                    deadline = time.monotonic() + PATIENCE
                for message in sleeper.messages:
                    got.append(int(message.payload.split()[0]))
                    sleeper.acknowledge(PUBACK, message.packet_id)
                missing.difference_update(int(message.payload.split()[0]) for message in sleeper.messages)
                sleeper.messages.clear()
            sleeper.ping()
            if missing:
                raise Fault(f"{name}: {len(missing)} of {len(self.acknowledged)} acknowledged messages are missing")
            if refused := self.refused.intersection(got):
                raise Fault(f"{name}: {len(refused)} messages came that were refused")
            # Whatever comes behind: sent, never answered, and kept all the same.
            while sleeper.read(0.3):
                for message in sleeper.messages:
                    sleeper.acknowledge(PUBACK, message.packet_id)
                sleeper.messages.clear()
            sleeper.ping()
            sleeper.leave()
        self.totals = [self.totals[0] + len(self.acknowledged), self.totals[1] + len(self.refused), self.totals[2] + 1]
        self.acknowledged, self.refused, self.unknown = set(), set(), set()

    def run(self):
        options = self.options
        self.broker = Broker(options, self.directory, options.port)
        for name in SLEEPERS:
            sleeper = Client(options.port, name)
            sleeper.subscribe("full/#", 1)
            sleeper.leave()
        for number in range(options.rounds):
            self.round(number, options.port)
        if self.broker.stop() != 0:
            raise Fault("no orderly end")
        print(f"{options.rounds} rounds, seed {options.seed}: {self.totals[0]} acknowledged and there, {self.totals[1]} refused")


def main():
    parser = argparse.ArgumentParser()
    for name in ("broker", "io", "work"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("port", 1883), ("rounds", 10), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--watermark", default="")
    options = parser.parse_args()
    disk = os.path.join(options.work, "disk")
    os.makedirs(disk, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", disk], check=True)
    world = World(options)
    watermark = f"disk_watermark: {options.watermark}, " if options.watermark else ""
    with open(os.path.join(options.work, "shardmq.ron"), "w") as config:
        limits = 'limits: (queue_messages_max: 1_000_000, queue_bytes_max: "1 GiB")'
        config.write(f'(shards: 2, placement: none, log_segment: "1 MiB", {watermark}{limits})')
    try:
        world.run()
    except (Fault, ConnectionError, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}\n{world.broker.output()}", file=sys.stderr)
        subprocess.run(["ls", "-lR", "--time-style=full-iso", disk], stdout=sys.stderr, check=False)
        sys.exit(1)
    finally:
        if world.broker.process.poll() is None:
            world.broker.kill()
        subprocess.run(["umount", "-l", disk], check=True)


if __name__ == "__main__":
    main()
