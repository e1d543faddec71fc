"""Measurements of what is stored: publish, replay, one-shot, topics, memory, start."""
import contextlib
import json
import os
import shutil
import signal
import subprocess

from benchlib.bench import GIB, LINE, MIB, Run, fault_of, measurement
from benchlib.pipes import few
from benchlib.processes import BenchError, MemoryWatch, ended, wait_until

from benchlib.systems import (
    STORING, TOPIC, Cat, Evbus, JetStream, Mosquitto, MosquittoAck, Nats, RedisPubSub, RedisStream,
)  # fmt: skip

# ---- publish ----


def published(bench, system, count, topics=0, command=None):
    """Events a second from exec of the publisher to its exit, when all are stored."""
    source = bench.lines_file(count, topics)

    def run():
        with system(bench) as started:
            before = started.cpu_s()
            argv = command(started) if command else started.publish()
            wall, cpu = bench.timed(argv, source)
            cpu += started.cpu_s() - before
            fault = bench.fault_of_stored(started, count) if isinstance(started, Evbus) else None
        return Run({"rate": count / wall, "cpu": cpu / count * 1e6}, fault)

    return run


@measurement(
    "publish",
    "Durable publish",
    "A file of lines of 100 bytes into a publisher, from its exec to its exit: when all are acknowledged, as far as the "
    "system's promise goes. What evbus stored is read back and compared.",
)
def publish(bench):
    systems = bench.here([*STORING, MosquittoAck])
    functions = {system.name: published(bench, system, bench.count_for(system)) for system in systems}
    bench.take_turns("publish", "100 B", functions)


@measurement(
    "topics",
    "Many topics",
    "The same, the topic changing on every line: `evpub -T`, XADD to as many streams, JetStream with as many subjects.",
)
def topics(bench):
    systems = bench.here([Evbus, RedisStream, JetStream])
    for number in (1, 1_000, 100_000):
        functions = {}
        for system in systems:
            count = bench.count_for(system)
            functions[system.name] = published(bench, system, count, number, lambda started: started.publish_topics())
        bench.take_turns("topics", f"{number:,}", functions, runs=few(bench))


# ---- replay ----


def replayed(bench, argv, source, count):
    """Events a second to a file, which must be the source again."""

    def run():
        target = bench.work / "replayed"
        wall, cpu = bench.timed(argv, target=target)
        same = subprocess.run(["cmp", "-s", source, target], check=False).returncode == 0
        target.unlink()
        return Run({"rate": count / wall, "cpu": cpu / count * 1e6}, None if same else "not the lines that were sent")

    return run


@measurement(
    "replay",
    "Replay to a file",
    "What is stored, from the first event to the last, to a file, from the reader's exec to its exit; the file is "
    "compared with what was sent. `cat`: the lines' file to another.",
)
def replay(bench):
    with contextlib.ExitStack() as stack:
        functions = {}
        for system in bench.here([Cat, Evbus, RedisStream, JetStream]):
            count = bench.count_for(system)
            source = bench.lines_file(count)
            if system is Cat:
                functions["cat"] = replayed(bench, ["cat", source], source, count)
                continue
            started = stack.enter_context(system(bench))
            bench.timed(started.publish(), source)
            functions[system.name] = replayed(bench, started.replay(count), source, count)
        bench.take_turns("replay", "100 B", functions)


@measurement(
    "one-shot",
    "One event, one program",
    "`evpub TOPIC PAYLOAD` beside `mosquitto_pub -q 1`, `redis-cli xadd` and a JetStream client written in C: exec to "
    "exit, medians, the programs taking turns with no shell between.",
)
def one_shot(bench):
    with contextlib.ExitStack() as stack:
        commands = {}
        for system in bench.here([Evbus, MosquittoAck, RedisStream, JetStream]):
            commands[system.name] = stack.enter_context(system(bench)).one_shot("x" * LINE)
        time_side_by_side(bench, "one-shot", "100 B", commands)


