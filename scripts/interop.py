"""Interoperability of a running broker with mosquitto_pub/sub and paho-mqtt, and the tours of scripts/tour.

Called by interop.sh: interop.py BROKER RUMQTTC_TOUR NODE_MODULES, the last being the folder with mqtt.js.

Every exchange has one publisher and several subscribers, so that with two shards some of them sit on the other one; the
broker's own statistics must show that messages went across for every client, version and QoS.
"""

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SUBSCRIBERS = 6
TIMEOUT = 15.0
MOSQUITTO_VERSIONS = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5": "mqttv5"}
PAHO_VERSIONS = {"3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


class Failure(Exception):
    """An exchange that did not go as MQTT says."""


class Broker:
    """The broker as a process of its own, on a port that it picks."""

    def __init__(self, binary, driver, shards=2, more=""):
        self.folder = tempfile.TemporaryDirectory()
        config = Path(self.folder.name) / "interop.ron"
        listeners = '(address: "127.0.0.1:0"), (address: "127.0.0.1:0", transport: websocket)'
        config.write_text(f'(listeners: [{listeners}], placement: none, stats_interval: "1 s", {more})\n')
        self.log = open(Path(self.folder.name) / "log", "w+", encoding="utf-8")
        command = [binary, "run", "--config", str(config), "--shards", str(shards), "--io", driver, "--log-level", "info",
                   "--data-dir", str(Path(self.folder.name) / "data")]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, stdin=subprocess.DEVNULL)
        self.wait_for(r"(ready): ")
        self.port, self.web_socket_port = map(int, re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.text()))

    def text(self):
        """Everything it has logged."""
        return Path(self.log.name).read_text(encoding="utf-8")

    def wait_for(self, pattern):
        """The first group of the first match of `pattern` in its log."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise Failure(f"no {pattern!r} in the broker's log:\n{self.text()}")

    def across_shards(self):
        """Messages that went from one shard to the other, as of the newest statistics line."""
        return int((re.findall(r"across_shards=(\d+)", self.text()) or ["0"])[-1])

    def wait_across_shards(self, more_than):
        """Waits until the statistics show more than that."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if self.across_shards() > more_than:
                return True
            time.sleep(0.1)
        return False

    def stop(self):
        """Ends it as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=10)
        self.log.close()
        self.folder.cleanup()
        if code != 0:
            raise Failure(f"the broker exited with {code} on SIGTERM")


def mosquitto(tool, port, version, *arguments, **options):
    """Starts mosquitto_pub or mosquitto_sub, line by line on its output."""
    command = ["stdbuf", "-oL", tool, "-h", "127.0.0.1", "-p", str(port), "-V", MOSQUITTO_VERSIONS[version], *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process, what):
    """Waits for a client; its output."""
    out, err = process.communicate(timeout=TIMEOUT)
    if process.returncode != 0:
        raise Failure(f"{what} exited with {process.returncode}: {err}")
    return out


def mosquitto_exchange(broker, version, qos, topic):
    """One message to several subscribers."""
    quality = ["-q", str(qos), "-t", topic]
    subscribers = []
    for number in range(SUBSCRIBERS):
        # -d prints when the SUBACK has come.
        identity = ["-i", f"{version}-{qos}-{number}-{time.monotonic_ns()}"[:23]]
        subscribers.append(mosquitto("mosquitto_sub", broker.port, version, *quality, *identity, "-C", "1", "-W", "10", "-d"))
    for subscriber in subscribers:
        for line in subscriber.stdout:
            if "Subscribed" in line or "SUBACK" in line:
                break
    finish(mosquitto("mosquitto_pub", broker.port, version, *quality, "-m", "hello"), "mosquitto_pub")
    for subscriber in subscribers:
        out = finish(subscriber, "mosquitto_sub")
        if "hello" not in out:
            raise Failure(f"mosquitto_sub got {out!r}")


def mosquitto_retained(broker, version, qos, topic):
    """A retained message reaches later subscribers on both shards, and is cleared."""
    publish = ["-q", str(qos), "-t", topic, "-r"]
    finish(mosquitto("mosquitto_pub", broker.port, version, *publish, "-m", "kept"), "mosquitto_pub")
    subscribe = ["-q", str(qos), "-t", topic, "-C", "1", "-W", "10", "-F", "%r %p"]
    readers = [mosquitto("mosquitto_sub", broker.port, version, *subscribe) for _ in range(SUBSCRIBERS)]
    for reader in readers:
        out = finish(reader, "mosquitto_sub").strip()
        if out != "1 kept":
            raise Failure(f"retained: mosquitto_sub got {out!r}")
    finish(mosquitto("mosquitto_pub", broker.port, version, *publish, "-n"), "mosquitto_pub")
    late = mosquitto("mosquitto_sub", broker.port, version, "-t", topic, "-C", "1", "-W", "1")
    out, _ = late.communicate(timeout=TIMEOUT)
    if out:
        raise Failure(f"a cleared retained message came all the same: {out!r}")


def mosquitto_will(broker, version, qos, topic):
    """A client that is killed leaves its will."""
    watch = ["-q", str(qos), "-t", topic, "-C", "1", "-W", "10", "-d"]
    watchers = [mosquitto("mosquitto_sub", broker.port, version, *watch) for _ in range(SUBSCRIBERS)]
    for watcher in watchers:
        for line in watcher.stdout:
            if "Subscribed" in line or "SUBACK" in line:
                break
    will = ["--will-topic", topic, "--will-payload", "gone", "--will-qos", str(qos)]
    mortal = mosquitto("mosquitto_sub", broker.port, version, "-t", f"{topic}/other", "-d", *will)
    for line in mortal.stdout:
        if "Subscribed" in line or "SUBACK" in line:
            break
    mortal.kill()
    mortal.wait()
    mortal.stdout.close()
    mortal.stderr.close()
    for watcher in watchers:
        out = finish(watcher, "mosquitto_sub")
        if "gone" not in out:
            raise Failure(f"will: mosquitto_sub got {out!r}")


class PahoClient:
    """A paho client with its loop on a thread of its own."""

    def __init__(self, broker, version, name, **will):
        self.messages = []
        self.arrived = threading.Condition()
        self.acknowledged = threading.Event()
        connected = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=PAHO_VERSIONS[version])
        self.client.on_connect = lambda *_: connected.set()
        self.client.on_subscribe = lambda *_: self.acknowledged.set()
        self.client.on_message = self.on_message
        if will:
            self.client.will_set(**will)
        self.client.connect("127.0.0.1", broker.port, keepalive=30)
        self.client.loop_start()
        if not connected.wait(TIMEOUT):
            raise Failure("paho: no CONNACK")

    def on_message(self, _client, _userdata, message):
        """Keeps it."""
        with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    def subscribe(self, topic, qos):
        """Waits for the SUBACK."""
        self.acknowledged.clear()
        self.client.subscribe(topic, qos)
        if not self.acknowledged.wait(TIMEOUT):
            raise Failure("paho: no SUBACK")

    def receive(self, count):
        """Waits for `count` messages in all."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.messages) >= count, TIMEOUT):
                raise Failure(f"paho: {len(self.messages)} of {count} messages")
        return self.messages

    def close(self):
        """DISCONNECT."""
        self.client.disconnect()
        self.client.loop_stop()


