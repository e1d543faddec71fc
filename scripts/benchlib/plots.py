"""The pictures, by gnuplot, as SVG. A system has the same colour in all of them."""
import shutil
import subprocess

from benchlib.bench import MIB
from benchlib.pipes import PAYLOADS

COLOURS = {
    "evbus": "#c1121f",
    "evbus --live": "#f4845f",
    "evbus --sync 1000": "#e0a458",
    "evbus, a group": "#8d5a97",
    "cat | cat": "#9a9a9a",
    "libzmq": "#444444",
    "NATS core": "#1b7f3b",
    "JetStream": "#7fc97f",
    "redis pub/sub": "#1f4e9c",
    "redis stream, always": "#5aa0e0",
    "redis stream, everysec": "#a6cbee",
    "mosquitto QoS 0": "#b8860b",
}
PICTURES = [  # file, measurement, what draws it
    ("throughput.svg", "payloads", "payloads"),
    ("latency.svg", "latency", "latency"),
    ("fan-out.svg", "fan-out", "readers"),
    ("groups.svg", "groups", "readers"),
]
TITLES = {
    "throughput.svg": "Throughput by payload, MiB a second (logarithmic)",
    "latency.svg": "Latency, p50 to p99.9: thin at 1,000 events a second, thick at 50,000 (logarithmic)",
    "fan-out.svg": "Fan-out: lines a second over all subscribers, by their number",
    "groups.svg": "A group: lines a second over all members, by their number",
}
PERCENTILES = ("p50", "p99", "p99.9")


def head(file, tics):
    """What all have. tics: (label, x)."""
    labels = ", ".join(f'"{label}" {x}' for label, x in tics)
    return [
        "set terminal svg size 860,440 font 'sans-serif,13' background '#ffffff'",
        f"set title '{TITLES[file]}'",
        "set key outside right top width -2",
        "set grid ytics lc '#dddddd'",
        "set border 3",
        "set tics nomirror",
        "set logscale y",
        f"set xtics ({labels})",
    ]


def block(number, rows):
    return [f"$data{number} << END", *(" ".join(map(str, row)) for row in rows), "END"]


def drawn(results, measurement):
    """The systems of it that have a colour, in the colours' order."""
    there = {figure.system for figure in results.of(measurement) if figure.values}
    return [name for name in COLOURS if name in there]


def lines_picture(results, file, measurement, points, scale=lambda x: 1):
    """A line for each system through its medians, with bars from the smallest to the largest run. points: (case, x);
    scale(x): what a rate is multiplied by there."""
    script, plots = head(file, points), []
    for number, system in enumerate(drawn(results, measurement)):
        figures = [(x, results.get(measurement, case, "rate", system)) for case, x in points]
        rows = [
            (x, *(scale(x) * rate for rate in (f.median(), min(f.values), max(f.values))))
            for x, f in figures
            if f and f.values
        ]
        script += block(number, rows)
        look = f"lc rgb '{COLOURS[system]}' lw {3 if system == 'evbus' else 1.5}"
        plots.append(f"$data{number} using 1:2:3:4 with yerrorlines pt 7 ps 0.5 {look} title '{system}'")
    return [*script, "set format y '%.0s %c'", f"plot {', '.join(plots)}"]


def payloads(results, file, measurement):
    points = [(name, size) for name, size in PAYLOADS.items()]
    script = lines_picture(results, file, measurement, points, lambda size: size / MIB)
    return [
        *script[:-1],
        "set format y '%g'",
        "set logscale x",
        "set xrange [8:1500000]",
        "set xlabel 'payload'",
        script[-1],
    ]


def readers(results, file, measurement):
    cases = sorted({int(figure.case) for figure in results.of(measurement)})
    script = lines_picture(results, file, measurement, [(f"{case}", case) for case in cases])
    label = "subscribers" if measurement == "fan-out" else "members"
    last = [f"set xlabel '{label}'", f"set xrange [{cases[0] * 0.9}:{cases[-1] * 1.1}]", "set logscale x"]
    return [*script[:-1], *last, script[-1]]


def latency(results, file, measurement):
    """For each system two bars from p50 to p99.9, with a point at p99: at 1,000 a second, and at 50,000."""
    systems = drawn(results, measurement)
    script, plots = head(file, [(name, place) for place, name in enumerate(systems)]), []
    for number, system in enumerate(systems):
        for case, shift, width in (("1,000/s", -0.15, 3), ("50,000/s", 0.15, 7)):
            figures = [results.get(measurement, case, quantity, system) for quantity in PERCENTILES]
            script += block(len(plots), [(number + shift, f.median() / 1e6) for f in figures if f and f.values])
            look = f"pt 7 ps 0.7 lw {width} lc rgb '{COLOURS[system]}' notitle"
            plots.append(f"$data{len(plots)} using 1:2 with linespoints {look}")
    script += ["set xtics rotate by -35", f"set xrange [-0.6:{len(systems) - 0.4}]", "set format y '%.0s %cs'"]
    return [*script, "unset key", f"plot {', '.join(plots)}"]


def draw(results, directory):
    """Draws into the directory what there are figures for; returns [(file, title)]. Without gnuplot: nothing."""
    if not shutil.which("gnuplot"):
        return []
    done = []
    for file, measurement, how in PICTURES:
        if not drawn(results, measurement):
            continue
        script = {"payloads": payloads, "latency": latency, "readers": readers}[how](results, file, measurement)
        text = "\n".join([*script[:1], f"set output '{directory / file}'", *script[1:]]) + "\n"
        if subprocess.run(["gnuplot"], input=text, text=True, check=False, timeout=60).returncode == 0:
            done.append((file, TITLES[file]))
    return done
