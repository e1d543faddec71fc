# bench.bats: what scripts/bench makes of figures: the report that begins with what evbus loses, and README's part.
# The measurements themselves are not run here: figures from a machine that runs tests are worth nothing.
bats_require_minimum_version 1.5.0
load helper

# A tree with the bench and a README of its own, and figures made up: evbus beats JetStream, is beaten by redis, which
# promises as much, by NATS, which stores nothing, and by cat.
make_tree() {
    mkdir -p tree/man tree/build/bench
    cp -r "$ROOT/scripts" tree/
    printf '%s\n' 'before' '<!-- measured: of old -->' 'old' '<!-- end of measured -->' 'after' >tree/README.md
    "$PYTHON" -B - tree <<'END'
import json, sys
sys.path.insert(0, sys.argv[1] + "/scripts")
from benchlib.figures import Results
results = Results()
for name, rates in {
    "evbus": [1.0e6, 1.1e6, 1.2e6],
    "evbus --live": [2.5e6],
    "cat | cat": [4e6],
    "JetStream": [0.1e6],
    "NATS core": [2.2e6],
    "redis stream, always": [3.0e6, 3.3e6, 3.6e6],
}.items():
    results.figure("throughput", "100 B", "rate", name).values = rates
results.runs["throughput"] = {"when": "2026-01-01 10:00", "how": "3 runs; load 0.1 before"}
results.failures.append(["throughput", "100 B", "mosquitto QoS 0", "nothing came"])
with open(sys.argv[1] + "/build/bench/results.json", "w") as out:
    json.dump({"machine": ["a machine", "lines", "versions"], "results": results.to_json()}, out)
END
}

report() {
    "$PYTHON" -B - tree <<'END'
import json, sys
sys.path.insert(0, sys.argv[1] + "/scripts")
from benchlib import pipes, stores, commands, report
from benchlib.figures import Results
data = json.load(open(sys.argv[1] + "/build/bench/results.json"))
print(report.report(Results.from_json(data["results"]), data["machine"]))
END
}

@test "--help names the measurements; one that there is not is a usage error" {
    run -0 "$ROOT/scripts/bench" --help
    assert_output --partial 'latency'
    run -2 "$ROOT/scripts/bench" --only latency,luck
    assert_output --partial 'luck: no such measurement'
}

@test "the report begins with what evbus loses, by what the other promises" {
    make_tree
    run -0 report
    assert_line --index 1 '## Where evbus loses'
    assert_output --partial '1.10 M/s | redis stream, always | 3.30 M/s | synced | 3.00 | - |'
    assert_output --partial '1.10 M/s | NATS core | 2.20 M/s | nothing | 2.00 | evbus --live: 2.50 M/s (1.14) |'
    refute_output --partial '| JetStream | 100 k/s | page cache |'
    assert_output --partial '| redis stream, always | synced | 3.30 M/s (3.00 M/s .. 3.60 M/s); evbus 0.33 |'
    assert_output --partial '- mosquitto QoS 0, 100 B: left out: nothing came'
}

@test "--publish puts the summary between README's markers, again and again" {
    make_tree
    B=$PWD/tree/build run -0 tree/scripts/bench --publish
    run -0 cat tree/README.md
    assert_line --index 0 'before'
    assert_line --partial '| stdin to stdout | 1.10 M/s | 4.00 M/s (**0.28**) |  | 3.30 M/s (**0.33**) | 100 k/s (11) |'
    refute_line 'old'
    assert_line --index -1 'after'
    cp tree/README.md first
    B=$PWD/tree/build run -0 tree/scripts/bench --publish
    run -0 cmp first tree/README.md
}

@test "--publish without results, or into a page without markers, changes nothing" {
    make_tree
    echo 'no markers' >tree/README.md
    B=$PWD/tree/build run -2 tree/scripts/bench --publish
    assert_output --partial 'markers'
    assert_equal "$(cat tree/README.md)" 'no markers'
    rm tree/build/bench/results.json
    B=$PWD/tree/build run -2 tree/scripts/bench --publish
    assert_output --partial 'no results'
}
