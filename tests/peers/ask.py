"""Asks the hub: ask.py OP [ARGS [UNTIL]]: ARGS are JSON, without the brackets; says the reply as JSON, and how many
bytes of records came. With UNTIL it asks again until the reply has that text."""
import json
import os
import sys

import msgpack
import zmq

PATIENCE = 200  # times POLL_MS
POLL_MS = 100

peer = zmq.Context.instance().socket(zmq.DEALER)
peer.linger = 0
peer.connect(os.environ["EVBUS_URL"] + "/hub")
request = [sys.argv[1], 1, *json.loads("[" + "".join(sys.argv[2:3]) + "]")]
for _ in range(PATIENCE):
    peer.send(msgpack.packb(request))
    if not peer.poll(PATIENCE * POLL_MS):
        sys.exit("no answer")
    head, *body = peer.recv_multipart()
    word, _, *results = msgpack.unpackb(head)
    said = json.dumps([word, *results]) + "".join(f" +{len(data)}" for data in body)
    if len(sys.argv) < 4 or sys.argv[3] in said:
        print(said)
        break
    peer.poll(POLL_MS)  # nobody answers: it is the clock
else:
    sys.exit(f"still: {said}")
