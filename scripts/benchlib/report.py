"""The tables: build/bench/report.md, and README's summary between its markers. What evbus loses comes first."""
import re

from benchlib.bench import EVERYTHING
from benchlib.figures import QUANTITIES, how_good, spreads_overlap
from benchlib.plots import PICTURES
from benchlib.systems import ALL, BY_NAME
from benchlib.targets import TARGETS

MARKERS = re.compile(r"(<!-- measured:)[^\n]*\n.*?(<!-- end of measured -->)", re.S)
OURS = "evbus"
SAME_PROMISE = {
    "nothing": "evbus --live",
    "in memory": "evbus --sync 1000",
    "page cache": "evbus --sync 1000",
    "synced each second": "evbus --sync 1000",
}
SAME = 0.97  # how good counts as even, within what a median is worth


def table(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def unique(values):
    return list(dict.fromkeys(values))


def is_ours(system):
    return system.startswith("evbus")


def stored_by(system):
    return BY_NAME[system].stored if system in BY_NAME else ""


def is_limit(system):
    """What the machine, the transport or a plain tool does: no peer."""
    return system == "cat" or (system in BY_NAME and BY_NAME[system].limit)


def ratio_text(ratio):
    return f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


# ---- where evbus loses ----


def losses(results):
    """[(how good evbus is, evbus's figure, the other's)] where the other is better, the worst first."""
    found = []
    for figure in results.figures.values():
        if not is_ours(figure.system):
            ours = results.get(figure.measurement, figure.case, figure.quantity, OURS)
            ratio = how_good(ours, figure)
            if ratio is not None and ratio < SAME:
                found.append((ratio, ours, figure))
    return sorted(found, key=lambda loss: loss[0])


def what_is(figure):
    return f"{EVERYTHING[figure.measurement].title}, {figure.case}: {QUANTITIES[figure.quantity].title}"


def alike(results, theirs):
    """evbus's figure under the same promise, where it was measured: [how it shows]."""
    ours = results.get(theirs.measurement, theirs.case, theirs.quantity, SAME_PROMISE.get(stored_by(theirs.system)))
    ratio = how_good(ours, theirs)
    return "-" if ratio is None else f"{ours.system}: {ours.show_median()} ({ratio_text(ratio)})"


def loss_rows(results, found):
    for ratio, ours, theirs in found:
        even = "; the spreads overlap" if spreads_overlap(ours, theirs) else ""
        row = [what_is(ours), ours.show_median(), theirs.system, " ".join([theirs.show_median(), *theirs.remarks()])]
        yield [*row, stored_by(theirs.system), ratio_text(1 / ratio) + even, alike(results, theirs)]


def kind_of_loss(loss):
    """0: to a peer that promises as much, 1: to one that promises less, 2: to a limit."""
    system = loss[2].system
    return 2 if is_limit(system) else 1 if stored_by(system) not in ("synced", "") else 0


KINDS = [
    "To a peer that promises as much:",
    "To a peer that promises less; last column: evbus when it promises no more, and how many times as good that is:",
    "To what the machine and the transport do at best, with nothing stored:",
]


def losing_part(results):
    """All of it, the heaviest first: to whom that promises as much, to whom that promises less, to the limits."""
    found = losses(results)
    headings = ["what", "evbus (synced)", "beside it", "", "stored when it says ok", "times better", "evbus alike"]
    lines = ["## Where evbus loses", "", *wrong_lines(results)]
    for kind, title in enumerate(KINDS):
        rows = list(loss_rows(results, [loss for loss in found if kind_of_loss(loss) == kind]))
        lines += [title, "", *(table(headings, rows) if rows else ["In nothing measured."]), ""]
    return lines


def wrong_lines(results):
    """What evbus did not do as it promises. Live events may be lost, as long as that is said: it is, with the figure."""
    lines = [
        f"- evbus failed: {what}, {case}: {why}" for what, case, system, why in results.failures if is_ours(system)
    ]
    for figure in results.figures.values():
        if is_ours(figure.system) and figure.faults and stored_by(figure.system) != "nothing":
            lines.append(f"- evbus was wrong: {what_is(figure)}, {figure.system}: {figure.faults[-1]}")
    return [*lines, ""] if lines else []


# ---- every measurement ----


def systems_of(figures):
    """Ours first, then the limits, then the others, as they came."""
    return sorted(unique(figure.system for figure in figures), key=lambda name: (not is_ours(name), not is_limit(name)))


def quantity_table(results, name, quantity):
    """A row for each system and a column for each case; the other way round where there are more cases."""
    figures = [figure for figure in results.of(name) if figure.quantity == quantity]
    cases, systems = unique(figure.case for figure in figures), systems_of(figures)
    rows = [
        [system, stored_by(system), *(cell(results, name, case, quantity, system) for case in cases)]
        for system in systems
    ]
    rows.insert(0, ["", "stored", *cases])
    if len(cases) > len(systems):
        rows = [list(column) for column in zip(*rows)]
    title = QUANTITIES[quantity].title
    return [f"{title[0].upper()}{title[1:]}:", "", *table(rows[0], rows[1:]), ""]


def cell(results, name, case, quantity, system):
    figure = results.get(name, case, quantity, system)
    if not figure:
        return "-"
    ratio = None if system == OURS else how_good(results.get(name, case, quantity, OURS), figure)
    return figure.show() + (f"; evbus {ratio_text(ratio)}" if ratio is not None and not is_ours(system) else "")


def measured_part(results, name):
    chosen, run = EVERYTHING[name], results.runs[name]
    lines = [f"## {chosen.title}", "", chosen.text, "", f"Made {run['when']}, {run['how']}.", ""]
    lines += [line for file, of, _ in PICTURES if of == name for line in (f"![{chosen.title}]({file})", "")]
    for quantity in unique(figure.quantity for figure in results.of(name)):
        lines += quantity_table(results, name, quantity)
    lines += [f"- {system}, {case}: left out: {why}" for what, case, system, why in results.failures if what == name]
    return [*lines, ""]


def target_part(results):
    rows = []
    for target in TARGETS:
        met = target.met(results)
        if met is None:
            continue
        ours = results.get(target.measurement, target.case, target.quantity, target.ours)
        theirs = results.get(target.measurement, target.case, target.quantity, target.theirs)
        other = theirs.show_median() if theirs else "-"
        rows.append([what_is(ours), target.ours, ours.show_median(), other, target.text(), "met" if met else "MISSED"])
    return ["## Targets", "", *table(["what", "", "it has", "beside it", "target", ""], rows), ""] if rows else []


def promises_part():
    lines = ["## What each has stored when it says ok", ""]
    return [*lines, *(f"- **{system.name}** ({system.stored}): {system.promise}." for system in ALL), ""]


READING = """\
Medians; in brackets the smallest and the largest run. `evbus 2.0`: evbus is twice as good as what stands before it, faster
or smaller; below 1 it loses."""


def report(results, machine):
    lines = ["# evbus beside its peers", "", *losing_part(results), READING, "", *target_part(results)]
    lines += ["## In short", "", *peers_table(results), "", *others_table(results), ""]
    for name in EVERYTHING:
        if name in results.runs:
            lines += measured_part(results, name)
    return "\n".join([*lines, *promises_part(), "## The machine", "", *(f"- {line}" for line in machine)])


# ---- README ----

COLUMNS = {  # of the summary: whom each names
    "evbus": ["evbus"],
    "cat": ["cat | cat", "cat"],
    "libzmq": ["libzmq"],
    "redis stream, synced": ["redis stream, always"],
    "JetStream": ["JetStream"],
    "NATS core": ["NATS core"],
    "redis pub/sub": ["redis pub/sub"],
    "mosquitto": ["mosquitto QoS 0", "mosquitto QoS 1"],
}
BESIDE_PEERS = [  # measurement, case, quantity, how README calls it
    ("throughput", "100 B", "rate", "stdin to stdout"),
    ("throughput", "100 B", "cpu", "the same, CPU seconds a million"),
    ("publish", "100 B", "rate", "publish, stored at exit"),
    ("replay", "100 B", "rate", "replay to a file"),
    ("one-shot", "100 B", "time", "one event by one program"),
    ("latency", "1,000/s", "p50", "latency at 1,000/s, p50"),
    ("latency", "1,000/s", "p99.9", "p99.9"),
    ("latency", "50,000/s", "p50", "latency at 50,000/s, p50"),
    ("latency", "50,000/s", "p99.9", "p99.9"),
    ("fan-out", "10", "rate", "to 10 subscribers, in sum"),
    ("fan-out", "100", "rate", "to 100"),
    ("groups", "1", "rate", "a group of 1 member"),
    ("groups", "4", "rate", "of 4"),
    ("payloads", "10 B", "rate", "payloads of 10 bytes"),
    ("payloads", "1 MiB", "rate", "of 1 MiB"),
    ("topics", "1,000", "rate", "publish, 1,000 topics by turns"),
    ("topics", "100,000", "rate", "100,000 topics"),
    ("memory", "idle", "memory", "hub's memory, idle"),
    ("memory", "100 subscribers", "memory", "100 subscribers"),
    ("memory", "1,000,000 events stored", "memory", "1,000,000 events stored"),
    ("memory", "100,000 topics", "memory", "100,000 topics"),
]
BESIDE_OTHERS = [
    ("groups", "1", "rate", "a group of 1 member"),
    ("groups", "2", "rate", "of 2"),
    ("groups", "4", "rate", "of 4"),
    ("latency", "1,000/s", "p50", "latency at 1,000/s, p50"),
    ("commands", "true", "runs", "a command started for each event, two at once"),
    ("filters", "topic", "rate", "`evsub --where '.topic == ...'`"),
    ("filters", "data", "rate", "`evsub --where '.data.sum > 90'`"),
    ("fold", "balances", "rate", "`evfold`, balances of 1,000 accounts"),
    ("calls", "one at a time", "p50", "command and answer, p50"),
    ("calls", "16 under way", "calls", "16 under way"),
    ("entity", "10 events", "time", "replay of one topic's 10 events"),
    (
        "memory",
        "10,000,000 events past a stopped subscriber",
        "memory",
        "hub's memory, 10,000,000 events past a stopped reader",
    ),
    ("memory", "1,000,000 topics", "memory", "1,000,000 topics"),
    (
        "memory",
        "  and 100 groups, 1,000 events pending in each",
        "memory",
        "and 100 groups, 1,000 events pending in each",
    ),
    ("start", "10 GiB", "ready", "start on a journal of 10 GiB, cold"),
]


def best_known(results, name, case, quantity, systems):
    """The first of the systems that has a figure, or None."""
    figures = (results.get(name, case, quantity, system) for system in systems)
    return next((figure for figure in figures if figure and figure.values), None)


def with_ratio(ours, figure):
    """How good evbus is beside it; not where it is evbus, too, in another way."""
    ratio = None if is_ours(figure.system) else how_good(ours, figure)
    if ratio is None:
        return figure.show_median()
    text = ratio_text(ratio)
    return f"{figure.show_median()} ({f'**{text}**' if ratio < SAME else text})"


def peers_table(results):
    rows = []
    for name, case, quantity, called in BESIDE_PEERS:
        figures = [best_known(results, name, case, quantity, systems) for systems in COLUMNS.values()]
        if figures[0]:
            rows.append([called, *(with_ratio(figures[0], figure) if figure else "" for figure in figures)])
    return table(["", *COLUMNS], rows)


def others_table(results):
    """What no column has: evbus in another way, xargs, jq."""
    named, rows = {system for systems in COLUMNS.values() for system in systems}, []
    for name, case, quantity, called in BESIDE_OTHERS:
        ours = results.get(name, case, quantity, OURS)
        others = [f for f in results.of(name) if (f.case, f.quantity) == (case, quantity) and f.system not in named]
        if name == "calls":
            others += filter(None, [results.get(name, case, quantity, "libzmq")])
        text = "; ".join(f"{other.system} {with_ratio(ours, other)}" for other in others)
        if ours or others:
            rows.append([called, ours.show_median() if ours else "", text])
    return table(["", "evbus", "beside it"], rows)


def summary(results, machine, pictures):
    """What stands between README's markers."""
    how = next(iter(results.runs.values()))
    lines = [
        f"{machine[0]}; {how['how'].partition(';')[0]}; lines of 100 bytes. Medians; in brackets how many times as"
    ]
    lines += ["good as it evbus, synced, is: below 1, and bold, evbus loses.", "", *peers_table(results), ""]
    lines += ["Beside other ways to do it:", "", *others_table(results), "", *losing_lines(results), ""]
    return "\n".join(lines + [f"![{title}]({path})" for path, title in pictures]) + "\n"


def losing_lines(results):
    """One sentence on the peers that are better in anything."""
    peers = unique(loss[2].system for loss in losses(results) if not is_limit(loss[2].system))
    if not peers:
        return ["evbus loses to no peer in anything measured."]
    places = {peer: unique(loss[2].measurement for loss in losses(results) if loss[2].system == peer) for peer in peers}
    text = "; ".join(f"{peer} ({', '.join(names)})" for peer, names in places.items())
    return [f"evbus loses to: {text}. The report begins with it."]


def put_into_readme(path, text):
    """Replaces what stands between the markers; false when they are not there."""
    page = path.read_text()
    new, times = MARKERS.subn(lambda found: f"{found[1]} by `make bench` -->\n{text}{found[2]}", page)
    if times == 1:
        path.write_text(new)
    return times == 1
