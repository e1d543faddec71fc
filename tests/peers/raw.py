"""A peer that does not behave: raw.py WHAT ARG... (see the functions at the end). Says what it did on stdout.

Those that hold something open do so until stdin has a line or ends.
"""
import os
import random
import select
import socket
import struct
import sys

import msgpack
import zmq

PATIENCE_MS = 20_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def path(name):
    return os.environ["EVBUS_URL"][len("ipc://"):] + "/" + name


def connect(name):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(PATIENCE_MS / 1000)
    peer.connect(path(name))
    return peer


def say(*words):
    print(*words, flush=True)


def hold():
    sys.stdin.readline()


def frame(data, flags=0):
    if len(data) > 255:
        return struct.pack(">BQ", flags | 2, len(data)) + data
    return bytes([flags, len(data)]) + data


def handshake(name, kind):
    """A ZMTP connection by hand: what libzmq would not send can be sent on it."""
    peer = connect(name)
    peer.sendall(GREETING)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    peer.sendall(frame(ready, 4))
    answer = b""
    while b"READY" not in answer:
        more = peer.recv(4096)
        if not more:
            raise ConnectionResetError
        answer += more
    return peer


def rss_anon(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def dealer():
    peer = zmq.Context.instance().socket(zmq.DEALER)
    peer.linger = 0
    return peer


def flush(peer):
    """Asks for the status and takes replies until that one: all that was sent before it has been answered."""
    peer.send(msgpack.packb(["status", 4242]))
    count = 0
    while peer.poll(PATIENCE_MS):
        reply = msgpack.unpackb(peer.recv_multipart()[0])
        count += 1
        if reply[:2] == ["ok", 4242]:
            return count
    sys.exit("the hub does not answer")


def garbage_bytes(name):
    """What is not ZMTP, or stops being it in the middle."""
    chance = random.Random(1)
    pieces = [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(5000), b"\xff" * 5000, GREETING[:11], GREETING,
              GREETING + b"\x04\xff" + b"x" * 300, GREETING + frame(b"no command", 0), b"\xff" + bytes(8) + b"\x7f\x01\x05",
              GREETING + b"\x06" + struct.pack(">Q", 1 << 63), GREETING[:12] + b"CURVE".ljust(52, b"\0")]
    pieces += [chance.randbytes(chance.randrange(1, 3000)) for _ in range(100)]
    peers = []
    for piece in pieces:
        peer = connect(name)
        peers.append(peer)
        try:
            peer.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
    for peer in peers:
        peer.close()
    say("sent", len(pieces))


def garbage_frames():
    """Requests of every wrong shape. The last question is answered all the same."""
    chance = random.Random(2)
    peer = dealer()
    peer.connect("ipc://" + path("hub"))
    bombs = [b"\xdd\xff\x00\x00\x00", b"\xdf\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
             b"\x91" * 100_000, b"\xc1", b"\x93\xa3pub\x01", b"\x96\xa5fetch\x01\x01\x00\x01\xdd\xff\x00\x00\x00",
             b"\x96\xa5fetch\x01\x01\x00\xce\xff\xff\xff\xff\xdd\xff\x00\x00\x00"]
    asks = [["pub"], ["pub", 1], ["pub", -1, 0], ["fetch", 1, 0, 0, 0, []], ["fetch", 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, []],
            ["fetch", 1, 1, 0, 2**63, ["#"] * 1025], ["fetch", 1, 1, 0, 1, [1, None]], ["fetch", 1, -1, -1, -1, []],
            ["fetch", 1, 1, 0, 1, ["a.#.b", "", "..", "\0"]], ["seek", 1, -5], ["seek", 1, 2**64 - 1], ["topics", 1, "", 2**64 - 1],
            ["topics", 1, "x" * 100_000, 1, []], ["nothing", 1], [None, 1], [], {}, 5, ["x" * 200_000, 2**64 - 1]]
    heads = [msgpack.packb(ask) for ask in asks]
    pub = msgpack.packb(["pub", 1, 0])
    head = b"EVBJ\x01\x01\0\0" + struct.pack(">IIQQQ", 2**32 - 1, 2**32 - 1, 0, 0, 0)
    bodies = [b"", b"x", head, head[:39], head + b"a\0" + b"\x9a" * 90, b"EVBJ" * 100, bytes(40), bytes(100_000)]
    messages = [[b""], [b"", b""], [b"", b"", b"", b"", b""], [b"x"] * 5, [b"x"] * 1000]
    messages += [[bomb] for bomb in bombs] + [[bomb, bomb] for bomb in bombs] + [[ask] for ask in heads]
    messages += [[ask, b"x"] for ask in heads] + [[pub, body] for body in bodies]
    good = b"EVBJ\x01\x01\0\0" + struct.pack(">IIQQQ", 92, 1, 0, 0, 0)
    body = (b"a\0\x9a\x01\0" + (b"\xcf" + bytes(8)) * 5 + b"\xc4\x10" + bytes(16) + b"\xcf" + struct.pack(">Q", 1)
            + b"\xdd\0\0\0\x01" + b"\xc4\x08payload!")
    for _ in range(2000):
        record = bytearray(good + body)
        record[chance.randrange(40 if chance.random() < .3 else 0, len(record))] = chance.randrange(256)
        messages.append([pub, bytes(record[:chance.choice([len(record), chance.randrange(len(record))])])])
    for _ in range(500):
        messages.append([chance.randbytes(chance.randrange(300)) for _ in range(chance.choice([1, 2, 5]))])
    replies = 0
    for at, message in enumerate(messages):
        peer.send_multipart(message)
        if at % 50 == 49:
            replies += flush(peer)
    say("sent", len(messages), "answered", replies + flush(peer))


def oversized(size):
    """One frame that is larger than the hub takes: it closes the connection."""
    for head in (frame(bytes(int(size))), struct.pack(">BQ", 2, 1 << 40) + bytes(100), struct.pack(">BQ", 3, (1 << 63) - 1)):
        peer = handshake("hub", b"DEALER")
        try:
            peer.sendall(head)
            while peer.recv(4096):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        peer.close()
    say("closed")


def endless(name, size, most, pid):
    """Frames with MORE and no end, `most` MiB of them, over as many connections as it takes. The hub's peak is said."""
    size, most = int(size), int(most) << 20
    piece = frame(b"x" * size, 1)
    piece *= max(1, (1 << 20) // len(piece))
    peer, sent, peak, closed = None, 0, 0, 0
    while sent < most and closed < 50:
        try:
            if not peer:
                peer = handshake(name, b"DEALER" if name == "hub" else b"SUB")
            peer.sendall(piece)
            sent += len(piece)
        except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError, FileNotFoundError, socket.timeout):
            peer = None
            closed += 1
        peak = max(peak, rss_anon(pid))
    say("sent", sent >> 20, "closed", closed, "peak", peak)


def never_reads(count):
    """Asks for 1 MiB so many times and reads nothing."""
    peer = handshake("hub", b"DEALER")
    peer.setblocking(False)
    asks = memoryview(frame(msgpack.packb(["fetch", 1, 1, 0, 1 << 20, []])) * int(count))
    sent = 0
    while sent < len(asks) and select.select([], [peer], [], 3)[1]:
        sent += peer.send(asks[sent:sent + 8192])
    say("asked", sent * int(count) // len(asks))
    hold()


def subscribes(count):
    """Subscribes to so many prefixes."""
    peer = handshake("feed", b"SUB")
    for at in range(0, int(count), 1000):
        peer.sendall(b"".join(frame(b"\x01" + b"many.%d." % n) for n in range(at, at + 1000)))
    for odd in (b"\x01" + b"x" * 100_000, b"\x07", b"", b"\0never", b"\x01$hub.welcome." + b"x" * 200 + b"\0"):
        try:
            peer.sendall(frame(odd))
        except (BrokenPipeError, ConnectionResetError):
            peer = handshake("feed", b"SUB")
    say("subscribed")
    hold()


def connections(count, pid):
    """Opens so many at each socket, and says what the hub's CPU ticks were while three beats passed."""
    feed = zmq.Context.instance().socket(zmq.SUB)
    feed.linger = 0
    feed.connect("ipc://" + path("feed"))
    feed.subscribe(b"$hub.beat\0")

    def beat():
        if not feed.poll(PATIENCE_MS):
            sys.exit("the hub beats no more")
        feed.recv()

    beat()
    peers = []
    for name in ("hub", "feed"):
        for _ in range(int(count)):
            peer = socket.socket(socket.AF_UNIX)
            peer.setblocking(False)
            try:
                peer.connect(path(name))
                peers.append(peer)
            except OSError:
                peer.close()
    beat()
    before = ticks(pid)
    for _ in range(3):
        beat()
    say("connections", len(peers), "ticks", ticks(pid) - before)
    hold()


globals()[sys.argv[1]](*sys.argv[2:])