def paho_exchange(broker, version, qos, topic):
    """Twenty messages in order, with properties in v5; then retained and will."""
    unique = time.monotonic_ns()
    subscribers = [PahoClient(broker, version, f"sub-{number}-{unique}") for number in range(SUBSCRIBERS)]
    for subscriber in subscribers:
        subscriber.subscribe(f"{topic}/#", qos)
    publisher = PahoClient(broker, version, f"pub-{unique}")
    properties = None
    if version == "5":
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("b", "2"), ("a", "1")]
        properties.ContentType = "text/plain"
        properties.CorrelationData = b"\x00\x01"
        properties.ResponseTopic = "answer/here"
    for number in range(20):
        publisher.client.publish(f"{topic}/x", str(number), qos, properties=properties).wait_for_publish(TIMEOUT)
    for subscriber in subscribers:
        messages = subscriber.receive(20)
        payloads = [int(message.payload) for message in messages]
        if payloads != list(range(20)):
            raise Failure(f"paho: order {payloads}")
        if version == "5":
            got = messages[0].properties
            if got.UserProperty != [("b", "2"), ("a", "1")] or got.CorrelationData != b"\x00\x01":
                raise Failure(f"paho: properties {got}")
    publisher.client.publish(f"{topic}/kept", "kept", qos, retain=True).wait_for_publish(TIMEOUT)
    for number in range(SUBSCRIBERS):
        late = PahoClient(broker, version, f"late-{number}-{unique}")
        late.subscribe(f"{topic}/+", qos)
        message = late.receive(1)[0]
        if message.payload != b"kept" or not message.retain:
            raise Failure(f"paho: retained {message.payload!r} retain={message.retain}")
        late.close()
    publisher.client.publish(f"{topic}/kept", None, qos, retain=True).wait_for_publish(TIMEOUT)
    for subscriber in subscribers:
        subscriber.receive(22)
    mortal = PahoClient(broker, version, f"will-{unique}", topic=f"{topic}/will", payload="gone", qos=qos)
    mortal.client.loop_stop()
    mortal.client.socket().close()
    for subscriber in subscribers:
        if subscriber.receive(23)[22].payload != b"gone":
            raise Failure("paho: no will")
        subscriber.close()
    publisher.close()


