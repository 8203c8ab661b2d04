"""A broker that is correct whatever is killed: forwards a port to a broker that nobody kills.

kill-loop.sh prove has the ledger kill this instead of the broker. Clients see what they see when a broker dies, and every promise holds, so
that any fault the ledger finds is the ledger's own.

    proxy.py LISTEN-PORT BROKER-PORT
"""
import selectors
import signal
import socket
import sys

READ_BYTES = 65536


def main():
    listen_port, broker_port = map(int, sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listener = socket.create_server(("127.0.0.1", listen_port), backlog=128)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                broker = socket.create_connection(("127.0.0.1", broker_port))
                for end, other in ((client, broker), (broker, client)):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(end, selectors.EVENT_READ, other)
            elif key.fileobj.fileno() >= 0:
                forward(selector, key.fileobj, key.data)


def forward(selector, end, other):
    """Moves what has arrived from one end to the other; the end of either is the end of both."""
    try:
        data = end.recv(READ_BYTES)
        other.sendall(data)
    except OSError:
        data = b""
    if not data:
        for socket_ in (end, other):
            selector.unregister(socket_)
            socket_.close()


main()