def time_side_by_side(bench, what, case, commands):
    """Wall times of the commands, one after the other, again and again; one figure a run: its median."""
    argv = [bench.tool("wall_time"), bench.sizes.oneshots]
    for command in commands.values():
        argv += ["--", *command]
    for _ in range(bench.sizes.runs if commands else 0):
        results = json.loads(bench.children.run(argv, stdout=subprocess.PIPE))
        for name, result in zip(commands, results):
            figure = bench.results.figure(what, case, "time", name)
            figure.values.append(result["median_us"] / 1e3)
            if result["failed"]:
                figure.faults.append(f"{result['failed']} failed")


@measurement(
    "entity",
    "One topic among very many",
    "`evsub -e --from first` of one topic's few events: in a journal of very many topics, and alone in a journal.",
)
def entity(bench):
    number, each = bench.sizes.topics, bench.sizes.each
    topic = f"bench.{number // 8 + 1}"
    with Evbus(bench) as among, Evbus(bench) as alone:
        bench.pour_lines(among.publish_topics(), number * each, number)
        bench.timed(alone.program("evpub", topic), bench.lines_file(each))
        commands = {hub: hub.program("evsub", "--from", "first", "-e", topic) for hub in (among, alone)}
        versions = bench.children.run([*commands[among], "-F", "%v "], stdout=subprocess.PIPE)
        if [int(version) for version in versions.split()] != list(range(1, each + 1)):
            raise BenchError(f"{topic}: not its {each} events")
        names = {among: f"evbus, {number * each:,} events of {number:,} topics", alone: "evbus, alone in its journal"}
        time_side_by_side(bench, "entity", f"{each} events", {names[hub]: commands[hub] for hub in commands})


# ---- memory ----


def peak(system, work):
    """Peak memory of its broker while work(system) runs."""
    with MemoryWatch(system.child.pid) as watch:
        fault = work(system)
    return Run({"memory": watch.anon_mib}, fault, f"RSS {watch.rss_mib:.0f}")


def remembered(bench, system, work, **options):
    def run():
        with system(bench, **options) as started:
            return peak(started, work)

    return run


def store(bench, count, topics=0):
    def work(started):
        more = [topics] if topics else []
        bench.pour_lines(started.publish_topics() if topics else started.publish(), count, *more)

    return work


def many_readers(bench):
    def work(started):
        return fault_of(bench.drive(started, 100, readers=100))

    return work


class Reader:
    """A subscriber that prints into `lines check`; it is subscribed when the block begins."""

    def __init__(self, bench, started, count):
        self.bench, self.started, self.count = bench, started, count

    def __enter__(self):
        children, log = self.bench.children, self.bench.directory("reader") / "log"
        with open(log, "wb") as err:
            argv = self.started.program("evsub", "-v", "-n", self.count, TOPIC)
            self.reader = children.start(argv, stdout=subprocess.PIPE, stderr=err)
        argv = [self.bench.tool("lines"), "check", self.count]
        self.checker = children.start(argv, stdin=self.reader.stdout, stdout=subprocess.PIPE)
        self.reader.stdout.close()
        wait_until(lambda: b"\n" in log.read_bytes(), self.reader, "evsub")
        return self

    def __exit__(self, *_):
        self.bench.children.stop(self.reader, signal.SIGCONT)
        self.bench.children.stop(self.checker)

    def fault(self):
        """Waits for its end; what it did not print, or None."""
        if not ended(self.checker, 300):
            raise BenchError("a subscriber does not come to its end")
        return fault_of(json.loads(self.checker.stdout.read()))


