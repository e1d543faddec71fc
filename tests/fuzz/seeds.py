"""First inputs for the fuzz targets: seeds.py DIR makes DIR/TARGET/first-*.

Some are made here, in the targets' own forms (see each fuzz_TARGET.c); what programs write (exports, groups.log,
scheduled.log) comes from a hub that evbusd, evpub and evsub on PATH run. What fuzzing has found since is kept beside
them; this is for a target whose form has changed.
"""
import os
import struct
import subprocess
import sys
import tempfile

import msgpack

PRODUCER = b"0123456789abcdef"
NOW = 1795341600 * 10**9


def batch(topic, events, number=1, seq=0, producer=PRODUCER, flags=0, version=0):
    fields = b"".join(b"\xcf" + struct.pack(">Q", n) for n in (seq, 0, version, NOW if seq else 0, 0))
    head = b"\x9a\x01" + bytes([flags]) + fields + b"\xc4\x10" + producer + b"\xcf" + struct.pack(">Q", number)
    body = topic + b"\0" + head + b"\xdd" + struct.pack(">I", len(events)) + b"".join(
        msgpack.packb(e, use_bin_type=True) for e in events)
    return body


def record(topic, events, number=1, seq=0, **more):
    body = batch(topic, events, number, seq, **more)
    return b"EVBJ\x01" + bytes([len(topic), 0, 0]) + struct.pack(
        ">IIQQQ", len(body), len(events), seq, NOW if seq else 0, 0) + body


def piece(data):
    return struct.pack(">H", len(data)) + data


EVENTS = [b"payload", [b"x", {"kind": "a"}, "id-1"], [b"", None, None, 5]]


# ---- a request or more, as fuzz_request takes them ----

def ask(op, *args, body=b"", more=False):
    how = (0x10 if body else 0) | (0x20 if more else 0)
    return bytes([how]) + (piece(body) if body else b"") + msgpack.packb([op, 9, *args], use_bin_type=True)


def wait(step):
    return b"\x02" + bytes([step])


BEGIN_ANEW, LEAVE = b"\x06", b"\x04\0"
JOIN = ask("group.join", "g", "tok", ["t.#"], {"ack_wait": 10**8, "max_deliver": 2, "max_pending": 5, "backoff": [0]}, 1)
THREE = ask("pub", 0, body=record(b"t.1", [b"a", b"b", b"c"]))
TAKE = ask("group", "g", "tok", [], [], 5, 10000, None)


