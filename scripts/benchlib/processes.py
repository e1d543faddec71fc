"""Children that are always stopped, and what they use."""
import contextlib
import os
import resource
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

READY_S = 30  # a hub or broker that is not ready by then has failed
COMMAND_S = 600  # no single command takes longer
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement cannot be made; the text says why."""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Children:
    """The processes that were started and are not stopped yet. Each has a session of its own, so that an interrupt
    at the terminal reaches this program alone, which then stops them."""

    def __init__(self):
        self.running = []

    def start(self, argv, **options):
        try:
            child = subprocess.Popen([str(arg) for arg in argv], start_new_session=True, **options)
        except OSError as error:
            raise BenchError(f"{argv[0]}: {error.strerror}") from error
        self.running.append(child)
        return child

    def run(self, argv, ok=(0,), limit_s=COMMAND_S, **options):
        """Runs it to its end and returns its stdout (bytes; None unless piped). Only what prints little is piped."""
        child = self.start(argv, **options)
        try:
            if not ended(child, limit_s):
                raise BenchError(f"{argv[0]}: not done after {limit_s} s")
            out = child.stdout.read() if child.stdout else None
        finally:
            self.stop(child)
        if child.returncode not in ok:
            raise BenchError(f"{quoted(argv)[:200]}: exit status {child.returncode}")
        return out

    def stop(self, child, first=signal.SIGTERM):
        """Ends it and whatever it has started in its session."""
        for number in (first, signal.SIGCONT):
            signal_group(child, number)
        if not ended(child, 10):
            signal_group(child, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()
        if child in self.running:
            self.running.remove(child)

    def stop_all(self):
        for child in reversed(list(self.running)):
            self.stop(child)


def signal_group(child, number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def ended(child, limit_s):
    """Waits for its end through a pidfd, which wakes at once (Popen.wait with a timeout looks every 50 ms)."""
    if child.returncode is not None:
        return True
    descriptor = os.pidfd_open(child.pid)
    try:
        if not select.select([descriptor], [], [], limit_s)[0]:
            return False
    finally:
        os.close(descriptor)
    child.wait()
    return True


def wait_until(ready, child, what, limit_s=READY_S):
    """Looks until ready() holds; fails when the child ends before, or the time is over. For who gives no signal."""
    deadline = time.monotonic() + limit_s
    while not ready():
        if ended(child, 0.01):
            raise BenchError(f"{what}: ended with status {child.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not ready after {limit_s} s")


def quoted(argv):
    return shlex.join(map(str, argv))


def execute(argv):
    """A command line for sh -c that leaves no shell behind."""
    return "exec " + quoted(argv)


# ---- what they use ----


def cpu_seconds(pid):
    """User and system time of a living process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK_S


def reaped_cpu_seconds():
    """User and system time of all children of this program that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(pid):
    """RssAnon and VmRSS, in MiB."""
    wanted = {"RssAnon": 0.0, "VmRSS": 0.0}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in wanted:
            wanted[name] = int(rest.split()[0]) / 1024
    return wanted["RssAnon"], wanted["VmRSS"]


class MemoryWatch:
    """Samples a process's memory until the block ends; the peaks are in anon_mib and rss_mib."""

    def __init__(self, pid):
        self.pid = pid
        self.anon_mib, self.rss_mib = memory_mib(pid)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        with contextlib.suppress(OSError):
            while not self.over.wait(0.02):
                self.look()

    def look(self):
        anon, rss = memory_mib(self.pid)
        self.anon_mib, self.rss_mib = max(self.anon_mib, anon), max(self.rss_mib, rss)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        with contextlib.suppress(OSError):
            self.look()
