"""As much of an MQTT client as a checker of data directories needs: packets in and out, MQTT 3.1.1 and 5, without a thread and without opinions."""
import select
import socket
import struct
import time

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 5, 6, 7, 9, 11, 13
PATIENCE = 10.0


def text(string):
    data = string.encode() if isinstance(string, str) else string
    return struct.pack(">H", len(data)) + data


def integer(number):
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def take_integer(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


class Message:
    """A PUBLISH that has come."""

    def __init__(self, flags, body, v5):
        self.qos, self.retain, self.dup = flags >> 1 & 3, bool(flags & 1), bool(flags & 8)
        length = struct.unpack_from(">H", body)[0]
        self.topic, at = body[2 : 2 + length].decode(), 2 + length
        self.packet_id = None
        if self.qos:
            self.packet_id, at = struct.unpack_from(">H", body, at)[0], at + 2
        if v5:
            length, at = take_integer(body, at)
            at += length
        self.payload = bytes(body[at:]).decode()


class Client:
    """One connection. What comes lies in `messages` and `acks`, the latter as (type, packet id, body)."""

    def __init__(self, port, client_id, v5=True, clean=False, expiry=100_000, will=None):
        self.v5, self.client_id = v5, client_id
        self.messages, self.acks, self.unread = [], [], bytearray()
        self.packet_id, self.closed = 0, False
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flags = (2 if clean else 0) | (4 | 8 if will else 0)
        body = text("MQTT") + bytes([5 if v5 else 4, flags]) + struct.pack(">H", 0)
        if v5:
            properties = b"\x11" + struct.pack(">I", 0 if clean else expiry)
            body += integer(len(properties)) + properties
        body += text(client_id)
        if will:
            body += (integer(0) if v5 else b"") + text(will[0]) + text(will[1])
        self.send(0x10, body)
        acknowledged = self.wait(CONNACK)
        self.present, self.refused = bool(acknowledged[0] & 1), acknowledged[1]
        if self.refused:
            raise ConnectionError(f"{client_id} is refused: {self.refused:#x}")

    def send(self, first, body):
        self.socket.sendall(bytes([first]) + integer(len(body)) + body)

    def read(self, seconds):
        """Takes what comes within so long, and returns after the first of it."""
        if self.closed or not select.select([self.socket], [], [], seconds)[0]:
            return False
        data = self.socket.recv(1 << 18)
        self.closed = not data
        self.unread += data
        while self.split():
            pass
        return True

    def split(self):
        if len(self.unread) < 2:
            return False
        try:
            length, at = take_integer(self.unread, 1)
        except IndexError:
            return False
        if len(self.unread) < at + length:
            return False
        first, body = self.unread[0], bytes(self.unread[at : at + length])
        del self.unread[: at + length]
        kind = first >> 4
        if kind == PUBLISH:
            self.messages.append(Message(first & 15, body, self.v5))
        elif kind in (CONNACK, PINGRESP):
            self.acks.append((kind, None, body))
        else:
            self.acks.append((kind, struct.unpack_from(">H", body)[0], body[2:]))
        return True

    def wait(self, kind, packet_id=None):
        """The acknowledgement of this type, and its body behind the packet id."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for index, (got, number, body) in enumerate(self.acks):
                if got == kind and number == packet_id:
                    del self.acks[index]
                    return body
            left = deadline - time.monotonic()
            if self.closed or left <= 0 or not self.read(left) and left <= 0:
                raise ConnectionError(f"{self.client_id} waits for packet type {kind} in vain")

    def next_id(self):
        self.packet_id += 1
        return self.packet_id

    def publish(self, topic, payload, qos=0, retain=False, finish=True):
        """Returns the packet id once the message is acknowledged: of QoS 2 to the end, or up to PUBREC."""
        number = self.next_id() if qos else None
        body = text(topic) + (struct.pack(">H", number) if qos else b"") + (b"\0" if self.v5 else b"")
        self.send(0x30 | qos << 1 | retain, body + payload.encode())
        if qos == 1:
            self.wait(PUBACK, number)
        if qos == 2:
            self.wait(PUBREC, number)
            if finish:
                self.release(number)
        return number

    def release(self, number):
        """PUBREL, and the reason code of PUBCOMP."""
        self.send(0x62, struct.pack(">H", number))
        body = self.wait(PUBCOMP, number)
        return body[0] if body else 0

    def acknowledge(self, kind, number):
        self.send(kind << 4 | (2 if kind == PUBREL else 0), struct.pack(">H", number))

    def subscribe(self, topic_filter, qos):
        number = self.next_id()
        properties = b"\0" if self.v5 else b""
        self.send(0x82, struct.pack(">H", number) + properties + text(topic_filter) + bytes([qos]))
        return self.wait(SUBACK, number)[-1]

    def ping(self):
        self.send(0xC0, b"")
        self.wait(PINGRESP)

    def drop(self):
        """The connection breaks."""
        self.socket.close()
        self.closed = True

    def leave(self):
        self.send(0xE0, b"")
        self.drop()
