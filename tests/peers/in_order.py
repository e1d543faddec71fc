"""Whether replies come in the order of the requests: in_order.py COUNT; each of them a look at the hub and, behind it, a
fetch that has nothing to find, some on their way at a time."""
import os
import sys

import msgpack
import zmq

AHEAD, PATIENCE_MS = 20, 20_000

count = int(sys.argv[1])
peer = zmq.Context.instance().socket(zmq.DEALER)
peer.linger = 0
peer.connect(os.environ["EVBUS_URL"] + "/hub")
for number in range(count + AHEAD):
    if number < count:
        request = ["fetch", number, 1, 0, 1000, ["nothing.here"], 1] if number % 2 else ["status", number]
        peer.send(msgpack.packb(request))
    if number < AHEAD:
        continue
    if not peer.poll(PATIENCE_MS):
        sys.exit(f"no reply to request {number - AHEAD}")
    word, answered, *results = msgpack.unpackb(peer.recv_multipart()[0])
    if word != "ok" or answered != number - AHEAD:
        sys.exit(f"{word} to request {answered} {results}, where that of {number - AHEAD} should be")
