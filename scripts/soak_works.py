"""soak_works: what scripts/soak has going on at one hub, and the account that each work keeps of it."""
import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
BIN, STREAM = BUILD / "bin", BUILD / "soak/stream"
OUT = Path(os.environ.get("SOAK_OUT") or BUILD / "soak").resolve()
PATIENCE_S = 120  # for one program to become ready, to end, or to have read all
LINE = 100  # bytes of a payload
TOPICS = 20000  # the pool that the topics of the main stream come from and return to
CHURN_NAMES = 50  # of groups that come and go


def say(text):
    print(f"soak: {text}", file=sys.stderr, flush=True)


# ---- processes ----


def start(argv, **options):
    return subprocess.Popen([str(arg) for arg in argv], start_new_session=True, **options)


def start_ready(argv, **options):
    """Starts a program that has --ready-fd, and returns when it is ready."""
    mine, its = os.pipe()
    child = start([*argv[:1], "--ready-fd", its, *argv[1:]], pass_fds=[its], **options)
    os.close(its)
    try:
        if not select.select([mine], [], [], PATIENCE_S)[0] or not os.read(mine, 1):
            raise RuntimeError(f"{' '.join(map(str, argv))}: is not ready")
    finally:
        os.close(mine)
    return child


def end(child, number=signal.SIGTERM):
    """Ends it, and returns its status."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)
    try:
        return child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def status_kib(pid, *names):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return [int(found[name]) for name in names]


# ---- the account ----


class Account:
    """What was checked, and what went wrong on the way. Threads share it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.counts, self.checks = {}, {}, []

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def fault(self, work, text):
        with self.lock:
            self.faults.setdefault(work, []).append(text)
        say(f"{work}: {text}")

    def check(self, what, good, detail):
        self.checks.append((what, bool(good), detail))
        if not good:
            say(f"failed: {what}: {detail}")


class Hub:
    """The hub, on a journal and sockets of its own."""

    def __init__(self, work, sockets, name, retain, segment):
        self.journal, self.url = work / name, f"ipc://{sockets}/{name}"
        self.log = open(work / f"{name}.log", "ab")
        config = work / f"{name}.ini"
        config.write_text('id-window = 1m\n[retain "soak.short.#"]\nage = 15s\n[live "soak.live.#"]\n')
        argv = [BIN / "evbusd", "-u", self.url, "-d", self.journal, "-c", config]
        self.child = start_ready([*argv, "--retain", retain, "--segment", segment], stdout=self.log, stderr=self.log)

    def argv(self, program, *args):
        return [BIN / program, "-u", self.url, *args]

    def files(self):
        """(name, bytes, bytes on disk) of the journal's files."""
        for entry in os.scandir(self.journal):
            with contextlib.suppress(FileNotFoundError):  # a segment that goes just now
                stat = entry.stat()
                yield entry.name, stat.st_size, stat.st_blocks * 512


# ---- streams, through tests/soak/stream.c ----


class Reader:
    """An evsub whose lines a `stream check` takes account of."""

    def __init__(self, hub, every, *args):
        self.rows, self.args = [], args
        self.checker = start([STREAM, "check", every], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()
        self.sub = None
        if args:
            self.sub = start_ready(hub.argv("evsub", *args), stdout=self.checker.stdin)
            self.checker.stdin.close()

    def follow(self):
        for line in self.checker.stdout:
            self.rows.append([None if word == "-" else int(word) for word in line.split()])

    def last(self):
        """seen, next, lost, doubled, p50, p99, most."""
        return self.rows[-1] if self.rows else [0, 0, 0, 0, None, None, None]

    def end(self):
        if self.sub:
            end(self.sub)
        else:
            self.checker.stdin.close()
        self.checker.wait(PATIENCE_S)
        self.thread.join(PATIENCE_S)


class Stream:
    """A `stream make` into an evpub."""

    def __init__(self, hub, prefix, rate, topics, *args):
        argv = [STREAM, "make", prefix, rate, LINE, topics]
        self.maker = start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pub = start(hub.argv("evpub", *args, "-T"), stdin=self.maker.stdout)
        self.maker.stdout.close()
        self.made = self.status = None

    def end(self):
        """Returns how many events were acknowledged, and evpub's status."""
        self.maker.terminate()
        self.made = int(self.maker.stderr.read() or 0)
        self.maker.wait(PATIENCE_S)
        self.status = self.pub.wait(PATIENCE_S)
        return self.made, self.status


def wait_for(holds, limit_s=PATIENCE_S):
    """Looks ten times a second until it holds; whether it did."""
    pause, deadline = threading.Event(), time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.1)
    return True


# ---- the works ----


