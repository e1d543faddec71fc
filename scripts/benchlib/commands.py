"""Measurements of programs that do something for each event: commands, conditions, folding."""
import json

from benchlib.bench import Run, measurement
from benchlib.processes import quoted
from benchlib.systems import TOPIC, Evbus, Mosquitto, MosquittoAck

# ---- a command for each event ----


def run_for_events(bench, *options):
    """evsub starts true(1) for each event, two at once."""
    count = bench.sizes.commands

    def run():
        with Evbus(bench) as hub:
            bench.timed(hub.publish(), bench.lines_file(count))
            argv = hub.program("evsub", "--from", "first", "-e", "-j", 2, *options, TOPIC, "--", "true")
            return Run({"runs": count / bench.timed(argv)[0]})

    return run


def run_by_xargs(bench):
    count = bench.sizes.commands
    source = bench.lines_file(count)
    return lambda: Run({"runs": count / bench.timed(["xargs", "-P", "2", "-d", "\\n", "-n", "1", "true"], source)[0]})


def run_by_loop(bench):
    """mosquitto_sub | while read, one at a time: the broker has all lines for the session when it begins."""
    count = bench.sizes.commands

    def run():
        with MosquittoAck(bench) as broker:
            session = ["mosquitto_sub", *broker.where, "-i", "bench", "-c", "-t", TOPIC]
            bench.children.run([*session, "-E"])
            bench.timed(broker.publish(), bench.lines_file(count))
            loop = f"{quoted([*session, '-C', count])} | while read -r line; do /bin/true; done"
            return Run({"runs": count / bench.timed(["sh", "-c", loop])[0]})

    return run


@measurement(
    "commands",
    "A command for each event",
    "`evsub -j 2 -- true` from the journal, beside `xargs -P 2` with the same lines in a file, and `mosquitto_sub | while "
    "read -r line; do /bin/true; done`. Runs a second, exec to exit.",
)
def commands(bench):
    functions = {
        "evbus": run_for_events(bench),
        "evbus, a group": run_for_events(bench, "-g", "work"),
        "xargs -P 2": run_by_xargs(bench),
    }
    if Mosquitto.name not in bench.absent:
        functions["mosquitto_sub | while read"] = run_by_loop(bench)
    bench.take_turns("commands", "true", functions)


# ---- conditions and folds ----

ACCOUNTS = 1000
BALANCES = ".[$event.data.by] += $event.data.sum"  # for evfold
BALANCES_JQ = f"reduce (inputs | .data = (.payload | fromjson)) as $event (null; {BALANCES})"
CONDITIONS = {
    "topic": '.topic == "bench.line"',
    "data": ".data.sum > 90",
    "data, two parts": '.data.sum > 90 and .data.by == "a7"',
}


def payments_file(bench, count):
    """Payments into ACCOUNTS accounts by turns, one JSON object a line, and the balances that they make."""
    path, sums = bench.work / f"payments-{count}", {}
    with open(path, "w") as out:
        for number in range(count):
            name = f"a{number * 7919 % ACCOUNTS}"
            sums[name] = sums.get(name, 0) + number % 97
            out.write(f'{{"by":"{name}","sum":{number % 97}}}\n')
    return path, sums


def rate_of(bench, argv, count, right):
    """Events a second of a command whose output must be right(text)."""

    def run():
        target = bench.work / "output"
        wall, cpu = bench.timed(argv, target=target)
        fault = None if right(target.read_text()) else "not what it should say"
        return Run({"rate": count / wall, "cpu": cpu / count * 1e6}, fault)

    return run


def by_jq(hub, *jq):
    """evsub -J | jq."""
    return ["sh", "-c", f"{quoted(hub.program('evsub', '--from', 'first', '-e', '-J'))} | {quoted(jq)}"]


@measurement(
    "filters",
    "Conditions",
    "`evsub --where EXPR` over stored events with a JSON payload of some 20 bytes, beside `evsub -J | jq -c select(EXPR)`. "
    "Events a second that are looked at.",
)
def filters(bench):
    many, few_events = bench.sizes.lines // 2, bench.sizes.lines // 20
    with Evbus(bench) as hub, Evbus(bench) as small:
        bench.timed(hub.publish(), payments_file(bench, many)[0])
        bench.timed(small.publish(), payments_file(bench, few_events)[0])
        for case, condition in CONDITIONS.items():
            found = {n: sum(holds(case, number) for number in range(n)) for n in (many, few_events)}
            argv = hub.program("evsub", "--from", "first", "-e", "--where", condition)
            select = f"select(.data = (.payload | fromjson) | {condition}) | .payload"
            functions = {
                "evbus": rate_of(bench, argv, many, lambda text: text.count("\n") == found[many]),
                "evsub -J | jq": rate_of(
                    bench,
                    by_jq(small, "jq", "-r", select),
                    few_events,
                    lambda text: text.count("\n") == found[few_events],
                ),
            }
            bench.take_turns("filters", case, functions, runs=3)


def holds(case, number):
    """Whether the condition holds for the payment of that number."""
    large, account = number % 97 > 90, number * 7919 % ACCOUNTS == 7
    return {"topic": True, "data": large, "data, two parts": large and account}[case]


@measurement(
    "fold",
    "Folding",
    f"Balances of {ACCOUNTS:,} accounts from stored events: `evfold`, with `--state` (kept every 10 s and at the end), "
    "and `evsub -J | jq`.",
)
def fold(bench):
    many, few_events = bench.sizes.lines // 2, bench.sizes.lines // 20
    with Evbus(bench) as hub, Evbus(bench) as small:
        source, sums = payments_file(bench, many)
        small_source, small_sums = payments_file(bench, few_events)
        bench.timed(hub.publish(), source)
        bench.timed(small.publish(), small_source)
        plain = hub.program("evfold", "-e", TOPIC, BALANCES)
        state = bench.work / "fold-state"
        keeping = rate_of(bench, [*plain[:3], "--state", str(state), *plain[3:]], many, says(sums))

        def anew():
            state.unlink(missing_ok=True)
            return keeping()

        functions = {
            "evbus": rate_of(bench, plain, many, says(sums)),
            "evbus --state": anew,
            "evsub -J | jq": rate_of(bench, by_jq(small, "jq", "-nc", BALANCES_JQ), few_events, says(small_sums)),
        }
        bench.take_turns("fold", "balances", functions, runs=3)


def says(sums):
    return lambda text: json.loads(text.splitlines()[-1]) == sums
