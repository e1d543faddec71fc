"""What evbus is to reach: named, so that a run says whether it does."""
import dataclasses

from benchlib.figures import QUANTITIES, how_good


@dataclasses.dataclass(frozen=True)
class Target:
    """Ours at least `times` as good as theirs (0.5: at most twice as slow), or, without theirs, `bound` or better."""

    measurement: str
    case: str
    quantity: str
    theirs: str | None
    times: float = 0
    bound: float = 0
    ours: str = "evbus"

    def text(self):
        if not self.theirs:
            quantity = QUANTITIES[self.quantity]
            return f"{'at least' if quantity.more_is_better else 'at most'} {quantity.show(self.bound)}"
        if self.times >= 1 or QUANTITIES[self.quantity].more_is_better:
            return f"at least {self.times:.2g} times as good as {self.theirs}"
        return f"at most {1 / self.times:.3g} times {self.theirs}"

    def met(self, results):
        """None: not measured."""
        ours = results.get(self.measurement, self.case, self.quantity, self.ours)
        if not ours or not ours.values:
            return None
        if self.theirs:
            ratio = how_good(ours, results.get(self.measurement, self.case, self.quantity, self.theirs))
            return None if ratio is None else ratio >= self.times and not ours.faults
        if QUANTITIES[self.quantity].more_is_better:
            return ours.median() >= self.bound and not ours.faults
        return ours.median() <= self.bound and not ours.faults


TARGETS = [
    Target("throughput", "100 B", "rate", "cat | cat", 0.5),
    Target("throughput", "100 B", "rate", "mosquitto QoS 0", 20),
    Target("throughput", "100 B", "rate", "NATS core", 2),
    Target("replay", "100 B", "rate", "cat", 0.25),
    Target("replay", "100 B", "rate", "JetStream", 6),
    Target("one-shot", "100 B", "time", "mosquitto QoS 1", 1 / 1.5),
    Target("one-shot", "100 B", "time", "redis stream, always", 1),
    Target("latency", "1,000/s", "p50", "cat | cat", 1 / 7),
    Target("groups", "1", "rate", "evbus, no group", 1 / 3),
    Target("topics", "1,000", "rate", None, bound=400_000),
    Target("fold", "balances", "rate", None, bound=200_000),
    Target("filters", "topic", "rate", None, bound=200_000),
    Target("filters", "data", "rate", None, bound=200_000),
    Target("commands", "true", "runs", "xargs -P 2", 0.6),
    Target("calls", "one at a time", "p50", "libzmq", 1 / 3, ours="evbus --quiet-log"),
    Target("calls", "one at a time", "p50", "libzmq", 1 / 3),
    Target("calls", "16 under way", "calls", None, bound=4_000),
    Target("memory", "1,000,000 topics", "memory", None, bound=200),
    Target("memory", "10,000,000 events past a stopped subscriber", "memory", None, bound=40),
    Target("start", "10 GiB", "ready", None, bound=1000, ours="evbus, after kill -9"),
    Target(
        "entity",
        "10 events",
        "time",
        "evbus, alone in its journal",
        1 / 3,
        ours="evbus, 10,000,000 events of 1,000,000 topics",
    ),
]
