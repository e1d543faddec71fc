# evfold.bats: states from events: what is folded, the state file and what may happen to it, --at, and faults.
bats_require_minimum_version 1.5.0
load helper

# Balances: account.deposit and account.withdraw, {"by": NAME, "sum": N}.
BALANCE='.[$event.data.by] += (if $event.topic == "account.deposit" then 1 else -1 end) * $event.data.sum'

# evfold with a bound on its time.
fold() { # ARG…
    timeout 30 evfold "$@"
}

# Fails unless evfold ARG… prints EXPECTED and exits 0.
assert_fold() { # EXPECTED ARG…
    run --separate-stderr fold "${@:2}"
    assert_success
    assert_equal "$output" "$1"
}

# Fails unless evfold ARG… exits STATUS, prints nothing and says something that has TEXT.
assert_refused() { # STATUS TEXT ARG…
    run --separate-stderr fold "${@:3}"
    assert_equal "$status" "$1"
    assert_equal "$output" ''
    [[ $stderr == *"$2"* ]] || fail "evfold ${*:3}: $stderr"
}

deposit() { evpub account.deposit "{\"by\":\"$1\",\"sum\":$2}"; }
withdraw() { evpub account.withdraw "{\"by\":\"$1\",\"sum\":$2}"; }

# 1 ann +100, 2 bob +50, 3 other, 4 ann -30
four_events() {
    deposit ann 100
    deposit bob 50
    evpub other text
    withdraw ann 30
}

# What a member of the state file is.
kept() { # FILTER [FILE]
    jq -c "$1" "${2:-state}"
}

# Fails unless the fold in the background ends, with STATUS.
assert_ended() { # STATUS
    local status=0
    wait_for_exit "$SUB_PID" || status=$?
    assert_equal "$status" "$1"
}

# Starts evfold ARG… in the background as start_sub does evsub; stdout to OUT. $SUB_PID.
start_fold() { # OUT ARG…
    local out=$1 status=0
    shift
    start_ready "$out" "$out.err" evfold "$@" || status=1
    SUB_PID=$PID
    return "$status"
}

@test "the state at the end, after each event, quietly, and from --init" {
    start_hub
    four_events
    assert_fold '{"ann":70,"bob":50}' -e 'account.*' "$BALANCE"
    assert_fold $'{"ann":100}\n{"ann":100,"bob":50}\n{"ann":70,"bob":50}' --print -e 'account.*' "$BALANCE"
    assert_fold '' -q -e 'account.*' "$BALANCE"
    assert_fold '{"ann":71,"bob":50}' --init '{"ann":1}' -e 'account.*' "$BALANCE"
    assert_fold '4' -e '. + 1'
    assert_fold '1' -e other '. + 1'
    assert_fold 'null' -e nothing '. + 1'
    assert_fold '7' --init 7 -e nothing '. + 1'
    assert_fold '2' -e account.withdraw other '. + 1'
}

@test "\$event is what evsub -J prints, and .data" {
    start_hub
    jq -nc '{topic: "a.b", id: "one", headers: {who: "ann"}, payload: "{\"n\":[1,null,\"x\"]}"}' | evpub -J
    evpub a.b 'plain text'
    printf '\xff\x00' | evpub -s a.b
    evpub a.b 12.5
    evsub --from first -e -J | jq -cS . >expected
    fold -p -e '$event' | jq -cS 'del(.data)' | diff expected -
    fold -p -e '$event.data' >actual
    printf '{"n":[1,null,"x"]}\nnull\nnull\n12.5\n' | diff - actual
    fold -p -e '$event | [has("data", "payload", "payload_base64")]' >actual
    printf '[true,true,false]\n[false,true,false]\n[false,false,true]\n[true,true,false]\n' | diff - actual
    assert_fold '"one"' --at 1 '$event.id'
    assert_fold '"ann"' --at 1 '$event.headers.who'
    assert_fold '"/wA="' --at 3 '$event.payload_base64'
}

