"""What scripts/faults works with: a hub, those who use it, and a ledger of what they were told.

The ledger is the checker's own: it holds what evpub -p said is stored and what readers and members printed, as they said
it, and compares that in the end with the journal as a fresh evsub reads it.
"""
import bisect
import collections
import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

READY_S = 60  # who is not ready by then has failed
SETTLE_S = int(os.environ.get("FAULTS_SETTLE", 120))  # what is under way when the fault is over is done by then
FORMAT = r"%s %p\n"


class Broken(Exception):
    """The run cannot go on, or a promise is broken in a way that has no column; the text says which."""


@dataclasses.dataclass
class Count:
    """A row of the table."""
    fault: str
    times: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0  # more than once, where at-least-once says so
    disorder: int = 0
    stall: float = 0.0
    said: list = dataclasses.field(default_factory=list)

    def note(self, column, text):
        setattr(self, column, getattr(self, column) + 1)
        if len(self.said) < 20:
            self.said.append(f"{self.fault}: {column}: {text}")

    @property
    def broken(self):
        return self.lost or self.doubled or self.disorder


def ready(command, env, stderr, **more):
    """Starts a command with --ready-fd. The process, or None: it has ended before it was ready."""
    look, tell = os.pipe()
    process = subprocess.Popen([*command, "--ready-fd", str(tell)], env=env, pass_fds=[tell],
                               stdin=subprocess.DEVNULL, stderr=stderr, **more)
    os.close(tell)
    with os.fdopen(look, "rb") as pipe:
        watch = threading.Timer(READY_S, process.kill)
        watch.start()
        is_ready = pipe.read(1) == b"\n"
        watch.cancel()
    if is_ready:
        return process
    process.wait()
    return None