def requests():
    second = b"fedcba9876543210"
    yield THREE + ask("pub", 1, body=record(b"t.2", EVENTS, 2) + record(b"t.2", EVENTS, 3)) + BEGIN_ANEW + ask(
        "pub", 1, body=record(b"t.2", EVENTS, 3))
    yield ask("pub", 0, 0, body=record(b"t.1", [b"a"])) + ask("pub", 1, 1, body=record(b"t.1", EVENTS, 2))
    yield THREE + ask("fetch", 1, 0, 1000, ["t.#"], 0) + ask("fetch", 2, 2, 1, [], 1) + ask("status") + ask("clients")
    yield THREE + ask("seek", NOW) + ask("producer", PRODUCER) + ask("topics", "", 10, ["t.*"]) + ask("topics", "t.1", 1, [])
    yield THREE + ask("trim", 2) + ask("fetch", 1, 0, 10, [], 0) + ask("purge", ["t.1"]) + wait(27) + THREE
    yield THREE + JOIN + TAKE + ask("group", "g", "tok", [[1, 1]], [[2, None, "why", False]], 5, 1000, 5) + wait(10) + TAKE
    yield THREE + JOIN + TAKE + ask("group", "g", "tok", [], [[1, 0, "why", True, 5, 6, 1, b"out"]], 5, 1000) + ask(
        "dead", "g", 0, 10) + ask("dead.retry", "g", None) + ask("dead.edit", "g", 1, body=record(b"$retry.g", [b"n"]))
    yield THREE + JOIN + TAKE + ask("group", "g", "tok", [], [[1, 0, "why", True]], 0, 0) + ask("dead.drop", "g", [1]) + LEAVE
    yield THREE + JOIN + TAKE + BEGIN_ANEW + ask("group.join", "g", "tok2", None, None, None, [[1, 2]], "tok") + ask("groups")
    yield JOIN + ask("group.pause", "g", True) + ask("group.busy", "g", "tok") + ask("group.reset", "g", 1) + ask(
        "group.replay", "g", 1, 3, 0, False) + ask("group.leave", "g", "tok", [], []) + ask("group.delete", "g")
    yield ask("hello", "me", "tok", {"kind": "x", "group": "g", "patterns": ["t.#"], "position": 3, "runs": 1,
                                     "failures": 1, "last_error": "e", "last_error_ns": 5}) + ask("clients")
    serve = ask("serve", "tok", "do.it", False, 7, 2, None, [])
    call = ask("call", 10**9, False, body=record(b"do.it", [[b"x", None, "i"]]))
    take = ask("serve.take", "tok", 0, 0, True, "", 0, "")
    yield serve + take + call + ask("serve.take", "tok", 0, 1, False, "done", 3, "", body=b"yes") + call
    yield serve + call + take + LEAVE + call + wait(12) + ask("serve.stop", "tok") + BEGIN_ANEW + call
    yield serve + ask("serve", "tok2", "do.it", True, 8, 1, None, []) + call + take + ask(
        "serve.take", "tok", 0, 1, False, "refused", 0, "no") + LEAVE
    later = ask("schedule", NOW + 10**9, 0, body=record(b"t.1", EVENTS))
    yield later + ask("scheduled", 0, 0, 10, []) + wait(11) + BEGIN_ANEW + wait(11)
    yield later + ask("schedule", NOW + 5 * 10**9, 1, body=record(b"t.2", [b"z"], 2)) + ask("schedule.cancel", [1, 4]) + BEGIN_ANEW
    yield later + wait(20) + ask("schedule", 0, 0, body=record(b"t.1", [b"q"], 1, producer=second)) + BEGIN_ANEW
    yield ask("pub", 0, body=record(b"live.x", [b"a"], flags=1)) + ask("pub", 0, body=record(b"old.x", [b"a"])) + wait(27) + wait(27)


# ---- what a hub says, as fake_link.c takes it ----

def client(which, *parts):
    return bytes([which]) + b"".join(parts)


def answer(*results):
    return b"\0" + bytes([len(results)]) + piece(b"".join(msgpack.packb(r, use_bin_type=True) for r in results))


def records(data, *results):
    return b"\x01" + answer(*results)[1:] + piece(data)


def error(code, text="why", *more):
    return b"\x02" + answer(code, text, *more)[1:]


def frame(data):
    return b"\x04" + piece(data)


def welcome(seq):
    return b"\x05" + bytes([seq, 0])


STATUS = {"first": 1, "head": 6, "max_payload": 1000, "pid": 7, "time": NOW, "bytes": 5, "version": "1", "sync": "always"}
STORED = record(b"a.1", EVENTS, 1, 1, version=1) + record(b"b", EVENTS, 2, 4, version=1)


def clients():
    options = lambda how, start=1: bytes([how, start, 1])
    yield client(0, options(0), answer(STATUS), records(STORED, 7, 6, 1), welcome(7), frame(batch(b"a.1", EVENTS, 3, 7)),
                 b"\x06\x09\0", records(STORED, 9, 8, 1))
    yield client(0, options(0, 0), welcome(3), frame(batch(b"b", EVENTS, 3, 3)), frame(batch(b"b", EVENTS, 4, 9)),
                 records(record(b"b", EVENTS, 5, 6), 9, 11, 1), frame(batch(b"l", EVENTS, 1, 0, flags=1, version=1)))
    yield client(0, options(4, 6), answer(STATUS), answer([["a.1", 3, 3], ["b", 6, 3]], "", ), records(STORED, 7, 6, 1))
    yield client(0, options(2, 5), answer(STATUS), answer([["a.1", 3, 3]], None), records(STORED, 7, 6, 1), b"\x08")
    yield client(0, options(64), welcome(3), answer({"position": 1}, 6), records(STORED, [[1, 6, 1]], 6), answer(), answer())
    yield client(0, options(32), answer(STATUS), error("gone", "gone", 3), records(STORED, 7, 6, 1))
    yield client(1, b"\0", answer([[1, 1, 1]]), answer([[2, 1, 2]]), b"\x08", answer([[3, 1, 3, 1, [[0, 1]]]]), error("store"))
    yield client(1, b"\x02", answer([[1, 1, 1, 1]]), error("version", "no", 5))
    yield client(2, records(b"yes", "done", 3, 5), error("unknown"), records(b"no", "refused", "why", 5), b"\x08")
    yield client(3, b"\0", welcome(3), answer(True, 1000), records(record(b"$cmd.do.it.asked", EVENTS[:1], 1, 5), 5), answer(None))
    yield client(4, answer(STATUS), answer([["a.1", 3, 3, 100, NOW]], ""), answer([{"name": "g", "members": 1, "lag": 2}]),
                 answer([{"id": "x", "kind": "evsub", "pid": 7, "uid": 0, "patterns": ["#"], "position": 5}]))
    yield client(5, answer(STATUS), answer(5), records(STORED, 7, 6, 1), answer([]), answer(3), error("usage"))


