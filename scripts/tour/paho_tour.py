"""A tour of every MQTT feature that paho-mqtt speaks: 3.1, 3.1.1 and 5, over TCP and WebSocket.

    paho_tour.py TCP_PORT WEBSOCKET_PORT

Each stop is a function; it fails by an exception. What a broker may choose is not asserted, what the specification says is.
"""

import os
import queue
import sys
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

TIMEOUT = 10.0
QUIET = 0.4
VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}
PORTS = {}
UNIQUE = 0


def unique(name):
    """A client id or topic level that no other stop uses."""
    global UNIQUE
    UNIQUE += 1
    return f"p{os.getpid()}-{UNIQUE}-{name}"


def properties(packet, **values):
    """Properties of a packet type by their names in paho."""
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """A client with its loop on a thread of its own; what it hears goes into queues."""

    def __init__(self, version="5", name=None, transport="tcp", clean=True, connect=None, will=None, keepalive=30, manual=False):
        self.heard = queue.Queue()
        self.subscribed = queue.Queue()
        self.unsubscribed = queue.Queue()
        self.connacks = queue.Queue()
        self.ends = queue.Queue()
        options = {} if version == "5" else {"clean_session": clean}
        if name is None:
            name = unique("client")
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=VERSIONS[version],
            transport=transport,
            manual_ack=manual,
            **options,
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        self.client.on_connect = lambda _c, _u, flags, reason, props: self.connacks.put((flags, reason, props))
        self.client.on_message = lambda _c, _u, message: self.heard.put(message)
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, props: self.subscribed.put((reasons, props))
        self.client.on_unsubscribe = lambda _c, _u, _mid, reasons, props: self.unsubscribed.put(reasons)
        self.client.on_disconnect = lambda _c, _u, flags, reason, props: self.ends.put((flags, reason))
        self.client.reconnect_delay_set(30, 60)
        if will:
            self.client.will_set(**will)
        more = {"clean_start": clean, "properties": connect} if version == "5" else {}
        self.client.connect("127.0.0.1", PORTS[transport], keepalive=keepalive, **more)
        self.client.loop_start()
        self.flags, self.reason, self.properties = self.connacks.get(timeout=TIMEOUT)

    def subscribe(self, *arguments, **options):
        """The reason codes of the SUBACK."""
        self.client.subscribe(*arguments, **options)
        return [code.value for code in self.subscribed.get(timeout=TIMEOUT)[0]]

    def unsubscribe(self, topic):
        """The reason codes of the UNSUBACK."""
        self.client.unsubscribe(topic)
        return [code.value for code in self.unsubscribed.get(timeout=TIMEOUT)]

    def publish(self, topic, payload=None, qos=0, **options):
        """Waits until the flow is complete."""
        self.client.publish(topic, payload, qos, **options).wait_for_publish(TIMEOUT)

    def next(self):
        """The next message."""
        return self.heard.get(timeout=TIMEOUT)

    def payloads(self, count):
        """The payloads of the next `count` messages."""
        return [self.next().payload.decode() for _ in range(count)]

    def hears_nothing(self):
        """No message comes for a while."""
        try:
            message = self.heard.get(timeout=QUIET)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected {message.topic} {message.payload}")

    def close(self, **options):
        """DISCONNECT."""
        self.client.disconnect(**options)
        self.client.loop_stop()

    def vanish(self):
        """The socket closes without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def every_version_and_transport():
    """QoS 0, 1 and 2 in order, both ways."""
    for version in VERSIONS:
        for transport in PORTS:
            topic = unique("order")
            subscriber, publisher = Client(version, transport=transport), Client(version, transport=transport)
            for qos in (0, 1, 2):
                assert subscriber.subscribe(f"{topic}/{qos}", qos) == [qos]
                for number in range(50):
                    publisher.publish(f"{topic}/{qos}", str(number), qos)
                messages = [subscriber.next() for _ in range(50)]
                assert [int(message.payload) for message in messages] == list(range(50))
                assert {message.qos for message in messages} == {qos}
            subscriber.close()
            publisher.close()


def large_messages():
    """A payload near the packet limit, byte for byte, on both transports."""
    payload = bytes(number % 251 for number in range(1_000_000))
    for transport in PORTS:
        topic = unique("large")
        client = Client(transport=transport)
        client.subscribe(topic, 1)
        client.publish(topic, payload, 1)
        assert client.next().payload == payload
        client.close()


def sessions_resume():
    """Queued messages and subscriptions outlive the connection in every version."""
    for version in VERSIONS:
        name, topic = unique("durable"), unique("resume")
        keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=60) if version == "5" else None
        first = Client(version, name, clean=False, connect=keep)
        assert not first.flags.session_present
        first.subscribe(topic, 1)
        first.close()
        publisher = Client(version)
        for number in range(5):
            publisher.publish(topic, str(number), 1)
        again = Client(version, name, clean=False, connect=keep)
        assert again.flags.session_present == (version != "3.1")
        assert again.payloads(5) == ["0", "1", "2", "3", "4"]
        again.close()
        fresh = Client(version, name, clean=True)
        assert not fresh.flags.session_present
        publisher.publish(topic, "late", 1)
        fresh.hears_nothing()
        fresh.close()
        publisher.close()


def takeover_is_told():
    """The older connection of a client id is told 0x8E."""
    name = unique("taken")
    old = Client(name=name)
    new = Client(name=name)
    _flags, reason = old.ends.get(timeout=TIMEOUT)
    assert reason.value == 0x8E, reason
    old.client.loop_stop()
    new.close()


def retained_messages():
    """Kept, marked, replaced and cleared; with wildcards."""
    for version in VERSIONS:
        root = unique("kept")
        publisher = Client(version)
        for number in range(10):
            publisher.publish(f"{root}/{number}/x", f"v{number}", 1, retain=True)
        publisher.publish(f"{root}/3/x", "newer", 1, retain=True)
        publisher.publish(f"{root}/4/x", None, 1, retain=True)
        reader = Client(version)
        reader.subscribe(f"{root}/+/x", 1)
        messages = {reader.next().topic: None for _ in range(9)}
        assert f"{root}/4/x" not in messages and len(messages) == 9
        reader.hears_nothing()
        publisher.publish(f"{root}/3/x", "live", 1, retain=True)
        assert not reader.next().retain
        reader.close()
        publisher.close()


def retain_options():
    """Retain handling 0, 1, 2 and retain as published."""
    topic = unique("handling")
    publisher = Client()
    publisher.publish(topic, "kept", 1, retain=True)
    client = Client()
    client.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=2))
    client.hears_nothing()
    client.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=1))
    client.hears_nothing()
    client.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=0))
    assert client.next().retain
    client.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=2))
    publisher.publish(topic, "flagged", 1, retain=True)
    assert client.next().retain
    fresh = Client()
    fresh.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=1))
    assert fresh.next().payload == b"flagged"
    for one in (publisher, client, fresh):
        one.close()


def no_local():
    """Own messages stay away, those of others come."""
    topic = unique("echo")
    client, other = Client(), Client()
    client.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True))
    client.publish(topic, "own", 1)
    other.publish(topic, "other", 1)
    assert client.payloads(1) == ["other"]
    client.hears_nothing()
    client.close()
    other.close()


def properties_pass():
    """Every PUBLISH property arrives, user properties in order."""
    topic = unique("properties")
    client = Client()
    client.subscribe(topic, 2, properties=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77))
    sent = properties(
        PacketTypes.PUBLISH,
        PayloadFormatIndicator=1,
        MessageExpiryInterval=600,
        ContentType="text/plain; charset=utf-8",
        ResponseTopic="answers/here",
        CorrelationData=bytes(range(256)),
        UserProperty=[("b", "2"), ("a", "1"), ("b", "3"), ("", "ü")],
    )
    client.publish(topic, "grüße", 2, properties=sent)
    got = client.next().properties
    assert got.PayloadFormatIndicator == 1 and got.ContentType == sent.ContentType
    assert got.ResponseTopic == sent.ResponseTopic and got.CorrelationData == sent.CorrelationData
    assert got.UserProperty == sent.UserProperty, got.UserProperty
    assert got.MessageExpiryInterval in (599, 600)
    assert got.SubscriptionIdentifier == [77]
    client.close()


def overlapping_filters():
    """One copy with all identifiers, or a copy each; at the highest QoS."""
    topic = unique("overlap")
    client = Client()
    for number, (name, qos) in enumerate([(f"{topic}/+", 0), (f"{topic}/#", 2), (f"{topic}/x", 1)], start=1):
        client.subscribe(name, qos, properties=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number))
    client.publish(f"{topic}/x", "once", 2)
    message = client.next()
    assert sorted(message.properties.SubscriptionIdentifier) == [1, 2, 3] and message.qos == 2
    client.hears_nothing()
    client.close()


def aliases():
    """Aliases from the client are resolved. Of those that the broker uses paho leaves the topic empty, the payload says which."""
    topic = unique("alias/of/some/length")
    client = Client(connect=properties(PacketTypes.CONNECT, TopicAliasMaximum=5))
    assert client.properties.TopicAliasMaximum > 0
    client.subscribe(topic, 1)
    client.publish(topic, "named", 1, properties=properties(PacketTypes.PUBLISH, TopicAlias=1))
    for number in range(10):
        client.publish("", str(number), 1, properties=properties(PacketTypes.PUBLISH, TopicAlias=1))
    assert client.payloads(11) == ["named"] + [str(number) for number in range(10)]
    client.close()


def expiry():
    """What waits too long is gone; what is left of its time is told."""
    name, topic = unique("sleeper"), unique("expiry")
    keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=60)
    sleeper = Client(name=name, clean=False, connect=keep)
    sleeper.subscribe(topic, 1)
    sleeper.close()
    publisher = Client()
    publisher.publish(topic, "short", 1, properties=properties(PacketTypes.PUBLISH, MessageExpiryInterval=1))
    publisher.publish(topic, "long", 1, properties=properties(PacketTypes.PUBLISH, MessageExpiryInterval=100))
    publisher.publish(f"{topic}/kept", "x", 1, retain=True, properties=properties(PacketTypes.PUBLISH, MessageExpiryInterval=1))
    time.sleep(2.1)
    awake = Client(name=name, clean=False, connect=keep)
    message = awake.next()
    assert message.payload == b"long" and 95 <= message.properties.MessageExpiryInterval <= 98
    awake.subscribe(f"{topic}/kept", 1)
    awake.hears_nothing()
    awake.close(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    gone = Client(name=name, clean=False, connect=keep)
    assert not gone.flags.session_present, "DISCONNECT has changed the expiry to 0"
    gone.close()
    publisher.close()


def wills():
    """Without delay, with delay, silenced by a new connection, by DISCONNECT 0x04, and not after a clean DISCONNECT."""
    topic = unique("will")
    watcher = Client()
    watcher.subscribe(f"{topic}/#", 2)
    for version in VERSIONS:
        mortal = Client(version, will={"topic": f"{topic}/{version}", "payload": "gone", "qos": 1})
        mortal.vanish()
        assert watcher.next().topic == f"{topic}/{version}"
        polite = Client(version, will={"topic": f"{topic}/{version}", "payload": "gone"})
        polite.close()
    watcher.hears_nothing()
    keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=60)
    late = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=1, ContentType="text/plain", UserProperty=[("k", "v")])
    name = unique("delayed")
    will = {"topic": f"{topic}/late", "payload": "late", "qos": 2, "retain": True, "properties": late}
    Client(name=name, connect=keep, will=will).vanish()
    Client(name=name, clean=False, connect=keep).close(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    time.sleep(1.5)
    watcher.hears_nothing()
    started = time.monotonic()
    Client(name=name, connect=keep, will=will).vanish()
    message = watcher.next()
    assert 0.9 < time.monotonic() - started < 4 and message.payload == b"late"
    assert message.properties.ContentType == "text/plain" and message.properties.UserProperty == [("k", "v")]
    reader = Client()
    reader.subscribe(f"{topic}/late", 1)
    assert reader.next().retain, "a retained will is retained"
    will = {"topic": f"{topic}/told", "payload": "told"}
    Client(will=will).close(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
    assert watcher.payloads(1) == ["told"]
    watcher.close()
    reader.close()


def shared_subscriptions():
    """Each message to one member, spread over them, beside a plain subscriber that gets all; in every version."""
    for version in VERSIONS:
        topic = unique("jobs")
        members = [Client(version) for _ in range(5)]
        for member in members:
            assert member.subscribe(f"$share/workers/{topic}/#", 1) == [1]
        watcher, publisher = Client(version), Client(version)
        watcher.subscribe(f"{topic}/#", 1)
        for number in range(100):
            publisher.publish(f"{topic}/{number % 7}", str(number), 1)
        assert sorted(map(int, watcher.payloads(100))) == list(range(100))
        time.sleep(QUIET)
        shares = [[message.payload for message in iter(lambda m=m: m.heard.get() if not m.heard.empty() else None, None)] for m in members]
        assert sorted(int(payload) for share in shares for payload in share) == list(range(100)), shares
        assert all(len(share) in range(15, 26) for share in shares), [len(share) for share in shares]
        for one in (*members, watcher, publisher):
            one.close()


def refusals():
    """Reason codes: bad filters and unknown ones; no matching subscribers; availability is announced."""
    client = Client()
    topic = unique("nobody")
    heard = client.client.publish(topic, "x", 1)
    heard.wait_for_publish(TIMEOUT)
    assert client.unsubscribe(topic) == [0x11]
    assert client.subscribe(topic, 1) == [1]
    assert client.unsubscribe(topic) == [0]
    assert client.subscribe([(topic, SubscribeOptions(qos=0)), (f"{topic}/+", SubscribeOptions(qos=2))]) == [0, 2]
    noisy = Client("3.1.1")
    assert noisy.subscribe([(f"{topic}/a", 0), (f"{topic}/b", 1), (f"{topic}/c", 2)]) == [0, 1, 2]
    client.close()
    noisy.close()


def connack_tells():
    """Assigned client id, server keep alive, limits; a session expiry that was granted."""
    client = Client(name="", connect=properties(PacketTypes.CONNECT, SessionExpiryInterval=5, RequestResponseInformation=1))
    assert client.properties.AssignedClientIdentifier
    assert client.properties.ReceiveMaximum > 0
    capped = Client(keepalive=60_000)
    assert capped.properties.ServerKeepAlive < 60_000
    client.close()
    capped.close()


def receive_maximum():
    """A client that takes one message at a time gets all of them, one at a time."""
    topic = unique("window")
    client = Client(connect=properties(PacketTypes.CONNECT, ReceiveMaximum=1), manual=True)
    client.subscribe(topic, 1)
    publisher = Client()
    for number in range(20):
        publisher.publish(topic, str(number), 1)
    for number in range(20):
        message = client.next()
        assert int(message.payload) == number
        assert client.heard.empty(), "one at a time"
        client.client.ack(message.mid, message.qos)
    client.close()
    publisher.close()


def maximum_packet_size():
    """A message that is too large for a client passes it by."""
    topic = unique("small")
    client = Client(connect=properties(PacketTypes.CONNECT, MaximumPacketSize=200))
    client.subscribe(topic, 1)
    publisher = Client()
    publisher.publish(topic, "x" * 500, 1)
    publisher.publish(topic, "fits", 1)
    assert client.payloads(1) == ["fits"]
    client.close()
    publisher.close()


def dollar_topics():
    """Leading wildcards do not see topics that begin with $."""
    client = Client()
    client.subscribe("+/tour", 0)
    client.subscribe("$own/tour", 0)
    client.publish("$own/tour", "named only")
    assert client.payloads(1) == ["named only"]
    client.hears_nothing()
    client.close()


def many_at_once():
    """Twenty clients on threads, each to all."""
    topic = unique("crowd")
    clients = [Client("5" if number % 2 else "3.1.1", transport=("tcp", "websockets")[number % 3 == 0]) for number in range(20)]
    for client in clients:
        client.subscribe(f"{topic}/#", 1)
    threads = [threading.Thread(target=client.publish, args=(f"{topic}/{number}", str(number), 1)) for number, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    for client in clients:
        assert sorted(map(int, client.payloads(20))) == list(range(20))
        client.close()


STOPS = [
    every_version_and_transport,
    large_messages,
    sessions_resume,
    takeover_is_told,
    retained_messages,
    retain_options,
    no_local,
    properties_pass,
    overlapping_filters,
    aliases,
    expiry,
    wills,
    shared_subscriptions,
    refusals,
    connack_tells,
    receive_maximum,
    maximum_packet_size,
    dollar_topics,
    many_at_once,
]


def main():
    """All stops; the first failure ends it."""
    PORTS.update(tcp=int(sys.argv[1]), websockets=int(sys.argv[2]))
    for stop in STOPS:
        stop()
        print(f"ok: paho, {stop.__name__}", flush=True)


if __name__ == "__main__":
    main()