@test "--from: every position; without it from seq 1" {
    start_hub
    four_events
    assert_fold '4' -e '. + 1'
    assert_fold '4' --from first -e '. + 1'
    assert_fold '2' --from 3 -e '. + 1'
    assert_fold '1' --from -1 -e '. + 1'
    assert_fold '1' --from last -e '. + 1'
    assert_fold '4' --from 10m -e '. + 1'
    assert_fold 'null' --from now -e '. + 1'
    assert_fold 'null' --from 99 -e '. + 1'
}

@test "live: each state is out at once, and the end comes by signal" {
    start_hub
    start_fold out --print 'account.*' "$BALANCE"
    deposit ann 1
    wait_for_lines out 1
    deposit bob 2
    wait_for_lines out 2
    kill -TERM "$SUB_PID"
    assert_ended 143
    printf '{"ann":1}\n{"ann":1,"bob":2}\n' | diff - out
}

@test "live: the state is printed when a signal ends it; the first events are there" {
    start_hub
    four_events
    start_fold out -v 'account.*' "$BALANCE"
    wait_for_text out.err 'caught up'
    kill -INT "$SUB_PID"
    assert_ended 130
    assert_equal "$(cat out)" '{"ann":70,"bob":50}'
}

@test "--print: when the reader has gone it ends, quietly, and at once" {
    start_hub
    four_events
    mkfifo pipe
    head -n 1 pipe >first &
    STARTED+=($!)
    run --separate-stderr timeout 20 sh -c 'exec evfold --print "account.*" ". + 1" >pipe'
    assert_equal "$status" 141
    assert_equal "$stderr" ''
}

@test "over a restart of the hub nothing is missed or folded twice" {
    start_hub
    start_fold out -s state --every 1 -v '. + $event.data'
    evpub n 1
    kill_hub
    wait_for_text out.err 'the hub is gone'
    start_hub
    evpub n 2
    wait_for_text out.err 'reconnected'
    seq 3 1000 | evpub n
    kill -TERM "$SUB_PID"
    wait_for_exit "$SUB_PID" || true
    assert_fold 500500 -s state -e '. + $event.data'
}

@test "live events, which are never stored, are not folded" {
    start_hub
    start_fold out --print '. + 1'
    evpub --live a x
    evpub a x
    wait_for_lines out 1
    evpub --live a x
    evpub a x
    wait_for_lines out 2
    printf '1\n2\n' | diff - out
    assert_fold 2 -e '. + 1'
}

# ---- the state file ----

@test "a run goes on where the last one ended" {
    start_hub
    deposit ann 100
    assert_fold '{"ann":100}' --state state -e 'account.*' "$BALANCE"
    assert_equal "$(kept '[.position, .events, .last.seq, .state, .patterns, .init]')" \
        '[2,1,1,{"ann":100},["account.*"],null]'
    assert_fold '{"ann":100}' --state state -e 'account.*' "$BALANCE"
    deposit bob 50
    withdraw ann 30
    assert_fold '{"ann":70,"bob":50}' --state state -e 'account.*' "$BALANCE"
    assert_equal "$(kept '[.position, .events, .last.seq]')" '[4,3,3]'
    # the file goes before --from
    assert_fold '{"ann":70,"bob":50}' --state state --from first -e 'account.*' "$BALANCE"
    # what does not match moves the position too
    evpub other x
    assert_fold '{"ann":70,"bob":50}' --state state -e 'account.*' "$BALANCE"
    assert_equal "$(kept '[.position, .events, .last.seq]')" '[5,3,3]'
}

@test "--from now with a state file: the position stands from then on" {
    start_hub
    deposit ann 100
    assert_fold null -s state --from now -e 'account.*' "$BALANCE"
    deposit ann 1
    assert_fold '{"ann":1}' -s state --from now -e 'account.*' "$BALANCE"
}