class Site:
    """A directory with a journal in it, and the hub that serves it."""

    def __init__(self, path, seed, url=None, hub_options=()):
        self.path = Path(path)
        self.path.mkdir(parents=True)
        self.keep = self.path / "keep"
        self.keep.mkdir()
        self.url = url or f"ipc://{self.path}/bus"
        self.client_url = self.url
        self.journal = self.path / "state" / "journal"
        self.journal.parent.mkdir()
        self.options = list(hub_options)
        self.chance = random.Random(seed)
        self.env = {**os.environ, "EVBUS_URL": self.client_url, "HOME": str(self.path),
                    "XDG_STATE_HOME": str(self.path / "home"), "XDG_RUNTIME_DIR": str(self.path)}
        self.said = open(self.path / "said", "ab")
        self.hub = None
        self.up = threading.Event()
        self.clients = []

    def shim(self, below, **settings):
        """The environment in which a program's files lie on a disk of the shim's."""
        return {"LD_PRELOAD": os.environ["FAULTS_SHIM"], "FAULTS_DIR": str(below), "FAULTS_KEEP": str(self.keep),
                **{f"FAULTS_{name.upper()}": str(value) for name, value in settings.items()}}

    def start_hub(self, env=None, must=True, prefix=()):
        command = ["evbusd", "-u", self.url, "-d", str(self.journal), *self.options]
        if prefix:
            command = [*prefix, *command]
        self.hub = ready(command, {**self.env, **(env or {})}, self.said, stdout=subprocess.DEVNULL)
        if self.hub:
            self.up.set()
        elif must:
            raise Broken(f"the hub does not start: {self.last_said()}")
        return self.hub

    def last_said(self):
        self.said.flush()
        lines = (self.path / "said").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])

    def kill_hub(self):
        self.up.clear()
        self.hub.kill()
        return self.hub.wait()

    def wait_hub(self, seconds):
        """Until the hub has ended by itself: its status, or None."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.hub.wait(seconds)
            self.up.clear()
            return status
        return None

    def run(self, *command, ok=(0,), timeout=SETTLE_S, **more):
        done = subprocess.run(command, env=self.env, capture_output=True, timeout=timeout, check=False, **more)
        if done.returncode not in ok:
            raise Broken(f"{' '.join(command)}: {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
        return done.stdout.decode(errors="replace")

    def close(self):
        for client in self.clients:
            client.stopping = True
            client.signal(signal.SIGKILL)
        self.up.set()
        if self.hub and self.hub.poll() is None:
            self.hub.kill()
            self.hub.wait()
        self.said.close()


class Client(threading.Thread):
    """A program that is started again, whenever it ends, until it is told to stop."""

    def __init__(self, site, name):
        super().__init__(daemon=True)
        self.site, self.name = site, name
        self.process = None
        self.starts = 0
        self.stopping = False
        self.fault = None

    def run(self):
        try:
            while not self.stopping:
                self.site.up.wait()
                if not self.stopping:
                    self.live()
        except Exception as error:  # said by whoever waits for this thread
            self.fault = error
            self.moved_on()

    def moved_on(self):
        """Wakes who waits for something of this client."""

    def begin(self, command, **more):
        self.starts += 1
        self.process = subprocess.Popen(command, env=self.site.env, stdout=subprocess.PIPE, stderr=self.site.said, **more)
        return self.process

    def lines(self):
        """The whole lines that the process prints; what a kill has cut off is none."""
        rest = b""
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            yield whole
        self.process.stdout.close()
        self.process.wait()

    def signal(self, number):
        process = self.process
        if process and process.poll() is None:
            process.send_signal(number)

    def done(self):
        self.stopping = True
        self.join(SETTLE_S)
        if self.is_alive() or self.fault:
            self.signal(signal.SIGKILL)
            raise Broken(f"{self.name}: {self.fault or 'it does not end'}")


class Publisher(Client):
    """Numbers its events NAME.1, NAME.2… and never sends one again: what evpub did not acknowledge when it ended may or
    may not be there. `ahead`: how many are under way at most."""

    def __init__(self, site, name, topic, ahead):
        super().__init__(site, name)
        self.topic, self.ahead = topic, ahead
        self.sent = 0
        self.acked = {}  # payload to seq
        self.doubt = set()
        self.begun = []  # how many were sent when each evpub began
        self.stall = 0.0
        self.moved = threading.Condition()
        self.paused = False

    def live(self):
        first = self.sent
        acked = 0
        self.begun.append(first)
        process = self.begin(["evpub", "-p", "--timeout", "0", self.topic], stdin=subprocess.PIPE)
        writer = threading.Thread(target=self.write, args=(process,), daemon=True)
        self.at = first
        writer.start()
        last = time.monotonic()
        for seqs in self.lines():
            now = time.monotonic()
            self.stall = max(self.stall, now - last)
            last = now
            with self.moved:
                for seq in seqs:
                    acked += 1
                    self.acked[self.payload(first + acked)] = int(seq)
                self.at = first + acked
                self.moved.notify_all()
        with self.moved:
            self.moved.notify_all()
        writer.join()
        self.doubt |= {self.payload(n) for n in range(first + acked + 1, self.sent + 1)}

    def payload(self, number):
        return f"{self.name}.{number}"

    def write(self, process):
        with contextlib.suppress(BrokenPipeError, ValueError):
            while process.poll() is None:
                with self.moved:
                    self.moved.wait_for(lambda: self.sent - self.at < self.ahead or self.stopping or
                                        process.poll() is not None, 0.5)
                    if self.stopping:
                        break
                    if self.sent - self.at >= self.ahead:
                        continue
                    self.sent += 1
                    line = self.payload(self.sent)
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()

    def moved_on(self):
        with self.moved:
            self.moved.notify_all()

    def wait_acked(self, more):
        """Until so many more were acknowledged."""
        with self.moved:
            goal = len(self.acked) + more
            if not self.moved.wait_for(lambda: len(self.acked) >= goal or self.fault, SETTLE_S):
                raise Broken(f"{self.name}: nothing was acknowledged for {SETTLE_S} s: {self.site.last_said()}")


class Reader(Client):
    """Reads from the first event on; with a cursor it goes on from there when it was killed."""

    def __init__(self, site, name, cursor):
        super().__init__(site, name)
        self.cursor = cursor
        self.runs = []  # of each start, (seq, payload) as printed
        self.grown = threading.Condition()

    def live(self):
        seen = []
        self.runs.append(seen)
        where = ["-c", str(self.site.path / f"{self.name}.cursor")] if self.cursor else []
        if not self.cursor and self.starts:
            raise Broken(f"{self.name}: a reader that nobody killed has ended: {self.site.last_said()}")
        self.begin(["evsub", "--timeout", "0", "--from", "first", *where, "-F", FORMAT, "f.#"])
        for whole in self.lines():
            with self.grown:
                seen += [(int(seq), payload) for seq, payload in (line.decode().split(" ") for line in whole)]
                self.grown.notify_all()

    def moved_on(self):
        with self.grown:
            self.grown.notify_all()

    def wait_seq(self, seq):
        with self.grown:
            if not self.grown.wait_for(lambda: any(run and run[-1][0] >= seq for run in self.runs[-2:]) or self.fault,
                                       SETTLE_S) or self.fault:
                raise Broken(f"{self.name}: does not get to seq {seq}: {[r[-1:] for r in self.runs[-3:]]}, "
                             f"{self.fault or 'and is still there'}")


class Member(Client):
    """A member of a group: prints events and acknowledges them."""

    def __init__(self, site, name, group):
        super().__init__(site, name)
        self.group = group
        self.seen = []

    def live(self):
        self.begin(["evsub", "-g", self.group, "--timeout", "0", "-F", FORMAT])
        for whole in self.lines():
            self.seen += [int(line.split(b" ")[0]) for line in whole]


class Mill:
    """Publishers, readers and members at work on a site."""

    def __init__(self, site, publishers=2, cursors=1, exact=1, members=2, ahead=64):
        self.site = site
        self.publishers = [Publisher(site, f"p{i}", f"f.{i}.x", ahead) for i in range(publishers)]
        self.cursors = [Reader(site, f"c{i}", True) for i in range(cursors)]
        self.exact = [Reader(site, f"r{i}", False) for i in range(exact)]
        self.members = [Member(site, f"m{i}", "g") for i in range(members)]
        if members:
            site.run("evsub", "-g", "g", "-n", "0", "--from", "first", "--ack-wait", "5", "--backoff", "0",
                     "--max-deliver", "1000000", "f.#")
        site.clients += self.clients()
        for client in self.clients():
            client.start()

    def clients(self):
        return [*self.publishers, *self.cursors, *self.exact, *self.members]

    def wait(self, more):
        """Until somebody's next events were acknowledged."""
        self.site.chance.choice(self.publishers).wait_acked(more)

    def warm(self):
        """Until publishers and readers have their connections."""
        for publisher in self.publishers:
            publisher.wait_acked(20)
        for reader in [*self.cursors, *self.exact]:
            reader.wait_seq(1)

    def finish(self, count):
        """Ends the work and compares what everybody was told. The hub is up."""
        for publisher in self.publishers:
            publisher.done()
        journal = self.journal()
        count.acknowledged += sum(len(p.acked) for p in self.publishers)
        count.stall = max([count.stall] + [p.stall for p in self.publishers])
        for publisher in self.publishers:
            self.check_publisher(count, publisher, journal)
        last = max(journal) if journal else 0
        for reader in [*self.cursors, *self.exact]:
            reader.wait_seq(last)
            reader.stopping = True
            reader.signal(signal.SIGTERM)
            reader.done()
            self.check_reader(count, reader, journal)
        if self.members:
            self.check_group(count, journal)
        return journal

    def journal(self):
        out = self.site.run("evsub", "--from", "first", "-e", "-F", FORMAT, "f.#")
        journal = {}
        for line in out.splitlines():
            seq, payload = line.split(" ")
            journal[int(seq)] = payload
        return journal

    def check_publisher(self, count, publisher, journal):
        mine = [(seq, payload) for seq, payload in journal.items() if payload.startswith(publisher.name + ".")]
        times = collections.Counter(payload for _, payload in mine)
        for payload, seq in publisher.acked.items():
            if journal.get(seq) != payload:
                count.note("lost", f"{payload}, acknowledged as seq {seq}, where {journal.get(seq)} is")
        for payload, n in times.items():
            if n > 1:
                count.note("doubled", f"{payload} is {n} times in the journal")
            if payload not in publisher.acked and payload not in publisher.doubt:
                count.note("lost", f"{payload} was never sent, and is in the journal")
        # What a killed evpub had sent may be stored behind what the next one sends, unless it was acknowledged.
        runs = collections.defaultdict(list)
        for _, payload in mine:
            number = int(payload.rsplit(".", 1)[1])
            runs[bisect.bisect_left(publisher.begun, number)].append(number)
            if payload in publisher.acked:
                runs[-1].append(number)
        for numbers in runs.values():
            for before, after in zip(numbers, numbers[1:]):
                if after < before:
                    count.note("disorder", f"{publisher.name}: {after} behind {before} in the journal")

    def check_reader(self, count, reader, journal):
        seqs = list(journal)
        place = {seq: i for i, seq in enumerate(seqs)}
        covered = -1
        for run in reader.runs:
            before = None
            for seq, payload in run:
                if journal.get(seq) != payload:
                    count.note("lost", f"{reader.name} saw {payload} as seq {seq}, where {journal.get(seq)} is")
                    continue
                here = place[seq]
                if before is not None and here <= before:
                    count.note("disorder", f"{reader.name}: seq {seq} behind {seqs[before]}")
                elif here > (covered if before is None else before) + 1:
                    count.note("lost", f"{reader.name} passed over {here - covered - 1} events before seq {seq}")
                if here <= covered:
                    count.again += 1
                before = here
                covered = max(covered, here)
        if covered + 1 < len(seqs):
            count.note("lost", f"{reader.name} ended before the end")
        if not reader.cursor and len(reader.runs) > 1:
            count.note("doubled", f"{reader.name} began anew")

    def check_group(self, count, journal):
        for member in self.members:
            member.stopping = True
            member.signal(signal.SIGTERM)
            member.done()
        rest = self.site.run("evsub", "-g", "g", "-e", "-F", FORMAT)
        times = collections.Counter(int(line.split(" ")[0]) for line in rest.splitlines())
        for member in self.members:
            times.update(member.seen)
        for seq in journal:
            if not times[seq]:
                count.note("lost", f"no member of the group saw seq {seq}")
        count.again += sum(n - 1 for n in times.values() if n > 1)
