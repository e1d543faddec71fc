"""Requests that make some sense and many that make none: requests.py SEED COUNT. Every one must be answered.

Says how many answers of each kind there were; exits 1 when an answer does not come or is not well formed.
"""
import collections
import os
import random
import sys

import msgpack
import zmq

AHEAD, PATIENCE_MS = 50, 20_000
OPS = ["pub", "fetch", "status", "clients", "hello", "seek", "topics", "group", "group.join", "group.leave", "groups",
       "group.reset", "group.delete", "group.replay", "group.pause", "dead", "dead.retry", "dead.drop", "nope"]
NUMBERS = [0, 1, 2, 3, 5, 10, 100, 2**20, 2**32, 2**63, 2**63 + 5, 2**64 - 1]
# Another's each time: the hub welcomes who is new, and may not know yet that the one before has gone.
TOKEN, OTHER = f"tok{sys.argv[1]}", f"other{sys.argv[1]}"
TEXTS = ["g", "h", "", TOKEN, "t", "t.#", "#", "x" * 200, "$dead.g", "a b", "\u00e9", "\x1b[31m"]
KEYS = ["ack_wait", "max_deliver", "max_pending", "ordered", "backoff", "kind", "patterns", "position", "x", "listener",
        "runs", "failures", "last_error", "last_error_ns"]


def chance(part):
    return random.random() < part


def anything(depth=0):
    kind = random.random()
    if depth < 4 and kind < 0.2:
        return [anything(depth + 1) for _ in range(random.randrange(5))]
    if depth < 4 and kind < 0.3:
        return {random.choice(KEYS): anything(depth + 1) for _ in range(random.randrange(4))}
    if kind < 0.6:
        return random.choice(NUMBERS)
    if kind < 0.85:
        return random.choice(TEXTS)
    return random.choice([None, True, False, -3, 1.5, os.urandom(5)])


def settings():
    return {"ordered": chance(0.2), "max_pending": random.choice([1, 5, 1000]), "backoff": [random.choice([0, 10**7])],
            "ack_wait": random.choice([10**8, 10**9]), "max_deliver": random.choice([1, 2, 5])}


def seq():
    return random.randrange(1, 400)


def token():
    return random.choice([TOKEN, OTHER])


def acks():
    return [[first, first + random.randrange(4)] for first in (seq() for _ in range(random.randrange(3)))]


def fails():
    return [[seq() | chance(0.1) << 63, random.choice([None, 0, 10**7]), "why", chance(0.2)]
            for _ in range(random.randrange(3))]


SENSIBLE = {
    "group.join": lambda: ["g", token(), random.choice([["t.#"], None]), random.choice([None, settings()]),
                           random.choice([None, 1]), random.choice([[], [[1, 5]]]), random.choice([None, TOKEN])],
    "group": lambda: ["g", token(), acks(), fails(), random.choice([0, 1, 5, 100]),
                      random.choice([1, 1000, 1 << 20]), random.choice([None, 5])],
    "group.replay": lambda: ["g", seq(), random.choice([0, 60]), random.choice([0, 1000]), chance(0.2)],
    "group.pause": lambda: ["g", chance(0.3)],
    "group.reset": lambda: ["g", seq()],
    "group.delete": lambda: ["g" if chance(0.05) else "h"],
    "group.leave": lambda: ["g", OTHER, [], []],
    "dead": lambda: [random.choice(["g", None]), 0, 10],
    "dead.retry": lambda: ["g", random.choice([None, [seq()]])],
    "dead.drop": lambda: ["g", random.choice([None, [seq()]])],
    "hello": lambda: ["me", token(), {"kind": "x", "group": "g", "patterns": ["t.#"], "position": seq(), "runs": seq(),
                                      "failures": seq(), "last_error": "e", "last_error_ns": seq()}],
}


def request(number):
    op = random.choice(OPS)
    args = SENSIBLE[op]() if op in SENSIBLE and chance(0.8) else [anything() for _ in range(random.randrange(8))]
    data = bytearray(msgpack.packb([op, number, *args]))
    if chance(0.02):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def main():
    random.seed(int(sys.argv[1]))
    count, answers = int(sys.argv[2]), collections.Counter()
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(os.environ["EVBUS_URL"] + "/hub")
    feed = zmq.Context.instance().socket(zmq.SUB)  # members have one
    feed.connect(os.environ["EVBUS_URL"] + "/feed")
    for name in (TOKEN, OTHER):
        feed.subscribe(f"$hub.welcome.{name}\0".encode())
        assert feed.poll(PATIENCE_MS)
        feed.recv()
    for number in range(count + AHEAD):
        if number < count:
            socket.send(request(number))
        if number < AHEAD:
            continue
        if not socket.poll(PATIENCE_MS):
            sys.exit("no answer")
        answer = msgpack.unpackb(socket.recv_multipart()[0], strict_map_key=False)
        answers[answer[2] if answer[0] == "error" else answer[0]] += 1
    print(dict(answers))


main()