class Work:
    """Something that is done again and again until the end, in a thread of its own."""

    every = 1.0  # seconds

    def __init__(self, soak):
        self.soak, self.hub, self.account = soak, soak.hub, soak.account
        self.name = type(self).__name__
        self.random = random.Random(self.name)
        self.thread = threading.Thread(target=self.loop, name=self.name)

    def loop(self):
        turn = 0
        while not self.soak.over.wait(self.every):
            try:
                self.turn(turn)
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                self.account.fault(self.name, f"turn {turn}: {error}")
            turn += 1
        self.account.count(f"{self.name} turns", turn)

    def run(self, program, *args, ok=(0,), **options):
        """Runs a program to its end; its stdout. Another status than ok is a fault."""
        argv = [str(arg) for arg in self.hub.argv(program, *args)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)
        if done.returncode not in ok:
            self.account.fault(self.name, f"{program} {' '.join(argv[3:])}: {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def turn(self, number):
        raise NotImplementedError

    def finish(self):
        """After the last turn, when no stream sends any more."""


class Seen:
    """How often each number has come, from the lines of any number of readers."""

    def __init__(self):
        self.lock, self.times = threading.Lock(), bytearray()

    def take(self, number):
        with self.lock:
            if number >= len(self.times):
                self.times.extend(bytes(number + 1024 - len(self.times)))
            self.times[number] = min(255, self.times[number] + 1)

    def follow(self, pipe):
        """Takes the numbers that lines begin with; a line that a killed reader has cut off is none."""
        for line in pipe:
            if line.endswith("\n"):
                self.take(int(line.split(maxsplit=1)[0]))

    def compare(self, wanted):
        """How many of 0 to wanted - 1 have not come, and how many came more often than once."""
        times = self.times[:wanted].ljust(wanted, b"\0")
        return times.count(0), wanted - times.count(0) - times.count(1) + len(self.times[wanted:].rstrip(b"\0"))


class Members(Work):
    """A group whose members are replaced one by one; in the end all its events were handed out."""

    every = 4.0
    ending = signal.SIGTERM
    count = 2

    def __init__(self, soak):
        super().__init__(soak)
        self.seen, self.members = Seen(), []
        self.run("evsub", "-g", self.name, "-n", 0, "soak.work.#")

    def join(self):
        member = start(self.hub.argv("evsub", "-g", self.name), stdout=subprocess.PIPE, text=True)
        reading = threading.Thread(target=self.seen.follow, args=[member.stdout], daemon=True)
        reading.start()
        self.members.append((member, reading))

    def leave(self):
        member, reading = self.members.pop(0)
        end(member, self.ending)
        reading.join(PATIENCE_S)
        member.stdout.close()

    def turn(self, number):
        self.join()
        if len(self.members) > self.count:
            self.leave()

    def finish(self):
        while self.members:
            self.leave()
        rest = self.run("evsub", "-g", self.name, "-e")
        self.seen.follow(rest.splitlines(keepends=True))
        missing, doubled = self.seen.compare(self.soak.streams["work"].made)
        good = missing == 0 and (doubled == 0 or self.ending == signal.SIGKILL)
        detail = f"{self.soak.streams['work'].made} events; {missing} missing, {doubled} doubled"
        self.account.check(f"group {self.name}: every event was handed out{self.promise}", good, detail)

    promise = ", once (members end by SIGTERM)"


class KilledMembers(Members):
    ending = signal.SIGKILL
    promise = " (members are killed: some come again)"


class CursorRuns(Work):
    """A reader that comes every few seconds, and goes on where it was."""

    every = 5.0

    def __init__(self, soak):
        super().__init__(soak)
        self.reader = Reader(self.hub, soak.every)
        self.args = ["-c", soak.work / "cursor", "-e", "soak.work.#"]
        self.run("evsub", *self.args[:2], "--from", "now", "-n", 0)

    def turn(self, number):
        status = start(self.hub.argv("evsub", *self.args), stdout=self.reader.checker.stdin).wait(PATIENCE_S)
        if status:
            self.account.fault(self.name, f"evsub ended with {status}")

    def finish(self):
        self.turn(-1)
        self.reader.end()
        self.soak.check_reader("runs of evsub -c, one after the other", self.reader, "work")


class StoppedReader(Work):
    """A reader that is stopped now and then, and misses nothing."""

    every = 5.0

    def __init__(self, soak):
        super().__init__(soak)
        self.reader = Reader(self.hub, soak.every, "soak.work.#")

    def turn(self, number):
        self.reader.sub.send_signal(signal.SIGCONT if number % 4 == 1 else signal.SIGSTOP if number % 4 == 0 else 0)

    def finish(self):
        self.reader.sub.send_signal(signal.SIGCONT)
        self.soak.finish_reader("a reader that is stopped now and then", self.reader, "work")


class Commands(Work):
    """A command every turn; its handlers take turns too, one standing by."""

    every = 0.5

    def __init__(self, soak):
        super().__init__(soak)
        self.wrong = 0
        self.handlers = [self.serve()]
        self.handlers.append(self.serve())

    def serve(self):
        line = "read -r n; echo $((2 * n))"
        return start(self.hub.argv("evcmd", "--serve", "soak.double", "--standby", "--shell", line))

    def turn(self, number):
        if self.run("evcmd", "--timeout", PATIENCE_S, "soak.double", number).strip() != str(2 * number):
            self.wrong += 1
        if number % 20 == 19:
            end(self.handlers.pop(0))
            self.handlers.append(self.serve())

    def finish(self):
        for handler in self.handlers:
            end(handler)
        asked = self.account.counts.get("Commands turns", 0)
        self.account.check(
            "every command was answered", asked and not self.wrong, f"{asked} asked, {self.wrong} wrong"
        )


class Scheduled(Work):
    """Events for later, and some that are cancelled."""

    every = 0.5

    def __init__(self, soak):
        super().__init__(soak)
        self.seen, self.made, self.cancelled = Seen(), 0, 0
        self.reader = start_ready(self.hub.argv("evsub", "soak.later"), stdout=subprocess.PIPE, text=True)
        self.reading = threading.Thread(target=self.seen.follow, args=[self.reader.stdout], daemon=True)
        self.reading.start()

    def turn(self, number):
        self.run("evpub", "--in", self.random.choice(["0.2", "2", "10"]), "soak.later", self.made)
        self.made += 1
        if number % 4 == 0:
            seq = self.run("evpub", "-p", "--in", "1h", "soak.later", 10**9).strip()
            self.run("evctl", "scheduled", "cancel", seq)
            self.cancelled += 1

    def finish(self):
        wait_for(lambda: self.seen.compare(self.made)[0] == 0)
        left = self.run("evctl", "scheduled", "list", "-J")
        end(self.reader)
        self.reading.join(PATIENCE_S)
        missing, doubled = self.seen.compare(self.made)
        detail = f"{self.made} events, {missing} missing, {doubled} doubled; {self.cancelled} others cancelled"
        self.account.check("every scheduled event came, once", missing == doubled == 0 and not left, detail)


class Clients(Work):
    """Programs that come, do one thing and go; some are killed."""

    every = 0.2

    def __init__(self, soak):
        super().__init__(soak)
        self.seen, self.made = Seen(), 0
        self.reader = start_ready(self.hub.argv("evsub", "soak.once.#"), stdout=subprocess.PIPE, text=True)
        self.reading = threading.Thread(target=self.seen.follow, args=[self.reader.stdout], daemon=True)
        self.reading.start()
        self.kinds = [self.publish, self.publish, self.look, self.replay, self.listen, self.fold]

    def turn(self, number):
        self.random.choice(self.kinds)()

    def publish(self):
        ids = self.random.choice([[], ["--id", f"once-{self.made}"], ["-H", "from=soak"]])
        topic = f"soak.once.{self.random.randrange(1000)}"
        for _ in range(2 if ids[:1] == ["--id"] else 1):
            self.run("evpub", *ids, topic, self.made)
        self.made += 1

    def look(self):
        what = self.random.choice([["status", "-J"], ["groups"], ["clients"], ["metrics"], ["topics", "soak.once.*"]])
        self.run("evctl", *what)

    def replay(self):
        self.run("evsub", "--from", "-100", "-e", self.random.choice(["soak.main.#", "soak.once.#", "#"]))

    def fold(self):
        self.run("evfold", "--from", "-100", "-e", "soak.once.#", ". + 1")

    def listen(self):
        client = start_ready(
            self.hub.argv("evsub", f"soak.main.{self.random.randrange(TOPICS)}", "soak.once.#"),
            stdout=subprocess.DEVNULL,
        )
        self.soak.over.wait(self.random.random())
        end(client, self.random.choice([signal.SIGTERM, signal.SIGKILL]))

    def finish(self):
        wait_for(lambda: self.seen.compare(self.made)[0] == 0)
        end(self.reader)
        self.reading.join(PATIENCE_S)
        missing, doubled = self.seen.compare(self.made)
        detail = f"{self.made} runs of evpub; {missing} missing, {doubled} doubled"
        self.account.check("what single runs of evpub stored came, once", missing == doubled == 0, detail)


class Groups(Work):
    """Groups that are made, worked off, failed at and deleted."""

    every = 2.0

    def turn(self, number):
        name = f"churn-{number % CHURN_NAMES}"
        self.run("evsub", "-g", name, "-n", 0, "--max-deliver", 1, "soak.failing", "soak.once.#")
        for i in range(3):
            self.run("evpub", "soak.failing", f"{number} {i}")
        self.run("evsub", "-g", name, "-e", "--", "sh", "-c", 'read -r a i; [ "$i" != 1 ]')
        if '"dead":1' not in self.run("evctl", "groups", "-J").replace(" ", ""):
            self.account.fault(self.name, f"{name}: no dead letter")
        self.run("evctl", "dead", "drop", name)
        self.run("evctl", "group", name, "delete")


class Purging(Work):
    """Topics that are purged, and events that go by age."""

    every = 5.0

    def turn(self, number):
        name = number % CHURN_NAMES
        lines = "".join(f"soak.short.{name}.{i}\t{number}\nsoak.purge.{name}.{i}\t{number}\n" for i in range(100))
        self.run("evpub", "-T", input=lines)
        self.run("evctl", "purge", f"soak.purge.{name}.#")
        if self.run("evsub", "--from", "first", "-e", f"soak.purge.{name}.#"):
            self.account.fault(self.name, f"soak.purge.{name}.# is still there")


WORKS = [Members, KilledMembers, CursorRuns, StoppedReader, Commands, Scheduled, Clients, Groups, Purging]
