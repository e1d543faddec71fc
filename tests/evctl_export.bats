# evctl_export.bats: exports and imports: what comes back, what is refused, and what a stop in the middle leaves.
bats_require_minimum_version 1.5.0
load helper

# Every event of the hub at $1, as far as an import into another hub keeps it: an id only where it is the event's own.
events_of() { # URL [FROM]
    timeout 60 evsub -u "$1" --from "${2:-first}" -e -J |
        jq -c 'del(.time, .seq) | if .id | test("^[0-9a-f]{32}-") then del(.id) else . end'
}

# A second hub at $OTHER on the journal `other`.
start_other() { # ARG…
    OTHER=ipc://$BATS_TEST_TMPDIR/other.bus
    EVBUS_URL=$OTHER start_hub -d other "$@"
    OTHER_PID=$HUB_PID
}

# Events of all kinds: many of a batch, headers, ids, every byte, empty.
many_kinds() {
    local n
    for n in 1 2 3; do
        seq "$n" 40 | sed "s/^/line $n /" | evpub "order.$n"
    done
    evpub -H colour=red -H 'größe=12 µm' --id first-of-all order.2.paid ''
    printf '%b' "$(printf '\\x%02x' {0..255})" | evpub -s bytes
    head -c 200000 /dev/zero | evpub -s large
    seq 500 | evpub order.1
}

# Fails unless COMMAND… exits STATUS and says something that has TEXT.
assert_refused() { # STATUS TEXT COMMAND…
    run --separate-stderr timeout 30 "${@:3}"
    assert_equal "$status" "$1"
    [[ $stderr == *"$2"* ]] || fail "${*:3}: $stderr"
}

@test "an export into another hub brings topics, payloads, headers, ids and order, and exports the same again" {
    start_hub
    start_other
    many_kinds
    run evctl export -o all.evb
    assert_output --regexp '^620 events, seqs 1 to 620, [0-9]+ bytes$'
    run evctl -u "$OTHER" import all.evb
    assert_output '620 of 620 events stored, as seqs 1 to 620'
    events_of "$EVBUS_URL" >here
    events_of "$OTHER" >there
    assert_equal "$(wc -l <here)" 620
    cmp here there
    # Versions and seqs are those of the same events; times and derived ids are not.
    evctl -u "$OTHER" export -o again.evb
    assert_equal "$(stat -c %s all.evb)" "$(stat -c %s again.evb)"
}

@test "a file, a pipe and a journal without its hub give the same bytes" {
    start_hub
    many_kinds
    evctl export -o file.evb
    evctl export | cat >pipe.evb
    cmp file.evb pipe.evb
    assert_refused 75 "$HUB_PID" evctl -d "$JOURNAL" export -o offline.evb
    assert_not_exists offline.evb
    stop_hub
    evctl -d "$JOURNAL" export >offline.evb
    cmp file.evb offline.evb
    assert_refused 64 'No such file' evctl -d nowhere export -o offline.evb
}

@test "a part: by seqs, times and patterns, also in the middle of a batch" {
    start_hub
    many_kinds
    evctl export --from 10 --to 50 -o part.evb
    run evctl -J import --dry-run part.evb
    assert_equal "$(jq -c '[.events, .first, .last, .missing]' <<<"$output")" '[41,10,50,0]'
    evctl export 'order.*.paid' bytes -o part.evb
    run evctl -J import -n part.evb
    assert_equal "$(jq -c '[.events, .first, .last, .missing]' <<<"$output")" '[2,118,119,0]' ||
        evsub --from first -e -F '%s %t\n' 'order.*.paid' bytes
    run evctl export --from -3 -o part.evb order.1
    assert_output --regexp '^3 events, seqs 618 to 620,'
    run evctl export --from last -o part.evb order.3
    assert_output --regexp '^1 event, seqs 117 to 117,'
    run evctl export --from 1h --to now -o part.evb
    assert_output --regexp '^620 events,'
    run evctl export --to 2020-01-01 -o part.evb
    assert_output 'no events'
    run evctl export --from now -o part.evb
    assert_output 'no events'
    run evctl import part.evb
    assert_output '0 of 0 events stored'
    start_other
    evctl export --from 10 --to 50 | evctl -u "$OTHER" import
    evsub --from 10 --to 50 -t >here
    evsub -u "$OTHER" --from first -e -t >there
    cmp here there
    stop_hub
}