@test "--every: by count and by time, and at the end" {
    start_hub
    start_fold out -v -s state --every 100 --every 1h -q '. + 1'
    assert_equal "$(kept .state)" null
    seq 100 | evpub n
    wait_for_text out.err 'state kept, next seq 101'
    assert_equal "$(kept .state)" 100
    evpub n 1
    kill -TERM "$SUB_PID"
    assert_ended 143
    start_fold out -v -s state --every 100ms -q '. + 1'
    evpub n 1
    wait_for_text out.err 'state kept, next seq 103'
    evpub n 1
    wait_for_text out.err 'state kept, next seq 104'
    seq 7 | evpub n
    kill -TERM "$SUB_PID"
    assert_ended 143
    assert_fold 110 -s state -e '. + 1'
}

@test "kill -9 at any time: the next run makes the same state" {
    start_hub
    local round
    for round in 1 2 3 4 5 6; do
        seq $(((round - 1) * 4000 + 1)) $((round * 4000)) | evpub n
        mkfifo said
        evfold -v -s state --every $((round * 300)) -q '. + $event.data' 2>said 3>&- &
        SUB_PID=$!
        STARTED+=("$SUB_PID")
        # a whole file more, and dead
        timeout 20 grep -m 2 'state kept' said >/dev/null
        kill -KILL "$SUB_PID" || true
        wait_for_exit "$SUB_PID" || true
        rm said
        jq -e '.position > 0' state >/dev/null
    done
    assert_fold 288012000 -s state -e '. + $event.data'
    assert_equal "$(kept '[.position, .events]')" '[24001,24000]'
}

@test "the state file's permissions stay; nothing else is left beside it but the lock" {
    start_hub
    four_events
    fold -s state -e '. + 1' >/dev/null
    chmod 600 state
    evpub a x
    fold -s state -e '. + 1' >/dev/null
    assert_equal "$(stat -c %a state)" 600
    assert_equal "$(echo state*)" 'state state.lock'
}

@test "two on one state file: the second is refused, and names the first; --at may read" {
    start_hub
    four_events
    start_fold out -s state -q 'account.*' "$BALANCE"
    assert_refused 75 "state.lock: held by another process, pid $SUB_PID" -s state -e 'account.*' "$BALANCE"
    assert_fold '{"ann":100}' -s state --at 1 'account.*' "$BALANCE"
    kill -KILL "$SUB_PID"
    wait_for_exit "$SUB_PID" || true
    assert_fold '{"ann":70,"bob":50}' -s state -e 'account.*' "$BALANCE"
}

@test "a damaged state file: said, exit 65, and left as it is" {
    start_hub
    four_events
    fold -q -s state -e 'account.*' "$BALANCE"
    cp state whole
    local damage
    for damage in 's/70/71/' 's/"position":5/"position":4/' 's/..$//' 's/"xxh3":"./"xxh3":"x/' 's/.*/{}/' \
        's/.*/[1]/' 's/.*//' 's/.*/not JSON/' 's/"evfold":1/"evfold":2/' 's/"evfold":1,//'; do
        sed "$damage" whole >state
        cp state before
        assert_refused 65 'state: not a state file of evfold, or damaged: ' -s state -e 'account.*' "$BALANCE"
        cmp state before
        assert_refused 65 'state: ' -s state --adopt -e 'account.*' "$BALANCE"
        assert_refused 65 'state: ' -s state --at 4 'account.*' "$BALANCE"
        cmp state before
    done
    : >state
    assert_refused 65 'it is empty' -s state -e 'account.*' "$BALANCE"
    head -c 60 whole >state
    assert_refused 65 'damaged' -s state -e 'account.*' "$BALANCE"
    head -c 5000 /dev/urandom >state
    assert_refused 65 'damaged' -s state -e 'account.*' "$BALANCE"
    mkdir dir
    assert_refused 65 'not a regular file' -s dir -e 'account.*' "$BALANCE"
}

@test "a state set by hand is taken without its checksum" {
    start_hub
    four_events
    fold -q -s state -e 'account.*' "$BALANCE"
    jq 'del(.xxh3) | .state.ann = 1000' state >edited
    mv edited state
    deposit ann 1
    assert_fold '{"ann":1001,"bob":50}' -s state -e 'account.*' "$BALANCE"
    kept .xxh3 | grep -qE '^"[0-9a-f]{16}"$'
}