# ---- files ----

def journals():
    good, lie, seg = b"\0", b"\x01", b"\x04\0"
    yield b"".join(good + bytes([n]) for n in range(12))
    yield (good + b"\x05") * 5 + seg + (good + b"\x06") * 5 + seg + good + b"\x09" + b"\x02" + piece(b"EVBJ\x01torn")
    yield good + b"\x05" + b"\x02" + piece(b"bad") + good + b"\x07" + seg + good + b"\x02"
    yield good + b"\x05" + lie + b"\x45\x81\x05\x05" + good + b"\x06"
    yield good + b"\x05" + b"\x03" + piece(record(b"a.1", EVENTS, 1, 3, version=2)) + seg + good
    yield good * 3 + b"\x05" + piece(struct.pack(">Q", 3)) + b"T" + b"\x05" + piece(struct.pack(">Q", 3) + b"a.1") + b"P" + good * 4
    yield good * 9 + b"\x06\x01\x01\0\x01\x03\x50\x05" + seg + good * 3


def catalogs():
    row = lambda table, key, value: bytes([table]) + piece(key) + piece(value)
    nums = lambda *n: struct.pack(">%dQ" % len(n), *n)
    yield row(1, b"\0", nums(5, 3, 2, 100, NOW)) + row(1, b"a.b", nums(6, 1, 1, 9)) + row(6, b"t.1\0" + nums(5), b"")
    yield row(2, b"\1", nums(7, NOW) + nums(1, 1, 8, 7)) + row(3, b"\2", nums(7, NOW)) + row(0, b"\1", nums(1))
    yield row(4, b"\3", nums(5, NOW, 1)) + row(5, b"\1", nums(5, NOW, 2)) + row(0, b"\3", nums(2)) + row(2, b"\1", b"short")