@test "wrong uses of export and import" {
    start_hub
    evpub one 1
    assert_refused 64 '--from: ' evctl export --from tomorrowish -o x
    assert_refused 64 '--to -3' evctl export --to -3 -o x
    assert_refused 65 'a..b' evctl export a..b -o x
    assert_refused 64 '-o' evctl -J export
    assert_refused 64 'one FILE' evctl import a b
    assert_refused 64 'No such file' evctl import nowhere
    assert_refused 69 '' evctl -u "ipc://$PWD/nobody" export -o x
    assert_refused 74 '/proc/nowhere' evctl export -o /proc/nowhere/x
    assert_not_exists x
    assert_equal "$(find . -name 'x.*')" ''
}

@test "stdout that is full, and a fifo and a device as output" {
    start_hub
    many_kinds
    run --separate-stderr bash -c 'evctl export >/dev/full'
    assert_equal "$status" 74
    assert_equal "$stderr" 'evctl: stdout: cannot write: No space left on device'
    run -74 evctl export -o /dev/full
    assert_output 'evctl: /dev/full: cannot write: No space left on device'
    evctl export -o /dev/null
    assert_exists /dev/null
    [[ -c /dev/null ]]
    mkfifo pipe
    start bash -c 'cat pipe >got'
    timeout 20 evctl export -o pipe order.2.paid
    wait_for_exit "$PID"
    [[ -p pipe ]]
    evctl import -n got
}

