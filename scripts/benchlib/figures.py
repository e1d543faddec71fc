"""One figure: what was measured of whom, its runs, median and spread."""
import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Quantity:
    title: str
    more_is_better: bool
    unit: str

    def show(self, value):
        if self.unit == "/s":
            return f"{short(value)}/s"
        value, unit = self.scale(value)
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
        return f"{value:,.{digits}f} {unit}"

    def scale(self, value):
        """Times in what leaves few digits."""
        unit = self.unit
        for smaller, larger in (("us", "ms"), ("ms", "s")):
            if unit == smaller and value >= 1000:
                value, unit = value / 1000, larger
        return value, unit


QUANTITIES = {
    "rate": Quantity("events a second", True, "/s"),
    "runs": Quantity("runs of the command a second", True, "/s"),
    "calls": Quantity("round trips a second", True, "/s"),
    "p50": Quantity("latency, p50", False, "us"),
    "p99": Quantity("latency, p99", False, "us"),
    "p99.9": Quantity("latency, p99.9", False, "us"),
    "cpu": Quantity("CPU seconds a million events, both ends and broker", False, "s"),
    "time": Quantity("time from exec to exit", False, "ms"),
    "memory": Quantity("memory (RssAnon) of hub or broker, peak", False, "MiB"),
    "ready": Quantity("time from exec to ready", False, "ms"),
}


def short(value):
    """3 significant digits: 2.51 M, 98.3 k, 812."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.{3 - len(str(int(value / unit))) if value / unit < 100 else 0}f}{name}"
    return f"{value:.0f}"


@dataclasses.dataclass
class Figure:
    """values has one figure a run. faults: what a run did not do as it should (lost, doubled, disordered lines)."""

    measurement: str
    case: str
    quantity: str
    system: str
    values: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    faults: list = dataclasses.field(default_factory=list)

    def median(self):
        return statistics.median(self.values) if self.values else None

    def show(self):
        """2.51 M/s (2.40 .. 2.62)."""
        if not self.values:
            return "-"
        text, shown = self.show_median(), QUANTITIES[self.quantity]
        if len(self.values) > 1:
            text += f" ({shown.show(min(self.values))} .. {shown.show(max(self.values))})"
        return " ".join([text, *self.remarks()])

    def show_median(self):
        return QUANTITIES[self.quantity].show(self.median())

    def remarks(self):
        return [f"({remark})" for remark in (self.faults or self.notes)[-1:]]


def how_good(ours, theirs):
    """How many times as good as theirs ours is: more than 1 when ours is better, whatever the quantity. None: nothing
    to compare."""
    if not ours or not theirs or not ours.values or not theirs.values:
        return None
    mine, other = ours.median(), theirs.median()
    if not mine or not other:
        return None
    return mine / other if QUANTITIES[ours.quantity].more_is_better else other / mine


def spreads_overlap(ours, theirs):
    return min(ours.values) <= max(theirs.values) and min(theirs.values) <= max(ours.values)


class Results:
    """All figures, by measurement, in the order in which they came; and when each measurement was made."""

    def __init__(self):
        self.figures = {}  # (measurement, case, quantity, system): Figure
        self.failures = []  # [measurement, case, system, why]
        self.runs = {}  # measurement: when it was made, and how

    def figure(self, measurement, case, quantity, system):
        """That figure, made if it is not there."""
        key = (measurement, case, quantity, system)
        return self.figures.setdefault(key, Figure(*key))

    def get(self, measurement, case, quantity, system):
        return self.figures.get((measurement, case, quantity, system))

    def of(self, measurement):
        return [figure for key, figure in self.figures.items() if key[0] == measurement]

    def forget(self, measurement):
        self.figures = {key: figure for key, figure in self.figures.items() if key[0] != measurement}
        self.failures = [failure for failure in self.failures if failure[0] != measurement]
        self.runs.pop(measurement, None)

    def to_json(self):
        figures = [dataclasses.asdict(figure) for figure in self.figures.values()]
        return {"runs": self.runs, "failures": self.failures, "figures": figures}

    @classmethod
    def from_json(cls, data):
        results = cls()
        results.runs, results.failures = data["runs"], data["failures"]
        for fields in data["figures"]:
            figure = Figure(**fields)
            results.figures[figure.measurement, figure.case, figure.quantity, figure.system] = figure
        return results