@test "another expression, patterns or --init than the file's: refused, unless --adopt" {
    start_hub
    four_events
    fold -q -s state -e 'account.*' "$BALANCE"
    cp state before
    assert_refused 65 'state: was made with another expression' -s state -e 'account.*' "$BALANCE | ."
    assert_refused 65 'state: was made with other patterns' -s state -e 'account.#' "$BALANCE"
    assert_refused 65 'state: was made with another --init' -s state --init '{}' -e 'account.*' "$BALANCE"
    cmp state before
    deposit ann 1
    assert_fold '{"ann":71,"bob":50,"new":1}' -s state --adopt -e 'account.#' "$BALANCE | .new = 1"
    assert_fold '{"ann":71,"bob":50,"new":1}' -s state -e 'account.#' "$BALANCE | .new = 1"
    # also where there is nothing new
    assert_fold '{"ann":71,"bob":50,"new":1}' -s state --adopt -e 'account.#' "$BALANCE"
    assert_fold '{"ann":71,"bob":50,"new":1}' -s state -e 'account.#' "$BALANCE"
}

@test "another journal: beyond its head, or with another event in that place" {
    start_hub
    four_events
    fold -q -s state -e 'account.*' "$BALANCE"
    stop_hub
    rm -r "$JOURNAL"
    start_hub
    assert_refused 1 "state: stands at 5, beyond the journal's end at 0" -s state -e 'account.*' "$BALANCE"
    four_events
    four_events
    assert_refused 1 "state: another journal's: its seq 4 is " -s state -e 'account.*' "$BALANCE"
    rm state
    assert_fold '{"ann":140,"bob":100}' -s state -e 'account.*' "$BALANCE"
}

@test "a full disk: said once, folding goes on, the last good file stays; exit 74 if it is so at the end" {
    start_hub
    # no file may grow beyond 1 KiB, as if the disk were full there; what the file has of the expression is more
    local long="$BALANCE # $(printf '%01200d' 0)"
    deposit ann 1
    fold -q -s state -e 'account.*' "$long"
    cp state before
    deposit ann 2
    deposit ann 3
    # shellcheck disable=SC2016 # expanded by the inner shell
    run --separate-stderr timeout 30 bash -c 'trap "" XFSZ; ulimit -f 1; exec evfold "$@"' fold \
        -s state --every 1 -p -e 'account.*' "$long"
    assert_equal "$status" 74
    assert_equal "$output" $'{"ann":3}\n{"ann":6}'
    assert_equal "${stderr_lines[0]}" \
        'evfold: state.tmp: File too large: the state file stays as it was; trying again'
    assert_equal "${#stderr_lines[@]}" 2
    cmp state before
    assert_fold '{"ann":6}' -s state -e 'account.*' "$long"
    assert_equal "$(echo state*)" 'state state.lock'
}

@test "a state file that cannot be written is tried again each second, also with a shorter --every" {
    start_hub
    mkdir dir
    start_fold out -s dir/state --every 1ms -q '. + 1'
    mv dir/state kept
    mkdir dir/state # in the file's place
    evpub n 1
    wait_for_text out.err 'trying again'
    local before after
    before=$(awk '/^syscw/ {print $2}' "/proc/$SUB_PID/io")
    read -r -t 0.5 <> <(:) || true
    after=$(awk '/^syscw/ {print $2}' "/proc/$SUB_PID/io")
    ((after - before < 20)) || fail "$((after - before)) writes in half a second"
    rmdir dir/state
    wait_for_text out.err 'written again'
    assert_equal "$(kept .state dir/state)" 1
}

@test "a place that cannot be written is said at once" {
    start_hub
    four_events
    assert_refused 74 'new/state.lock: No such file or directory' -s new/state -e '. + 1'
    mkdir place
    assert_refused 65 'not a regular file' -s place -e '. + 1'
}

# ---- --at ----