@test "a file cut short anywhere, or with any byte changed, is refused with its place, and nothing is stored" {
    start_hub
    start_other
    seq 3 | evpub small
    evpub -H a=b small 4
    evctl export -o good.evb
    size=$(stat -c %s good.evb)
    for ((at = 0; at < size; at += 7)); do
        head -c "$at" good.evb >bad.evb
        assert_refused 65 "bad.evb: offset " evctl -u "$OTHER" import bad.evb
    done
    $PYTHON - <<'PY'
data = open("good.evb", "rb").read()
for at in range(0, len(data), 5):
    open(f"changed.{at}", "wb").write(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
PY
    for changed in changed.*; do
        assert_refused 65 'offset ' evctl -u "$OTHER" import "$changed"
    done
    (cat good.evb && echo) >bad.evb
    assert_refused 65 "offset $size, behind seq 4: bytes follow its end" evctl -u "$OTHER" import bad.evb
    head -c -1 good.evb | { assert_refused 65 'stdin: offset ' evctl -u "$OTHER" import; }
    assert_refused 65 'offset 0, before the first event: this is no export' evctl -u "$OTHER" import <<<"something else"
    assert_equal "$(evctl -u "$OTHER" -J status | jq .head)" 0
}

@test "the same file again is not stored again, over a restart of the hub" {
    start_hub
    many_kinds
    evctl export -o all.evb
    start_other
    evctl -u "$OTHER" import <all.evb
    run evctl -u "$OTHER" import all.evb
    assert_output '0 of 620 events stored; 620 were there already'
    kill -TERM "$OTHER_PID"
    wait_for_exit "$OTHER_PID"
    start_other
    run evctl -u "$OTHER" -J import all.evb
    assert_equal "$(jq -c '[.events, .stored, .again, .left_out]' <<<"$output")" '[620,0,620,0]'
    # A part of it is another file, and --after another import. An event with an id of its own is known by it.
    run evctl -u "$OTHER" import --after 20 all.evb
    assert_output '599 of 620 events stored, as seqs 621 to 1219; 1 was there already; 20 left out'
    run evctl -u "$OTHER" import --after 20 all.evb
    assert_output '0 of 620 events stored; 600 were there already; 20 left out'
}

@test "a hub that is killed in the middle of an import: run again, each event is there once" {
    local round
    start_hub --sync none
    # Each a batch of its own.
    seq 60000 | sed 's/\(.*\)\(.\)$/t.\2\t\1\2/' | evpub -T
    evctl export -o all.evb
    for round in 1 2; do
        rm -rf other
        start_other
        start_sub seen -u "$OTHER" -n 1 '#' # the import has begun
        start timeout 60 evctl -u "$OTHER" --timeout 2 import all.evb 2>import.err >import.out
        importer=$PID
        wait_for_exit "$SUB_PID"
        kill -KILL "$OTHER_PID"
        wait_for_exit "$OTHER_PID" || true
        status=0
        wait_for_exit "$importer" || status=$?
        if ((status)); then
            assert_equal "$status" 75
            grep -E '^evctl: .*; ([0-9]+ events of all.evb are stored, up to its seq [0-9]+: run it again soon, or later with --after [0-9]+|nothing of .*)$' import.err
        fi
        start_other
        evctl -u "$OTHER" import all.evb
        evsub -u "$OTHER" --from first -e -r -F '%t %v %p\n' >there
        evsub --from first -e -r -F '%t %v %p\n' >here
        cmp here there
        kill -TERM "$OTHER_PID"
        wait_for_exit "$OTHER_PID"
    done
}

@test "events that the hub would refuse: a payload over its limit, topics of its own" {
    start_hub
    evpub small 1
    head -c 200000 /dev/zero | evpub -s large
    evctl export -o all.evb
    start_other --max-payload 100K
    assert_refused 65 'seq 2: a payload of 200000 bytes: over the hub'"'"'s limit of 102400' \
        evctl -u "$OTHER" import all.evb
    assert_equal "$(evctl -u "$OTHER" -J status | jq .head)" 0
    # A dead letter is the hub's own.
    evsub -g workers -n 0 --from first small
    printf 'take 1 10\nreject 1 no use\nquit\n' | timeout 30 "$PYTHON" "$ROOT/tests/peers/member.py" workers
    timeout 20 evsub --from first -n 1 '$dead.workers'
    run evctl export -o dead.evb '$dead.workers'
    assert_output --regexp '^1 event'
    run evctl -u "$OTHER" import dead.evb
    assert_output '0 of 1 event stored; 1 left out'
}

@test "import -d makes a new journal that is the old one, byte for byte" {
    start_hub --segment 64K
    many_kinds
    evpub -v order.1 last
    evsub --from first -e -J >here
    evctl export -o all.evb
    stop_hub
    run evctl -d copy import all.evb
    assert_output '621 of 621 events stored, as seqs 1 to 621'
    cmp <(cat "$JOURNAL"/*.evj) <(cat copy/*.evj)
    assert_equal "$(stat -c %a copy)" 700
    evctl -d copy verify
    start_hub -d copy
    evsub --from first -e -J >there
    cmp here there
    assert_equal "$(evpub -p order.1 more)" 622
    stop_hub
    assert_refused 64 'is there and not empty' evctl -d copy import all.evb
    ln -s nowhere link
    assert_refused 64 'is there' evctl -d link/ import all.evb
    assert_refused 64 'is there' evctl -d all.evb import all.evb
    mkdir empty
    cat all.evb | TMPDIR='' evctl -d empty// import
    evctl -d empty verify
    # What has gaps is no journal.
    evctl -d copy export bytes order.3 >part.evb
    assert_refused 65 'a journal has no gaps' evctl -d other import part.evb
    assert_not_exists other
    head -c -1 all.evb >cut.evb
    assert_refused 65 'cut short' evctl -d other import cut.evb
    assert_not_exists other
    assert_equal "$(find . -maxdepth 1 -name 'other*')" ''
}

@test "a signal in the midst of import -d or export -o: nothing is left behind, nothing is changed" {
    local number sig call made copied
    local -x ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 # which strace does not go with
    start_hub
    many_kinds
    evctl export -o all.evb
    mkdir tmp to to/new
    strace -qq -e trace=openat -o opened evctl export -o to/x.evb
    made=$(grep -n -m 1 'to/x[.]evb[.]' opened | cut -d : -f 1)
    rm to/x.evb
    mkfifo pipe
    export TMPDIR=$PWD/tmp
    start bash -c 'exec cat all.evb >pipe'
    strace -qq -e trace=openat -o opened evctl -d to/new import pipe
    wait_for_exit "$PID"
    copied=$(grep -n -m 1 "$TMPDIR/evctl[.]" opened | cut -d : -f 1)
    rm -r to/new
    mkdir to/new
    for sig in INT TERM HUP; do
        number=$(kill -l "$sig")
        for call in "openat:when=$copied" mkdir:when=2 pwrite64 fdatasync; do # the first mkdir is of to
            start bash -c 'exec cat all.evb >pipe'
            run timeout 20 strace -qq -o /dev/null -e inject="${call%:*}:signal=$sig${call#"${call%:*}"}" \
                evctl -d to/new import pipe
            assert_equal "$status" $((128 + number))
            wait_for_exit "$PID" || true # nobody may read on
            assert_equal "$(ls tmp to to/new)" $'tmp:\n\nto:\nnew\n\nto/new:'
        done
        for call in "openat:when=$made" fchmod fsync:when=2; do # the first fsync is of to's own name
            run timeout 20 strace -qq -o /dev/null -e inject="${call%:*}:signal=$sig${call#"${call%:*}"}" \
                evctl export -o to/x.evb
            assert_equal "$status" $((128 + number))
            assert_equal "$(ls to)" new
        done
    done
}

@test "export -o keeps a file's permissions, gives a new one what the umask leaves, and says what could not be read" {
    skip_if_sanitized # strace is in the way of their own check
    start_hub --segment 64K
    many_kinds
    umask 027
    evctl export -o new.evb
    assert_equal "$(stat -c %a new.evb)" 640
    chmod 604 new.evb
    evctl export -o new.evb
    assert_equal "$(stat -c %a new.evb)" 604
    stop_hub
    run strace -qq -o /dev/null -P "$JOURNAL/00000000000000000001.evj" -e inject=pread64:error=EIO \
        evctl -d "$JOURNAL" export -o x
    assert_failure 74
    assert_output --regexp "^evctl: 00000000000000000001.evj: .*Input/output error"
    assert_not_exists x
}

@test "what is gone: a seq before the first that is left is refused, the default and --allow-gap take what is left" {
    start_hub
    seq 10 | evpub a
    $PYTHON "$ROOT/tests/peers/ask.py" trim 5 || skip "no trim"
    run evctl export -o left.evb
    assert_output --regexp '^6 events, seqs 5 to 10,'
    assert_refused 1 'before seq 5' evctl export --from 2 -o x
    assert_not_exists x
    run evctl export --from 2 --allow-gap -o left.evb
    assert_output --regexp '^6 events, seqs 5 to 10,'
    # A copy begins where the old one did.
    evctl -d copy import left.evb
    stop_hub
    start_hub -d copy
    assert_equal "$(evsub --from first -e -F '%s %v %p,' -r)" '5 5 5,6 6 6,7 7 7,8 8 8,9 9 9,10 10 10,'
}

@test "an export under load ends at the head of when it began" {
    start_hub
    seq 20000 | evpub a
    start bash -c 'exec evpub a < <(exec yes)' # which ends with it
    publisher=$PID
    timeout 60 evctl export -o one.evb
    kill -KILL "$publisher"
    evctl -J import -n one.evb | jq -e '.events >= 20000 and .missing == 0'
}

@test "1,000,000 events out and in, in seconds" {
    skip_if_sanitized
    start_hub --sync none
    start_other --sync none
    seq 1000000 | sed 's/\(.*\)\(.\)$/t.\2\tthe number is \1\2/' | evpub -T
    local cpu TIMEFORMAT='%0U+%0S' # of the processor, since others may use it, too
    { time { evctl export | evctl -u "$OTHER" import; } 2>import.err; } 2>cpu
    (($(<cpu) <= 10))
    cmp <(evsub --from first -e -t) <(evsub -u "$OTHER" --from first -e -t)
}