TEXTS = {
    "words": [b"\0" + t for t in (b"2026-11-23T10:00:05.25+01:00", b"yesterday 10:30", b"1h30m ago", b"@17.5", b"-12", b"last")]
    + [b"\1" + t for t in (b"18446744073709551615", b"1.5GiB", b"1h30m2.5s", b"007")]
    + [b"\2" + t for t in (b"ipc:///run/evbus", b"tcp://[::1]:5000", b"tcp://localhost:65534")]
    + [b"\3" + t for t in (b"123\n", b"x")] + [b"\4" + t for t in (b"a 'b c' \"d\\\"e\" f\\ g", b"ls | wc", b"# no")]
    + [b"\5" + t for t in (b"12\n10\n3", b"12\n\n", b"\nabc\n40")],
    "config": [b"sync = 100\nretain = 1G\nretain = 7d\nsegment = 1M\nlive = a.#\n[retain \"log.#\"]\nage = 1h\n[live \"x.*\"]\n",
               b"; comment\nmax-payload=64K\nid-window = 5m\nid-max = 10\nmemory = yes\n", b"[retain \"a\"] ; x\nage 5\n"],
    "listeners": [b"[listener a]\non = order.paid, order.*\nrun = /bin/true 'a b'\njobs = 4\ntimeout = 30s\nretry = 5\nbackoff = 1s, 5s\n",
                  b"# c\n[listener b.c]\non = a\n    b.#\nshell = cat |\n   wc\nenv = A=b\nfrom = 10m\nbatch = 5\npublish = x.y\n",
                  b"[expect backup]\ntopic = job.#\nevery = 25h\nrun = x\ncwd = /\nuser = root\n", b"[listener j]\non = a\nrun = x\nwhen = .seq\n"],
    "json": [b'{"seq":7,"version":1,"time":"2026-11-23T10:00:00.123456789Z","topic":"order.1","id":"i","headers":{"k":"v"},"payload":"t\\u0000\\ud83d\\ude00"}',
             b'{"topic":"a","payload_base64":"/wD+"}', b'{"topic":"a.b","live":true,"payload":"{\\"sum\\":3}","x":[1,{"y":null}]}'],
    "state": [b'{"evfold":1,"position":5,"events":4,"last":{"seq":4,"time":"2026-11-23T10:00:00Z","id":"x"},"patterns":["a.#"],"expression":". + 1","init":0,"state":{"a":[1,2]},"xxh3":"0123456789abcdef"}',
              b'{"evfold":1,"position":5,"events":0,"last":null,"patterns":["a.#"],"expression":". + 1","init":0,"state":7}'],
    "topic": [piece(b"a.*") + piece(b"a.#") + piece(b"*.b") + piece(b"a.b"), piece(b"#") + piece(b"a.b.c") + piece(b"a.*.c") + piece(b"a.b.c"),
              piece(b"$x.*") + piece("\u00e9.#".encode()) + piece(b"*.*.#") + piece("\u00e9.\U0001f600.c".encode())],
    "format": [piece(b"%t %s %v %T %i %p %h{kind}%n%%\\n\\t\\0\\\\") + piece(b"k") + piece(b"payload") + struct.pack(">Q", NOW)
               + b"$event.data.x + ($event | .seq) + \"\\($event.topic)\" # $event",
               piece(b"%h{k}") + piece(b"k") + piece(b"") + bytes(8) + b".data.total > 0 and .headers[\"x\"] == \"y\"",
               piece(b"%h{") + piece(b"k") + piece(b"") + bytes(8) + b".topic | ltrimstr(\"a\") | . as $x | $x"],
    "record": [b"\1\1" + record(b"t.1", EVENTS, 1, 5), b"\0\2" + record(b"a", [b"x" * 300] * 3), b"\0\0" + batch(b"t", EVENTS)],
}


# ---- what programs write ----

def frames(path):
    """The bodies of a log's frames, as fuzz_groups and fuzz_scheduled take them."""
    with open(path, "rb") as file:
        data = file.read()
    out, at = b"", 0
    while at < len(data):
        size = struct.unpack(">I", data[at + 4:at + 8])[0]
        out += b"\0" + piece(data[at + 16:at + 16 + size])
        at += 16 + size
    return b"\x06" + out


def from_programs():
    with tempfile.TemporaryDirectory() as work:
        os.environ["EVBUS_URL"] = "ipc://" + work + "/bus"
        ready, told = os.pipe()
        hub = subprocess.Popen(["evbusd", "-d", work + "/journal", "--ready-fd", str(told)], pass_fds=[told], stderr=subprocess.DEVNULL)
        os.close(told)
        os.read(ready, 1)
        run = lambda *command, **more: subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more)
        for n in range(3):
            run("evpub", "-H", "kind=a", "t.%d" % n, "payload %d" % n)
        run("evpub", "--in", "1h", "t.9", "later")
        run("evpub", "-T", "--in", "2h", input=b"t.1\ta\nt.2\tb\n")
        run("evsub", "-g", "g", "--from", "first", "-n", "2", "t.#")
        run("evsub", "-g", "h", "--from", "first", "-W", "1", "t.#", "--", "false")
        export = run("evctl", "export").stdout
        hub.terminate()
        hub.wait()
        yield "export", b"\0" + export
        yield "export", b"\7" + export
        yield "groups", frames(work + "/journal/groups.log")
        yield "scheduled", frames(work + "/journal/scheduled.log")


def main():
    made = [(target, text) for target, texts in TEXTS.items() for text in texts]
    for target, make in ("request", requests), ("client", clients), ("journal", journals), ("catalog", catalogs):
        made += [(target, data) for data in make()]
    made += from_programs()
    counts = {}
    for target, data in made:
        counts[target] = counts.get(target, 0) + 1
        directory = os.path.join(sys.argv[1], target)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "first-%02d" % counts[target]), "wb") as file:
            file.write(data)


main()
