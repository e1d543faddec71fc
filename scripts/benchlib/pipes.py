"""Measurements that drive lines through a publisher's stdin and its subscribers' stdout."""
import subprocess

from benchlib.bench import KIB, MIB, Run, fault_of, measurement

from benchlib.systems import (
    LIVE, Cat, Evbus, EvbusGroup, EvbusLive, EvbusSecond, JetStream, Mosquitto, Nats, RedisPubSub, RedisSecond,
    RedisStream, Zmq,
)  # fmt: skip

PAYLOADS = {"10 B": 10, "100 B": 100, "1 KiB": KIB, "10 KiB": 10 * KIB, "100 KiB": 100 * KIB, "1 MiB": MIB}
FAN_OUT = (1, 10, 100)
MEMBERS = (1, 2, 4)
WORK_US = 200
WARM_UP_S = 0.3


def rate_and_cpu(result):
    figures = {"rate": result["rate"], "cpu": result["cpu_s"] / result["received"] * 1e6}
    return Run(figures, fault_of(result))


def piped(bench, system, count, *options, **more):
    """One run through a fresh broker."""

    def run():
        with system(bench) as started:
            return rate_and_cpu(bench.drive(started, count, *options, **more))

    return run


@measurement(
    "throughput",
    "Throughput from stdin to stdout",
    "Lines of 100 bytes, as fast as the publisher takes them, to one subscriber's stdout; from the first line written "
    "to the last one read. With the CPU seconds that a million events cost, both ends and the broker together.",
)
def throughput(bench):
    systems = bench.here([*LIVE[:3], EvbusSecond, *LIVE[3:]])
    functions = {system.name: piped(bench, system, bench.count_for(system)) for system in systems}
    bench.take_turns("throughput", "100 B", functions)


@measurement(
    "payloads",
    "Throughput by payload",
    "The same with other payloads. Events a second.",
)
def payloads(bench):
    everyone = [Cat, Zmq, Evbus, EvbusLive, Nats, RedisPubSub, Mosquitto, RedisStream, JetStream]
    for case, size in PAYLOADS.items():
        functions = {
            system.name: piped(bench, system, bench.count_for(system, size, 0.5), size=size)
            for system in bench.here(everyone)
        }
        bench.take_turns("payloads", case, functions, runs=few(bench))


def few(bench):
    """Runs of what is measured in many cases."""
    return (bench.sizes.runs + 1) // 2


# ---- latency ----


def delayed(bench, system, rate):
    count = int(rate * bench.sizes.latency_s)

    def run():
        with system(bench) as started:
            warm_up = int(rate * WARM_UP_S)
            result = bench.drive(started, count, "-r", rate, "-w", warm_up, now=True)
        figures = {"p50": result["p50_us"], "p99": result["p99_us"], "p99.9": result["p999_us"]}
        return Run(figures | {"cpu": result["cpu_s"] / result["received"] * 1e6}, fault_of(result))

    return run


@measurement(
    "latency",
    "Latency at a steady rate",
    "Lines of 100 bytes at so many a second, from the write to the publisher's stdin to the read from the subscriber's "
    "stdout. A publisher that makes its source wait for more than a millisecond has that counted.",
)
def latency(bench):
    for rate in (1_000, 50_000):
        everyone = bench.here([*LIVE[:3], EvbusSecond, EvbusGroup, *LIVE[3:]])
        functions = {system.name: delayed(bench, system, rate) for system in everyone}
        bench.take_turns("latency", f"{rate:,}/s", functions, runs=few(bench))


# ---- many readers ----


@measurement(
    "fan-out",
    "Fan-out",
    "Lines of 100 bytes from one publisher to 1, 10 and 100 subscribers, each of which is to print every line. Lines a "
    "second over all subscribers.",
)
def fan_out(bench):
    everyone = [Zmq, Evbus, EvbusLive, Nats, RedisPubSub, Mosquitto, RedisStream, JetStream]
    for readers in FAN_OUT:
        functions = {
            system.name: piped(bench, system, bench.count_for(system, share=1.5 / readers**0.8), readers=readers)
            for system in bench.here(everyone)
        }
        bench.take_turns("fan-out", f"{readers}", functions, runs=few(bench))


def shared(bench, system, members):
    def run():
        with system(bench) as started:
            started.make_group()
            options = ["-g", "-N", members] if members > 1 else ["-g"]
            count = bench.count_for(system)
            return rate_and_cpu(bench.drive(started, count, *options, subscriber=started.member()))

    return run


def worked(bench, members):
    """Members that take WORK_US for each event."""

    def run():
        with Evbus(bench) as hub:
            member = [bench.tool("group_work"), hub.url, "work", "bench.line", WORK_US]
            count = int(16_000 * bench.sizes.seconds)
            return rate_and_cpu(bench.drive(hub, count, "-g", "-N", members, subscriber=member))

    return run


@measurement(
    "groups",
    "Work shared by a group",
    "Lines of 100 bytes to the members of one group, each line to one of them, acknowledged when it is printed: `evsub "
    "-g`, XREADGROUP and XACK, a JetStream pull consumer, mosquitto's shared subscription (QoS 0: nothing is "
    "acknowledged). `evbus, no group` is a plain `evsub`, of which there is one.",
)
def groups(bench):
    everyone = bench.here([Evbus, RedisStream, RedisSecond, JetStream, Mosquitto])
    for members in MEMBERS:
        functions = {system.name: shared(bench, system, members) for system in everyone}
        if members == 1:
            functions["evbus, no group"] = piped(bench, Evbus, bench.count_for(Evbus))
        if Evbus in everyone:
            functions[f"evbus, {WORK_US} us of work each"] = worked(bench, members)
        bench.take_turns("groups", f"{members}", functions, runs=few(bench))


# ---- commands and their answers ----


def called(bench, *options):
    """One caller in the library, a handler process, a hub."""

    def run():
        with Evbus(bench) as hub:
            return round_trips(bench, [hub.url, bench.sizes.calls, *options])

    return run


def called_raw(bench):
    return lambda: round_trips(bench, ["raw", bench.directory("raw"), bench.sizes.calls])


def round_trips(bench, args):
    out = bench.children.run([bench.tool("call"), *args], limit_s=120, stdout=subprocess.PIPE)
    names = ("calls", "p50", "p99")
    return Run(dict(zip(names, map(float, out.split()))))


@measurement(
    "calls",
    "A command and its answer",
    "Round trips of one caller in the library, 100 bytes each way: through the hub to the one handler; `--quiet-log` "
    "leaves no trace in the journal, without it the question and the outcome are events, synced. libzmq: REQ, a "
    "ROUTER/DEALER proxy, REP, which store nothing.",
)
def calls(bench):
    functions = {"evbus": called(bench, "log"), "evbus --quiet-log": called(bench, "quiet")}
    if Zmq.name not in bench.absent:
        functions["libzmq"] = called_raw(bench)
    bench.take_turns("calls", "one at a time", functions)
    window = {"evbus": called(bench, "log", 16), "evbus --quiet-log": called(bench, "quiet", 16)}
    bench.take_turns("calls", "16 under way", window, runs=few(bench))