@test "--at SEQ: every seq, also between and with a state file before or behind it" {
    start_hub
    four_events
    local want=('null' '{"ann":100}' '{"ann":100,"bob":50}' '{"ann":100,"bob":50}' '{"ann":70,"bob":50}') seq
    for seq in 1 2 3 4; do
        assert_fold "${want[seq]}" --at "$seq" 'account.*' "$BALANCE"
    done
    assert_refused 1 '--at: there is no seq 5 yet: the head is 4' --at 5 'account.*' "$BALANCE"
    evpub other x
    assert_fold "${want[4]}" --at 5 'account.*' "$BALANCE"
    # a state file at each place
    local at
    for at in 1 2 3 4; do
        rm -f state
        fold --at "$at" -q 'account.*' "$BALANCE"
        jq -nc --argjson state "${want[at]}" --arg e "$BALANCE" --argjson at "$at" \
            '{evfold: 1, position: ($at + 1), events: 1, last: null, patterns: ["account.*"], expression: $e,
              init: null, state: $state}' >state
        cp state before
        for seq in 1 2 3 4; do
            assert_fold "${want[seq]}" -s state --at "$seq" 'account.*' "$BALANCE"
        done
        cmp state before
    done
    [[ ! -e state.lock ]]
}

@test "--at TIME" {
    start_hub
    four_events
    local times
    mapfile -t times < <(evsub --from first -e -F '%T\n')
    assert_fold '{"ann":100}' --at "${times[0]}" 'account.*' "$BALANCE"
    assert_fold '{"ann":100,"bob":50}' --at "${times[1]}" 'account.*' "$BALANCE"
    assert_fold '{"ann":70,"bob":50}' --at "${times[3]}" 'account.*' "$BALANCE"
    assert_fold '{"ann":70,"bob":50}' --at now 'account.*' "$BALANCE"
    assert_fold '{"ann":70,"bob":50}' --at 2100-01-01 'account.*' "$BALANCE"
    assert_fold null --at 1d 'account.*' "$BALANCE"
    fold -q -s state -e 'account.*' "$BALANCE"
    cp state before
    assert_fold '{"ann":100}' -s state --at "${times[0]}" 'account.*' "$BALANCE"
    withdraw ann 70
    assert_fold '{"ann":0,"bob":50}' -s state --at now 'account.*' "$BALANCE"
    cmp state before
    assert_fold $'{"ann":100}\n{"ann":100,"bob":50}' --print --at "${times[1]}" 'account.*' "$BALANCE"
}

# ---- faults ----

@test "an expression that fails names the seq; the state before it is kept, whenever it was last written" {
    start_hub
    four_events
    evpub account.deposit '{"by":"bob","sum":"x"}'
    deposit bob 1
    assert_refused 65 'seq 5: account.deposit: ' -e 'account.*' "$BALANCE"
    local every
    for every in 1 2 3 1000 1h; do
        rm -f state
        assert_refused 65 'seq 5: account.deposit: ' -s state --every "$every" -e 'account.*' "$BALANCE"
        assert_equal "$(kept '[.position, .events, .state]')" '[5,3,{"ann":70,"bob":50}]'
        cp state before
        assert_refused 65 'seq 5: account.deposit: ' -s state -e 'account.*' "$BALANCE"
        cmp state before
    done
    rm state
    run --separate-stderr fold -s state --print -e 'account.*' "$BALANCE"
    assert_equal "$status" 65
    assert_equal "${#lines[@]}" 3
    assert_equal "${lines[2]}" '{"ann":70,"bob":50}'
    # one that is better goes on behind it
    local better="if (\$event.data.sum|type) == \"number\" then $BALANCE else . end"
    assert_fold '{"ann":70,"bob":51}' -s state --adopt -e 'account.*' "$better"
}

