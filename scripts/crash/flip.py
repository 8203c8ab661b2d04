"""Flips bits in a data directory, starts the broker on it, and holds what it serves against what was put in.

flip-loop.sh tells what is promised; this is how it is checked. The directory is made once, with known content (see `Content`), by a broker that is killed
in the end, or stopped. In each round a copy has one random bit flipped in a byte that is in use, by this program's own reading of the segments
(ARCHITECTURE.md, "On disk"). What is missing then must be what one record holds: everything that is amiss has the same cause.

    flip.py --broker SHARDMQ --io DRIVER --rounds N --seed SEED --work FOLDER [--bits N] [--prove]
"""
import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

from mqtt import PUBACK, PUBCOMP, PUBREC, PUBREL, Client

SHARDS = 2
BLOCK = 4096
QUEUED = 12
RETAINED = 6
SILENCE = 1.0
SLEEPERS = [("three", False), ("five", True), ("fiver", True)]


class Broker:
    """The process. `output` is all that it has said."""

    def __init__(self, options, directory, port):
        self.log = open(os.path.join(options.work, "broker.log"), "w+")
        command = [options.broker, "--config", os.path.join(options.work, "shardmq.ron"), "--io", options.io]
        command += ["--listen", f"127.0.0.1:{port}", "--data-dir", directory]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while "ready" not in self.output():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker does not start:\n{self.output()}")
            time.sleep(0.002)

    def output(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self.log.close()
        return code


class Content:
    """What the directory holds. Each message is published by itself and waited for, so that its record is in a batch of its own, and no two
    acknowledgements share a record."""

    def fill(self, port):
        for name, v5 in SLEEPERS:
            sleeper = Client(port, name, v5)
            for topic_filter, qos in ((f"probe/{name}/0", 1), (f"probe/{name}/1", 2), ("news/#", 2)):
                sleeper.subscribe(topic_filter, qos)
            sleeper.leave()
        mourner = Client(port, "mourner")
        mourner.subscribe("wills/#", 1)
        mourner.leave()
        self.mortal = Client(port, "mortal", will=("wills/mortal", "will"))
        self.begin_exchanges(port)
        publisher = Client(port, "publisher", clean=True)
        for number in range(QUEUED):
            publisher.publish("news/all", f"news-{number}", 1 + number % 2)
        for number in range(RETAINED):
            publisher.publish(f"kept/{number}", f"kept-{number}", number % 3, retain=True)
        # One that took some already.
        taker = Client(port, "five")
        taker.read(1)
        taken = []
        while len(taken) < 2:
            for message in taker.messages:
                if message.qos == 1 and len(taken) < 2 and message.payload not in taken:
                    taker.acknowledge(PUBACK, message.packet_id)
                    taker.ping()
                    taken.append(message.payload)
            taker.read(0.2)
        self.taken = taken
        taker.drop()
        publisher.publish("news/last", "news-last", 1)
        publisher.leave()

    def begin_exchanges(self, port):
        """Exchanges of QoS 2 in the middle: to `inflight` one that is sent and one that has arrived, from `half` one that is not released."""
        inflight = Client(port, "inflight")
        inflight.subscribe("exchange", 2)
        half = Client(port, "half")
        half.subscribe("of/half", 1)
        for payload in ("sent", "arrived"):
            half.publish("exchange", payload, 2)
        deadline = time.monotonic() + 10
        while len(inflight.messages) < 2 and time.monotonic() < deadline:
            inflight.read(0.1)
        by_payload = {message.payload: message.packet_id for message in inflight.messages}
        inflight.acknowledge(PUBREC, by_payload["arrived"])
        inflight.wait(PUBREL, by_payload["arrived"])
        self.arrived = by_payload["arrived"]
        inflight.drop()
        self.unreleased = half.publish("news/half", "news-half", 2, finish=False)
        half.drop()

    def expected(self):
        """By session, the payloads that wait for it."""
        news = [f"news-{number}" for number in range(QUEUED)] + ["news-half", "news-last"]
        return {
            "three": set(news),
            "five": set(news) - set(self.taken),
            "fiver": set(news),
            "mourner": {"will"},
            "inflight": {"sent"},
        }

    def amiss(self, port):
        """What is not as it should be, as a set of causes: a message, a session, a subscription, a retained topic."""
        causes, sessions = set(), {}
        expected = self.expected()
        versions = dict(SLEEPERS)
        for name in expected:
            sessions[name] = Client(port, name, versions.get(name, True))
        deadline = time.monotonic() + SILENCE
        while time.monotonic() < deadline and any(
            not expected[name] <= {message.payload for message in client.messages} for name, client in sessions.items()
        ):
            for client in sessions.values():
                if client.read(0.01):
                    deadline = time.monotonic() + SILENCE
        lost = {name for name, client in sessions.items() if not client.present}
        causes |= {("session", name) for name in lost}
        for name, client in sessions.items():
            client.ping()
            got = [message.payload for message in client.messages]
            wrong = expected[name] ^ set(got)
            wrong |= {payload for payload in got if got.count(payload) > 1}
            if name not in lost and wrong:
                causes |= {("message", payload) for payload in wrong}
        if "inflight" not in lost and not any(
            kind == PUBREL and number == self.arrived for kind, number, _ in sessions["inflight"].acks
        ):
            causes.add(("message", "arrived"))
        causes |= self.amiss_of_sessions(port, sessions, lost) | self.amiss_of_retained(port)
        for client in sessions.values():
            client.drop()
        return self.merged(causes)

    def amiss_of_sessions(self, port, sessions, lost):
        """Subscriptions, tried out, and the identifier of a PUBLISH that waits for its PUBREL."""
        causes = set()
        half = Client(port, "half")
        if not half.present:
            causes.add(("session", "half"))
        elif half.release(self.unreleased) != 0:
            causes.add(("message", "news-half"))
        mortal = Client(port, "mortal")
        if not mortal.present:
            causes.add(("session", "mortal"))
        mortal.drop()
        probes = [(name, f"probe/{name}/{number}") for name, _ in SLEEPERS for number in range(2)]
        probes += [(name, "news/probe") for name, _ in SLEEPERS] + [("mourner", "wills/probe"), ("inflight", "exchange")]
        sessions = {**sessions, "half": half}
        probes.append(("half", "of/half"))
        publisher = Client(port, "prober", clean=True)
        for topic in sorted({topic for _, topic in probes}):
            publisher.publish(topic, f"probe {topic}", 1)
        publisher.drop()
        deadline = time.monotonic() + SILENCE
        missing = {(name, topic) for name, topic in probes if sessions[name].present}
        while missing and time.monotonic() < deadline:
            for client in sessions.values():
                client.read(0.005)
            missing -= {(name, message.topic) for name, client in sessions.items() for message in client.messages if message.payload.startswith("probe ")}
        half.drop()
        return causes | {("subscription", name, topic) for name, topic in missing if name not in lost}

    def amiss_of_retained(self, port):
        reader = Client(port, "reader", clean=True)
        reader.subscribe("kept/#", 0)
        expected = {f"kept-{number}" for number in range(RETAINED)}
        deadline = time.monotonic() + SILENCE
        while len(reader.messages) < RETAINED and time.monotonic() < deadline:
            reader.read(0.02)
        got = {message.payload for message in reader.messages}
        reader.drop()
        return {("retained", payload) for payload in expected ^ got}

    def merged(self, causes):
        """A session that is gone has taken along what only it had: its will. That is published after the start, so it needs its subscription, too."""
        gone = {("session", "mortal"), ("subscription", "mourner", "wills/probe")} & causes
        return causes - {("message", "will")} if gone else causes


def used(path):
    """By its own reading of a segment: (what, from, to) for each part that is in use."""
    with open(path, "rb") as segment:
        data = segment.read()
    parts, at = [], BLOCK
    if data[4:12] == b"ShardMQL":
        parts.append(("segment header", 0, 40))
    while at + 32 <= len(data) and data[at + 4 : at + 8] == b"SMQb":
        size = struct.unpack_from("<I", data, at + 16)[0]
        parts.append(("batch header", at, at + 32))
        record, end = at + 32, at + 32 + size
        while record < end:
            length = struct.unpack_from("<I", data, record + 4)[0]
            parts.append((f"record of kind {data[record + 15]}", record, record + 16 + length))
            record += (16 + length + 7) // 8 * 8
        at += (32 + size + BLOCK - 1) // BLOCK * BLOCK
    return parts


def targets(directory):
    """All that is in use in the directory: (what, file, from, to)."""
    found = []
    for name in ("manifest", "manifest.copy", "lock"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            found.append((name, name, 0, os.path.getsize(path)))
    for folder, _, files in os.walk(directory):
        for name in sorted(files):
            if name.endswith(".log"):
                path = os.path.join(folder, name)
                found += [(what, os.path.relpath(path, directory), first, end) for what, first, end in used(path)]
    return found


def flip(directory, target, bit):
    what, name, first, _ = target
    with open(os.path.join(directory, name), "r+b") as file:
        file.seek(first + bit // 8)
        byte = file.read(1)[0]
        file.seek(first + bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    return f"{what}, bit {bit % 8} of byte {first + bit // 8} of {name}"


def verify(options, directory):
    tool = subprocess.run([options.broker, "log", "verify", directory], capture_output=True, text=True)
    return tool.returncode, tool.stdout + tool.stderr


class Loop:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.counts = {}

    def make(self, ending):
        """The directory that all rounds begin with."""
        directory = os.path.join(self.options.work, ending)
        broker, content = Broker(self.options, directory, self.options.port), Content()
        content.fill(self.options.port)
        if ending == "killed":
            broker.kill()
        elif broker.stop() != 0:
            raise RuntimeError("the broker does not stop in order")
        # Whatever else is wrong with the checker: it finds nothing amiss where nothing is.
        faults = self.round(directory, content, [])
        if faults:
            raise RuntimeError(f"without any damage: {faults}")
        return directory, content

    def round(self, template, content, flips):
        """Starts the broker on a copy with these bits flipped. What is wrong, in words."""
        options, faults = self.options, []
        directory = os.path.join(options.work, "round")
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", template, directory], check=True)
        names = [flip(directory, target, bit) for target, bit in flips]
        code, said = verify(options, directory)
        try:
            broker = Broker(options, directory, options.port)
        except RuntimeError as error:
            return [str(error), *names]
        try:
            causes = content.amiss(options.port)
        except (ConnectionError, OSError) as error:
            broker.kill()
            return [f"{error}\n{broker.output()}", *names]
        end = broker.stop()
        output = broker.output()
        reported = "damaged; " in output
        quarantined = os.path.exists(os.path.join(directory, "quarantine"))
        if end != 0:
            faults.append(f"exit code {end}")
        if len(causes) > 1:
            faults.append(f"more is missing than one record holds: {sorted(causes)}")
        if (code == 1) != reported or reported != quarantined:
            faults.append(f"verify says {code}, the broker's log {reported}, the quarantine {quarantined}")
        in_logs = [target for target, _ in flips if target[1].endswith(".log")]
        hit = [target for target in in_logs if not target[0].startswith("segment header")]
        torn = "cut" in said or "torn" in said
        if hit and not reported and not torn:
            faults.append("nobody says that something was hit")
        if causes and not reported and not torn:
            faults.append(f"missing, and nobody says so: {causes}")
        if not in_logs and (causes or reported):
            faults.append(f"the logs were not touched: {causes}")
        if any(target[1].startswith("manifest") for target, _ in flips) and "manifest" not in output:
            faults.append("nobody says that a manifest was hit")
        kind = flips[0][0][0] if flips else "nothing"
        hits, missing = self.counts.get(kind, (0, 0))
        self.counts[kind] = (hits + 1, missing + bool(causes))
        return [*faults, *names, said, output] if faults else []

    def run(self):
        options, failed = self.options, 0
        made = [self.make(ending) for ending in ("killed", "stopped")]
        begun = time.monotonic()
        for number in range(options.rounds):
            template, content = made[number % 2]
            all_targets = targets(template)
            bits = [8 * (end - first) for _, _, first, end in all_targets]
            chosen = self.random.choices(all_targets, bits, k=options.bits)
            flips = [(target, self.random.randrange(8 * (target[3] - target[2]))) for target in chosen]
            faults = self.round(template, content, flips)
            if faults:
                failed += 1
                if not options.prove:
                    print(f"round {number + 1} ({template}):", *faults, sep="\n  ", file=sys.stderr)
        seconds = time.monotonic() - begun
        print(f"{options.rounds} rounds, {options.bits} bit each, {seconds:.0f} s, seed {options.seed}: {failed} failed")
        for kind, (hits, missing) in sorted(self.counts.items()):
            print(f"  {kind}: hit {hits} times, something was missing {missing} times")
        return failed


def main():
    parser = argparse.ArgumentParser()
    for name in ("broker", "io", "work"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("port", 1883), ("rounds", 1000), ("seed", 1), ("bits", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prove", action="store_true", help="every round has to fail")
    options = parser.parse_args()
    with open(os.path.join(options.work, "shardmq.ron"), "w") as config:
        config.write(f'(shards: {SHARDS}, placement: none, log_segment: "1 MiB")')
    failed = Loop(options).run()
    sys.exit(int(failed < options.rounds if options.prove else failed > 0))


if __name__ == "__main__":
    main()
