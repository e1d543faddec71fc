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
    lines = [f"- evbus failed: {what}, {case}: {why}" for what, case, system, why in results.failures if is_ours(system)]
    for figure in results.figures.values():
        if is_ours(figure.system) and figure.faults:
            lines.append(f"- evbus was wrong: {what_is(figure)}, {figure.system}: {figure.faults[-1]}")
    return [*lines, ""] if lines else []


# ---- every measurement ----


def systems_of(figures):
    """Ours first, then the limits, then the others, as they came."""
    return sorted(unique(figure.system for figure in figures), key=lambda name: (not is_ours(name), not is_limit(name)))


def quantity_table(results, name, quantity):
    figures = [figure for figure in results.of(name) if figure.quantity == quantity]
    cases = unique(figure.case for figure in figures)
    rows = []
    for system in systems_of(figures):
        row = [system, stored_by(system)]
        for case in cases:
            row += [cell(results, name, case, quantity, system)]
        rows.append(row)
    return [f"{QUANTITIES[quantity].title[0].upper()}{QUANTITIES[quantity].title[1:]}:", "", *table(["", "stored", *cases], rows), ""]


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


def report(results, machine):
    lines = ["# evbus beside its peers", "", *(f"- {line}" for line in machine), ""]
    lines += ["Each cell has the median of the runs and, in brackets, the smallest and the largest. `evbus 2.0`: evbus is"]
    lines += ["twice as good, faster or smaller, than what the cell has; below 1 it loses.", ""]
    lines += losing_part(results) + target_part(results)
    for name in EVERYTHING:
        if name in results.runs:
            lines += measured_part(results, name)
    return "\n".join([*lines, *promises_part()])


# ---- README ----

SUMMARY = [  # measurement, case, quantity, how README calls it, whom it names beside evbus (None: all)
    ("throughput", "100 B", "rate", "lines of 100 bytes, stdin to stdout", None),
    ("throughput", "100 B", "cpu", "CPU for a million of them, both ends and broker", None),
    ("publish", "100 B", "rate", "publish, all stored at exit", None),
    ("replay", "100 B", "rate", "replay to a file", None),
    ("one-shot", "100 B", "time", "one event by one program, exec to exit", None),
    ("latency", "1,000/s", "p50", "latency at 1,000 a second, p50", None),
    ("latency", "1,000/s", "p99.9", "the same, p99.9", None),
    ("latency", "50,000/s", "p50", "latency at 50,000 a second, p50", None),
    ("latency", "50,000/s", "p99.9", "the same, p99.9", None),
    ("fan-out", "100", "rate", "to 100 subscribers, in sum", None),
    ("groups", "1", "rate", "through a group of 1 member", None),
    ("groups", "4", "rate", "of 4 members", None),
    ("payloads", "10 B", "rate", "payloads of 10 bytes", None),
    ("payloads", "1 MiB", "rate", "payloads of 1 MiB", None),
    ("topics", "1,000", "rate", "stored, 1,000 topics by turns", None),
    ("topics", "100,000", "rate", "100,000 topics by turns", None),
    ("commands", "true", "runs", "a command started for each event, two at once", None),
    ("filters", "data", "rate", "`evsub --where '.data.sum > 90'`", None),
    ("fold", "balances", "rate", "`evfold`, balances of 1,000 accounts", None),
    ("calls", "one at a time", "p50", "command and answer, p50", None),
    ("entity", "10 events", "time", "one topic's 10 events among 10,000,000", None),
    ("memory", "idle", "memory", "hub's memory, idle", None),
    ("memory", "1,000,000 events stored", "memory", "1,000,000 events stored", None),
    ("memory", "100,000 topics", "memory", "100,000 topics", None),
    ("memory", "10,000,000 events past a stopped subscriber", "memory", "10,000,000 events, one subscriber stopped", None),
    ("memory", "1,000,000 topics", "memory", "1,000,000 topics", None),
    ("start", "10 GiB", "ready", "start on a journal of 10 GiB, cold", None),
]


def summary_row(results, name, case, quantity, called):
    """what | evbus | the others, each with how good evbus is beside it."""
    figures = [f for f in results.of(name) if f.case == case and f.quantity == quantity and f.values]
    ours = [figure for figure in figures if is_ours(figure.system)]
    ratios = [(figure, how_good(results.get(name, case, quantity, OURS), figure)) for figure in figures]
    others = [f"{figure.system} {figure.show_median()} ({ratio_text(ratio)})" for figure, ratio in ratios
              if ratio is not None and not is_ours(figure.system)]
    own = [figure.show_median() + figure.system.removeprefix(OURS).replace(" --", ", `--", 1).replace("`--", "`--")
           for figure in ours]
    return [called, "; ".join(map(close_quote, own)), "; ".join(others)] if ours else None


def close_quote(text):
    return text + "`" if text.count("`") % 2 else text


def summary(results, machine, pictures):
    """What stands between README's markers."""
    rows = [summary_row(results, *entry[:4]) for entry in SUMMARY]
    lines = [f"On {machine[0]}; medians. In brackets: how many times as good as it evbus is; below 1 evbus loses.", ""]
    lines += table(["what", "evbus", "beside it"], filter(None, rows))
    lines += ["", *losing_lines(results), ""]
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
