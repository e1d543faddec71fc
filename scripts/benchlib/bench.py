"""What all measurements share: sizes, instruments, files of lines, turns."""
import dataclasses
import json
import os
import re
import subprocess
import time
from pathlib import Path

from benchlib.figures import Results
from benchlib.processes import BenchError, Children, execute, quoted, reaped_cpu_seconds, say

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("B") or ROOT / "build").resolve()  # the Makefile's B
LINE = 100  # bytes of a line unless said
KIB, MIB, GIB = 1024, 1024**2, 1024**3
CASE_S = 90  # no new round after that: a busy machine gets fewer runs, not hours
EVERYTHING = {}  # name: Measurement, in the order in which they are made


@dataclasses.dataclass
class Sizes:
    """How much is measured."""

    runs: int = 5
    seconds: float = 1.0  # how long a run takes, about
    lines: int = 1_000_000  # most of a run
    run_bytes: int = 300 * MIB  # most of a run
    latency_s: float = 3.0
    oneshots: int = 40  # a run
    commands: int = 2_000  # a run
    calls: int = 4_000
    passing: int = 10_000_000  # events while a subscriber is stopped
    journal_bytes: int = 10 * GIB
    topics: int = 1_000_000
    each: int = 10  # events of each topic


QUICK = Sizes(2, 0.3, 300_000, 50 * MIB, 1.5, 15, 500, 1_000, 1_000_000, GIB, 100_000, 3)


@dataclasses.dataclass
class Measurement:
    name: str
    title: str
    text: str
    make: object  # function of a Bench


def measurement(name, title, text=""):
    """Enters the function into EVERYTHING."""

    def enter(function):
        EVERYTHING[name] = Measurement(name, title, text, function)
        return function

    return enter


@dataclasses.dataclass
class Run:
    """What one run gave: a figure for each quantity, and what was wrong."""

    figures: dict
    fault: str | None = None
    note: str | None = None


class Bench:
    def __init__(self, sizes, work, sockets, programs):
        self.sizes, self.work, self.sockets, self.programs = sizes, work, sockets, programs
        self.children, self.results = Children(), Results()
        self.absent = {}  # systems left out: why
        self.made = 0  # directories

    def program(self, name):
        return self.programs / name

    def tool(self, name):
        return BUILD / "bench" / name

    def directory(self, name):
        """A new one."""
        self.made += 1
        path = self.work / f"{re.sub('[^a-z]', '', name.lower())}-{self.made}"
        path.mkdir(parents=True)
        return path

    # ---- turns ----

    def take_turns(self, what, case, functions, runs=None):
        """Calls each system's function (name: function giving a Run) once a round, in turns, the order turned round
        every second time, so that a machine that slows down slows all. A system that fails stays out of the rounds
        that follow."""
        runs = runs or self.sizes.runs
        say(f"{what}, {case}: {runs} runs of {', '.join(functions)}")
        failed, begin = set(), time.monotonic()
        for number in range(runs):
            if time.monotonic() - begin > CASE_S:
                say(f"{what}, {case}: {number} runs, for they take long")
                break
            for name in list(functions) if number % 2 == 0 else list(reversed(functions)):
                if name not in failed and not self.run_once(what, case, name, functions[name]):
                    failed.add(name)

    def run_once(self, what, case, name, function):
        try:
            run = function()
        except (BenchError, OSError, ValueError) as error:
            say(f"{what}, {case}, {name}: {error}")
            self.results.failures.append([what, case, name, str(error)])
            return False
        for quantity, value in run.figures.items():
            figure = self.results.figure(what, case, quantity, name)
            figure.values.append(value)
            figure.faults += [run.fault] if run.fault else []
            figure.notes += [run.note] if run.note else []
        return True

    def here(self, systems):
        """Those whose programs are there."""
        return [system for system in systems if system.name not in self.absent]

    # ---- work ----

    def count_for(self, system, size=LINE, share=1.0):
        """How many lines fill a run."""
        count = min(system.pace * self.sizes.seconds * share, self.sizes.lines, self.sizes.run_bytes / size)
        return max(int(count), 100)

    def drive(self, system, count, *options, size=LINE, subscriber=None, now=False, readers=1):
        """Lines through its publisher and its subscribers; the broker is there. Returns pipe_drive's figures, with
        cpu_s of broker and both ends."""
        argv = [self.tool("pipe_drive"), "-n", count, "-s", size, *system.ready, *options]
        argv += ["-N", readers] if readers > 1 else []
        argv += [execute(subscriber or system.subscribe()), execute(system.publish(now=now, readers=readers))]
        before = system.cpu_s()
        result = json.loads(self.children.run(argv, ok=(0, 1), limit_s=180, stdout=subprocess.PIPE))
        result["cpu_s"] += system.cpu_s() - before
        if not result["received"]:
            raise BenchError("nothing came")
        return result

    def lines_file(self, count, topics=0, size=LINE):
        """A file of lines, made once."""
        path = self.work / f"lines-{count}-{size}-{topics}"
        if not path.exists():
            argv = [self.tool("lines"), "make", count, size, *([topics] if topics else [])]
            with open(path, "wb") as out:
                self.children.run(argv, stdout=out)
        return path

    def timed(self, argv, source=None, target=None):
        """Wall and CPU seconds of a command with files as its stdin and stdout. target is made anew."""
        if target:
            target.unlink(missing_ok=True)
        os.sync()
        with open(source or os.devnull, "rb") as reader, open(target or os.devnull, "wb") as writer:
            begin, cpu = time.monotonic(), reaped_cpu_seconds()
            self.children.run(argv, stdin=reader, stdout=writer)
            return time.monotonic() - begin, reaped_cpu_seconds() - cpu

    def pour_lines(self, argv, count, *more, size=LINE):
        """Made lines into a command's stdin, without a file between."""
        maker = self.children.start([self.tool("lines"), "make", count, size, *more], stdout=subprocess.PIPE)
        try:
            self.children.run(argv, stdin=maker.stdout)
        finally:
            self.children.stop(maker)

    def fault_of_stored(self, hub, count):
        """Replays the hub's journal, not timed; what is not as it was sent, or None."""
        command = f"{quoted(hub.replay(count))} | {quoted([self.tool('lines'), 'check', count])}"
        return fault_of(json.loads(self.children.run(["sh", "-c", command], ok=(0, 1), stdout=subprocess.PIPE)))


def fault_of(result):
    """What was lost, doubled or out of order, or None."""
    if result["received"] == result["sent"] and not result["doubled"] and not result["disordered"]:
        status = result.get("publisher_status", 0)
        return f"publisher's exit status {status}" if status else None
    text = f"{result['received']:,} of {result['sent']:,} came"
    if result["doubled"] or result["disordered"]:
        text += f", {result['doubled']:,} doubled, {result['disordered']:,} out of order"
    return text