def measure_stopped(bench):
    """One subscriber reads, one is stopped until all events have passed, then catches up."""
    count = bench.sizes.passing
    passing, after = f"{count:,} events past a stopped subscriber", "while that one, continued, catches up"

    def note(case, run):
        bench.take_turns("memory", case, {"evbus": lambda: run}, runs=1)

    with Evbus(bench) as hub, Reader(bench, hub, count) as stopped:
        os.kill(stopped.reader.pid, signal.SIGSTOP)

        def pass_by(_):
            with Reader(bench, hub, count) as live:
                bench.pour_lines(hub.publish(), count)
                return live.fault()

        def catch_up(_):
            os.kill(stopped.reader.pid, signal.SIGCONT)
            return stopped.fault()

        note(passing, peak(hub, pass_by))
        note(after, peak(hub, catch_up))


def hold_groups(bench):
    """All topics, then 100 groups, each with 1,000 events pending."""

    def work(hub):
        store(bench, bench.sizes.topics, bench.sizes.topics)(hub)
        bench.children.run([bench.tool("group_hold"), hub.url, 100, 1000])

    return work


@measurement(
    "memory",
    "Memory of hub and brokers",
    "The peak of what is the process's own (RssAnon), sampled 50 times a second; RSS, in brackets, has the pages of "
    "mapped files, which the kernel takes back when it needs them, too. One run each.",
)
def memory(bench):
    brokers = bench.here([Evbus, Mosquitto, RedisPubSub, RedisStream, Nats, JetStream])
    storing = bench.here([Evbus, RedisStream, JetStream])
    count, few_topics, every = bench.sizes.lines, bench.sizes.topics // 10, bench.sizes.topics
    cases = {
        "idle": (brokers, lambda started: None),
        "100 subscribers": (brokers, many_readers(bench)),
        f"{count:,} events stored": (storing, store(bench, count)),
        f"{few_topics:,} topics": (storing, store(bench, few_topics, few_topics)),
        f"{every:,} topics": (bench.here([Evbus]), store(bench, every, every)),
        "  and 100 groups, 1,000 events pending in each": (bench.here([Evbus]), hold_groups(bench)),
    }
    for case, (systems, work) in cases.items():
        functions = {system.name: remembered(bench, system, work) for system in systems}
        bench.take_turns("memory", case, functions, runs=1)
    measure_stopped(bench)


# ---- start ----


def tree_bytes(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def forget_pages(directory):
    """Puts the files out of the page cache."""
    os.sync()
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def kill_while_publishing(bench, hub):
    """kill -9 of the hub while events stream in."""
    journal = hub.directory / "journal"
    before = tree_bytes(journal)
    maker = bench.children.start([bench.tool("lines"), "make", 10**9, LINE], stdout=subprocess.PIPE)
    publisher = bench.children.start(hub.publish(), stdin=maker.stdout, stderr=subprocess.DEVNULL)
    wait_until(lambda: tree_bytes(journal) > before + 10 * MIB, publisher, "evpub")
    hub.close(signal.SIGKILL)
    bench.children.stop(publisher, signal.SIGKILL)
    bench.children.stop(maker)


@measurement(
    "start",
    "Start on a large journal",
    "evbusd from exec to ready, the journal's files out of the page cache: after an orderly end, and after kill -9 while "
    "events stream in.",
)
def start(bench):
    size, line = bench.sizes.journal_bytes, 16_000
    disk = shutil.disk_usage(bench.work)
    if disk.free < 1.3 * size + disk.total // 20:
        raise BenchError(f"{disk.free // GIB} GiB free are too little for a journal of {size // GIB} GiB")
    with Evbus(bench, options=["--retain", "100G"]) as hub:
        bench.pour_lines(hub.publish_topics(), size // line, 1000, size=line)

        def reopened(end):
            def run():
                end()
                forget_pages(hub.directory / "journal")
                hub.open()
                return Run({"ready": hub.opened_s * 1e3})

            return run

        functions = {
            "evbus, after an orderly end": reopened(hub.close),
            "evbus, after kill -9": reopened(lambda: kill_while_publishing(bench, hub)),
        }
        bench.take_turns("start", f"{size // GIB} GiB", functions, runs=few(bench))