def check_across(broker, what, exchange):
    """Runs an exchange until messages were seen to cross shards; at most a few times, since where a client lands is the kernel's choice."""
    for _ in range(5):
        before = broker.across_shards()
        exchange()
        if broker.wait_across_shards(before):
            return
    raise Failure(f"{what}: no message went from one shard to the other")


def run(binary, driver):
    """Everything against one driver."""
    broker = Broker(binary, driver)
    try:
        for version in MOSQUITTO_VERSIONS:
            for qos in (0, 1, 2):
                for exchange in (mosquitto_exchange, mosquitto_retained, mosquitto_will):
                    topic = f"interop/{driver}/{version}/{qos}/{exchange.__name__}"
                    what = f"{driver}, mosquitto {version}, QoS {qos}, {exchange.__name__}"
                    if exchange is mosquitto_exchange:
                        check_across(broker, what, lambda: mosquitto_exchange(broker, version, qos, topic))
                    else:
                        exchange(broker, version, qos, topic)
                    print(f"ok: {what}", flush=True)
        for version in PAHO_VERSIONS:
            for qos in (0, 1, 2):
                what = f"{driver}, paho {version}, QoS {qos}"
                check_across(broker, what, lambda: paho_exchange(broker, version, qos, f"paho/{version}/{qos}"))
                print(f"ok: {what}", flush=True)
    finally:
        broker.stop()


def tour(binary, driver, rumqttc, node_modules):
    """Every feature that paho, mqtt.js and rumqttc support, on three shards."""
    folder = Path(__file__).resolve().parent / "tour"
    hashed = subprocess.run([binary, "hash-password", "tourist"], input="pencil\n", capture_output=True, text=True, check=True)
    users = f"allow_anonymous: true, authentication: (users: [{hashed.stdout.strip()}])"
    broker = Broker(binary, driver, shards=3, more=users)
    ports = [str(broker.port), str(broker.web_socket_port)]
    try:
        for command, where in (
            ([sys.executable, str(folder / "paho_tour.py")], folder),
            (["node", str(folder / "mqttjs_tour.mjs")], node_modules),
            ([rumqttc], folder),
        ):
            done = subprocess.run([*command, *ports], cwd=where, timeout=180, capture_output=True, text=True, check=False)
            print(done.stdout.replace("ok: ", f"ok: {driver}, tour, "), end="", flush=True)
            if done.returncode != 0:
                raise Failure(f"{command[-1]} exited with {done.returncode}:\n{done.stderr}\nbroker:\n{broker.text()[-2000:]}")
    finally:
        broker.stop()


def main():
    """Both drivers; exit code 1 at the first failure."""
    binary, rumqttc, node_modules = (str(Path(argument).resolve()) for argument in sys.argv[1:])
    for driver in ("glommio", "epoll"):
        try:
            run(binary, driver)
            tour(binary, driver, rumqttc, node_modules)
        except (Failure, subprocess.TimeoutExpired) as failure:
            print(f"FAILED: {driver}: {failure}", file=sys.stderr)
            sys.exit(1)
    print("interop: all exchanges passed on both drivers")


if __name__ == "__main__":
    main()