@test "no value, or more than one, is an error with the seq" {
    start_hub
    four_events
    assert_refused 65 'seq 1: account.deposit: the expression gives no value' -e 'empty'
    assert_refused 65 'seq 2: account.deposit: the expression gives more than one value' -e 'if . then 1, 2 else 1 end'
    assert_refused 65 'seq 3: other: stop here' -e 'if $event.seq == 3 then error("stop here") else . end'
    assert_refused 65 'seq 1: account.deposit: the expression halted' -e 'halt'
}

@test "live: an expression that fails ends it" {
    start_hub
    start_fold out -s state --every 1h -q '. + $event.data'
    evpub n 1
    evpub n 2
    evpub n '"x"'
    assert_ended 65
    grep -q '^evfold: seq 3: n: ' out.err
    assert_equal "$(kept '[.position, .state]')" '[3,3]'
}

@test "bad arguments" {
    start_hub
    assert_refused 64 'no expression' -e
    assert_refused 64 'expression: foo/0 is not defined' -e 'foo'
    assert_refused 64 'expression: syntax error' -e a '.a +'
    assert_refused 64 'expression: syntax error' -e '.)'
    assert_refused 64 '--init: {: not JSON' --init '{' -e .
    assert_refused 64 '--every: 0: must be 1 or more' -s state --every 0 -e .
    assert_refused 64 '--every: x: neither' -s state --every x -e .
    assert_refused 64 '--every and --adopt want --state' --every 5 -e .
    assert_refused 64 '-p and -q' -p -q -e .
    assert_refused 64 "--at: '-5': neither a seq of 1 or more, nor now, nor a time" --at -5 .
    assert_refused 64 "--at: 'x': neither a seq of 1 or more, nor now, nor a time" --at x .
    assert_refused 64 '--at: ' --at first .
    assert_refused 64 '--from: ' --from yonder -e .
    assert_refused 65 'a..b' -e a..b .
    [[ ! -e state ]]
}

@test "no hub: exit 69, and the state file is not made" {
    assert_refused 69 '' --timeout 0.2 -s state -e '. + 1'
    [[ ! -e state ]]
}

@test "a state that is nested without end is an error, not a crash" {
    start_hub
    seq 5000 | evpub n
    assert_refused 65 'the state is nested deeper than 250 levels' -e '[.]'
    assert_refused 65 'the state is nested deeper than 250 levels' -s state --every 100 -e '[.]'
    jq -e '.events == 200' state
    run --separate-stderr fold -p -e '[.]'
    assert_equal "$status" 65
    assert_equal "${#lines[@]}" 249
    assert_fold 5000 -e 'if . then . + 1 else 1 end'
}

@test "events that retention has removed: exit 1, or --allow-gap, or --from first" {
    start_hub --segment 64K --retain 256K
    seq -f '%0999.0f' 2000 | evpub --timeout 60 n
    # The hub looks after its journal now and then: publish until it has.
    local first=1 last=2000 end=$((SECONDS + 15))
    while ((first == 1 && SECONDS < end)); do
        last=$(evpub -p n x)
        first=$(evsub --from first -n 1 -F %s)
    done
    ((first > 1))
    # It may still be at work: from here on nothing goes.
    stop_hub
    start_hub --segment 64K --retain 0
    first=$(evsub --from first -n 1 -F %s)
    assert_refused 1 "$first" -e '. + 1'
    assert_fold $((last + 1 - first)) --from first -e '. + 1'
    run --separate-stderr fold --allow-gap -e '. + 1'
    assert_equal "$output" $((last + 1 - first))
    assert_equal "$stderr" "evfold: $((first - 1)) seqs passed over: retention has removed them"
    assert_refused 1 "the first seq left is $first" --from first --at 1 '. + 1'
    assert_fold 1 --from first --at "$first" '. + 1'
}

@test "a large state: an update takes its own time, not the state's" {
    skip_if_sanitized
    start_hub
    seq 200000 | evpub n
    fold -q -s flat -e '.["k\($event.data)"] += 1'
    assert_equal "$(jq '.state | length' flat)" 200000
    fold -q -s deep -e '.a.b["k\($event.data)"].c += 1'
    assert_equal "$(jq '.state.a.b | length' deep)" 200000
}
