"""A member of a group, from evbus-protocol(7) alone: member.py GROUP PATTERN... Does what stdin's lines say.

  take N [WAIT]   prints up to N events, a line each: KEY DELIVERIES TOPIC PAYLOAD; waits up to WAIT s for the first
  hold N          takes N events and prints nothing
  ack KEY...      acknowledges them
  nack KEY SEC REASON, reject KEY REASON
  report RUNS FAILURES [ERROR]   says so in a hello
  crash           drops its connections without a word
  quit            leaves; so does the end of stdin
MEMBER_SETTINGS in the environment, a JSON object, are the settings with which it joins.
Answers each line with its output and then "ok", or "error CODE".
"""
import json
import os
import secrets
import sys
import time

import msgpack
import zmq

RECORD_HEADER, PATIENCE_MS = 40, 20_000


class Member:
    def __init__(self, group, patterns):
        context = zmq.Context.instance()
        url = os.environ["EVBUS_URL"]
        self.group, self.token, self.calls = group, secrets.token_hex(16), 0
        self.feed = context.socket(zmq.SUB)
        self.feed.connect(url + "/feed")
        self.feed.subscribe(b"$hub.welcome." + self.token.encode() + b"\0")
        self.requests = context.socket(zmq.DEALER)
        self.requests.connect(url + "/hub")
        if not self.feed.poll(PATIENCE_MS):
            raise TimeoutError("no welcome")
        self.feed.recv()
        self.id = secrets.token_hex(16)
        settings = json.loads(os.environ.get("MEMBER_SETTINGS", "{}"))
        self.call("group.join", self.token, patterns or None, settings, None)

    def call(self, op, *args):
        return self.request(op, self.group, *args)

    def request(self, op, *args):
        self.calls += 1
        self.requests.send(msgpack.packb([op, self.calls, *args]))
        if not self.requests.poll(PATIENCE_MS):
            raise TimeoutError(op)
        head, *body = self.requests.recv_multipart()
        word, call, *results = msgpack.unpackb(head)
        assert call == self.calls
        if word != "ok":
            raise RuntimeError(results[0] + ": " + results[1])
        return results, body[0] if body else b""

    def take(self, count, wait):
        rows, records = self.ask(count)
        end = time.monotonic() + float(wait)
        while not rows and self.feed.poll(max(0, int((end - time.monotonic()) * 1000))):
            self.feed.recv()  # a call: there may be something now
            rows, records = self.ask(count)
        for key, events, deliveries, _ in rows:
            size = RECORD_HEADER + int.from_bytes(records[8:12], "big")
            topic, batch = records[RECORD_HEADER:size].split(b"\0", 1)
            fields = msgpack.unpackb(batch)
            for i, event in enumerate(fields[9]):
                payload = event if isinstance(event, bytes) else event[0]
                print(key + i, deliveries, topic.decode(), payload.decode())
            assert len(fields[9]) == events
            records = records[size:]

    def hold(self, count):
        while count > 0:
            rows, _ = self.ask(count)
            count -= sum(events for _, events, *_ in rows)

    def ask(self, count):
        while True:
            (more, *_, rows), records = self.call("group", self.token, [], [], int(count), 1 << 20, None)
            if rows or not more:
                return rows, records

    def tell(self, acks, fails):
        self.call("group", self.token, [[key, key] for key in acks], fails, 0, 0, None)

    def report(self, runs, failures, error):
        said = {"kind": "evlisten", "group": self.group, "runs": int(runs), "failures": int(failures)}
        if error:
            said |= {"last_error": error, "last_error_ns": time.time_ns()}
        self.request("hello", self.id, self.token, said)

    def run(self, line):
        word, *args = line.split()
        if word == "take":
            self.take(args[0], args[1] if len(args) > 1 else 0)
        elif word == "hold":
            self.hold(int(args[0]))
        elif word == "ack":
            self.tell([int(key) for key in args], [])
        elif word == "nack":
            self.tell([], [[int(args[0]), int(float(args[1]) * 1e9), " ".join(args[2:]), False]])
        elif word == "reject":
            self.tell([], [[int(args[0]), None, " ".join(args[1:]), True]])
        elif word == "report":
            self.report(args[0], args[1], " ".join(args[2:]))
        elif word == "crash":
            os._exit(0)
        elif word == "quit":
            self.call("group.leave", self.token, [], [])


def main():
    member = Member(sys.argv[1], sys.argv[2:])
    print("ok", flush=True)
    for line in sys.stdin:
        try:
            member.run(line)
            print("ok", flush=True)
        except RuntimeError as error:
            print("error", error, flush=True)
        if line.startswith("quit"):
            return
    member.run("quit")


main()
