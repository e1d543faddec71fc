# groups.bats: readers that share one position: acknowledgements, redelivery, dead letters, and what must hold when things
# go wrong.
bats_require_minimum_version 1.5.0
load helper

teardown() {
    evb_teardown
    [[ -z ${MOUNTED:-} ]] || umount "$MOUNTED"
}

# One request to the hub, by hand: its results as JSON.
ask() { # OP ARG(JSON)…
    "$PYTHON" - "$@" <<'PY'
import json, os, sys
import msgpack, zmq
socket = zmq.Context.instance().socket(zmq.DEALER)
socket.connect(os.environ["EVBUS_URL"] + "/hub")
socket.send(msgpack.packb([sys.argv[1], 1, *map(json.loads, sys.argv[2:])]))
assert socket.poll(20000)
answer = msgpack.unpackb(socket.recv_multipart()[0])
print(json.dumps(answer[2:]))
sys.exit(answer[0] != "ok")
PY
}

# A value of a group's row.
of_group() { # GROUP KEY
    ask groups | jq -r --arg name "$1" --arg key "$2" '.[0][] | select(.name == $name) | .[$key]'
}

drain() { # GROUP ARG…
    timeout "$PATIENCE" evsub -e -g "$@"
}

@test "-e ends also while others publish on and on: what the group wants, and what it does not" {
    local flood i
    start_hub
    seq 3 | evpub load.x
    mkfifo tick
    # A flood without a limit would be all that a slow disk is busy with. Ends with the shell: evpub's input does.
    # shellcheck disable=SC2016 # expanded by the inner shell
    start bash -c '
        exec 8<>tick > >(exec evpub load.y)
        while :; do
            for _ in {1..10}; do echo "$1"; done
            read -r -t 0.01 <&8
        done' flood "$(printf '%099d' 0)"
    flood=$PID
    for i in 1 2 3; do
        run -0 timeout 120 evsub -g "few$i" --from first -e load.x
        assert_output $'1\n2\n3'
        # Slower than the flood: there is always more.
        timeout 120 evsub -g "all$i" --from -10 -e load.y -- true
        evsub -g "sh$i" -n 0 load.z
        evpub load.z x
        timeout 120 evsub -g "sh$i" -e -- true
    done
    kill -KILL "$flood"
}

@test "-n 0 makes a group and leaves; it gets what comes from then on, once" {
    start_hub
    seq 3 | evpub a.b
    run -0 --separate-stderr timeout 20 evsub -g workers -n 0 'a.#'
    assert_output ''
    seq 4 6 | evpub a.b
    evpub other x
    run -0 drain workers 'a.#'
    assert_output $'4\n5\n6'
    run -0 drain workers
    assert_output ''
}

@test "-n 0 leaves what there is to others, however fast it came" {
    start_hub
    evpub t x
    local i
    for i in {1..40}; do
        evsub -g "g$i" -n 0 --from first t
        run -0 drain "g$i"
        assert_output x
    done
}

@test "a group begins where --from says, and only when it is new" {
    start_hub
    seq 5 | evpub t
    run -0 drain all t --from first
    assert_output "$(seq 5)"
    run -0 drain two t --from -2
    assert_output $'4\n5'
    run -0 drain two t --from first
    assert_output ''
    run -0 drain three t --from 3
    assert_output $'3\n4\n5'
}

# Waits until the hub's list of groups has this.
wait_for_groups() { # TEXT
    timeout "$PATIENCE" "$PYTHON" "$ROOT/tests/peers/ask.py" groups '' "$1" >/dev/null
}

@test "a signal with nothing in hand and no hub: it does not wait for one" {
    start_hub
    start_sub out --timeout 0 -g g t
    kill_hub
    kill -TERM "$SUB_PID"
    local status=0
    wait_for_exit "$SUB_PID" || status=$?
    assert_equal "$status" 143
}

@test "at work while the hub is restarted: still a member, and what it has done counts" {
    start_hub
    evpub a 1
    mkfifo go
    start evsub -g g --from first a -- sh -c 'echo >>began; read -r _ <go'
    wait_for_lines began 1
    kill_hub
    start_hub
    wait_for_groups '"members": 1'
    echo >go
    wait_for_groups '"acked": 1'
    assert_equal "$(wc -l <began)" 1
}

@test "an answer that was lost with its connection: what it handed out comes at once, uncounted, in order" {
    local line ready
    start_hub
    evsub -g g -n 0 --ordered --ack-wait 1h t
    mkdir cut
    ln -s ../bus/feed cut/feed
    mkfifo cut.ready
    exec {ready}<>cut.ready
    start "$PYTHON" "$ROOT/tests/peers/cut.py" cut/hub bus/hub needle2 9>&"$ready"
    read -r -t "$PATIENCE" -u "$ready" line
    EVBUS_URL=ipc://$PWD/cut start_sub out -g g -n 3 -F '%p\n' t
    seq -f needle%g 3 | evpub t
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat out)" $'needle1\nneedle2\nneedle3'
    run -0 evctl groups -J
    assert_equal "$(jq -c '[.acked, .redelivered]' <<<"$output")" '[3,0]'
}

@test "what fails while the hub is away has failed: a dead letter at once, or the wait between deliveries" {
    local status
    start_hub
    mkfifo go
    for status in 65 1; do
        evpub "a.$status" 1
        start evsub -g "g$status" --from first --backoff 60 "a.$status" -- \
            sh -c "echo >>began.$status; read -r _ <go; echo >over.$status; exit $status"
        wait_for_lines "began.$status" 1
        kill_hub
        echo >go
        wait_for_lines "over.$status" 1
        start_hub
        timeout "$PATIENCE" evsub --from first -n 1 "\$failed.g$status.#" >/dev/null # it was heard of
        [[ $status == 1 ]] || wait_for_groups '"dead": 1'
        [[ $status == 65 ]] || wait_for_groups '"waiting": 1'
        assert_equal "$(wc -l <"began.$status")" 1
    done
}

@test "members share the work: each event goes to one of them" {
    start_hub
    evsub -g g -n 0 t
    seq 200000 | evpub t
    start timeout 20 evsub -e -g g >one
    local one=$PID
    start timeout 20 evsub -e -g g >two
    wait_for_exit "$PID"
    wait_for_exit "$one"
    cmp <(seq 200000) <(sort -n one two)
}

@test "two live members each get a part while events come, and none twice" {
    start_hub
    start_sub one -g g '#'
    local one=$SUB_PID
    start_sub two -g g '#'
    seq 100000 | evpub t
    drain g >three
    kill "$one" "$SUB_PID"
    wait_for_exit "$one" || true
    wait_for_exit "$SUB_PID" || true
    cmp <(seq 100000) <(sort -n one two three)
}

@test "-n N takes N and gives the rest back, uncounted" {
    start_hub
    seq 10 | evpub t
    run -0 timeout 20 evsub -g g --from first -n 3 t
    assert_output $'1\n2\n3'
    run -0 timeout 20 evsub -g g -e -J
    assert_equal "$(jq -r '[.payload, .deliveries] | join(" ")' <<<"$output")" "$(seq -f '%g 1' 4 10)"
}

@test "an event not acknowledged within --ack-wait goes to another, with its delivery count" {
    start_hub
    evsub -g g -n 0 --ack-wait 0.2 --backoff 0 t
    seq 2 | evpub t
    start_member g
    run -0 tell "take 2 10"
    assert_output $'1 1 t 1\n2 1 t 2'
    run -0 timeout "$PATIENCE" evsub -g g -n 2 -J # no more: where it is stopped they come to it again
    assert_equal "$(jq -r '[.payload, .deliveries] | join(" ")' <<<"$output" | sort)" $'1 2\n2 1'
}

@test "when its member goes an event is handed on at once" {
    start_hub
    evsub -g g -n 0 --ack-wait 1h t
    seq 3 | evpub t
    start_member g
    run -0 tell "take 3 10"
    start_sub other -g g t
    echo crash >&"$MEMBER_IN"
    wait_for_lines other 3
    cmp <(seq 3) <(sort other)
}

@test "a nacked event comes again after its delay, then as backoff says, then is a dead letter" {
    start_hub
    evsub -g g -n 0 --max-deliver 3 --backoff 0.1,0.2 t
    evpub -H kind=order t poison
    start_member g
    run -0 tell "take 1 10"
    assert_output "1 1 t poison"
    tell "nack 1 0 first"
    run -0 tell "take 1 10"
    assert_output "1 2 t poison"
    tell "nack 1 0.05 second"
    run -0 tell "take 1 10"
    assert_output "1 3 t poison"
    tell "nack 1 0 it is bad"
    run -0 timeout 20 evsub --from first -n 1 -J '$dead.g'
    assert_equal "$(jq -c '[.topic, .payload, .headers]' <<<"$output")" \
        '["$dead.g","poison",{"kind":"order","dead-topic":"t","dead-seq":"1","dead-deliveries":"3","dead-reason":"it is bad"}]'
    assert_equal "$(of_group g dead)" 1
    assert_equal "$(of_group g pending)" 0
    run -0 drain g
    assert_output ''
}

@test "a rejected event is a dead letter at once; retry gives it to the group again, drop does not" {
    start_hub
    evsub -g g -n 0 t
    seq 2 | evpub t
    start_member g
    tell "take 2 10"
    tell "reject 1 no use"
    tell "reject 2 no use either"
    run -0 ask dead '"g"' 0 10
    assert_equal "$(jq -c '[.[0][] | [.group, .topic, .orig_seq, .reason, .deliveries]]' <<<"$output")" \
        '[["g","t",1,"no use",1],["g","t",2,"no use either",1]]'
    tell quit
    local first second
    first=$(jq '.[0][0].seq' <<<"$output") second=$(jq '.[0][1].seq' <<<"$output")
    run -0 ask dead.retry '"g"' "[$first]"
    assert_output '[1]'
    run -0 ask dead.drop '"g"' "[$second]"
    run -0 ask dead '"g"' 0 10
    assert_output '[[]]'
    run -0 drain g
    assert_output 1
    run ! ask dead.retry '"g"' "[$first]"
    assert_output --partial 'no dead letter'
}

@test "--ordered: at most one event of a topic in hand, and topics do not wait for each other" {
    start_hub
    evsub -g g -n 0 --ordered '#'
    printf '%s\t%s\n' a a1 a a2 b b1 a a3 b b2 | evpub -T
    start_member g
    run -0 tell "take 10 10"
    assert_output $'1 1 a a1\n3 1 b b1'
    run -0 tell "take 10"
    assert_output ''
    tell "ack 3"
    run -0 tell "take 10"
    assert_output '5 1 b b2'
    tell "nack 1 0.1 later"
    run -0 tell "take 10 10"
    assert_output '1 2 a a1'
    tell "ack 1 5"
    run -0 tell "take 10 10"
    assert_output '2 1 a a2'
    tell quit
    run -0 drain g
    assert_output $'a2\na3'
}

@test "--ordered: four members, many topics: each topic's events come out in order" {
    start_hub
    evsub -g g -n 0 --ordered '#'
    seq 4000 | awk '{ printf "t.%d\t%d\n", $1 % 50, $1 }' | evpub -T
    local i pids=()
    for i in 1 2 3 4; do
        start timeout 60 evsub -e -g g -F '%T %t %p\n' >"out.$i"
        pids+=("$PID")
    done
    for i in "${pids[@]}"; do wait_for_exit "$i" 60; done
    cmp <(seq 4000) <(awk '{ print $NF }' out.? | sort -n)
    for i in 1 2 3 4; do
        awk '$(NF) <= last[$(NF - 1)] { exit 1 } { last[$(NF - 1)] = $NF }' "out.$i"
    done
}

@test "--max-pending bounds what a member holds, and a group that stands still says so" {
    start_hub
    evsub -g g -n 0 --max-pending 2 t
    seq 5 | evpub t
    assert_equal "$(of_group g stalled)" 'no members'
    start_member g
    run -0 tell "take 10 10"
    assert_output $'1 1 t 1\n2 1 t 2'
    run -0 tell "take 10"
    assert_output ''
    assert_equal "$(of_group g stalled)" 'each member has --max-pending events in hand'
    tell "ack 1"
    run -0 tell "take 10 10"
    assert_output '3 1 t 3'
}

@test "the hub is killed: what was acknowledged is not handed out again, what was pending is, with its count" {
    start_hub
    evsub -g g -n 0 t
    seq 6 | evpub t
    start_member g
    tell "take 3 10"
    tell "ack 2"
    tell "nack 1 0 why not"
    kill_hub
    start_hub
    run -0 drain g -J
    assert_equal "$(jq -r '[.payload, .deliveries] | join(" ")' <<<"$output" | sort)" $'1 2\n3 1\n4 1\n5 1\n6 1'
}

@test "members work on over kills of the hub and of members: each event at least once, extras within what was pending" {
    start_hub
    evsub -g g -n 0 --max-pending 100 t
    local kill i pids=()
    for i in 1 2 3; do
        start evsub --timeout 20 -g g >"out.$i.0" 2>"out.$i.err"
        pids+=("$PID")
    done
    for kill in 1 2 3 4 5; do
        seq $((kill * 4000 - 3999)) $((kill * 4000)) | evpub --timeout 20 t
        kill_hub
        start_hub
        kill -KILL "${pids[0]}"
        wait_for_exit "${pids[0]}" || true
        start evsub --timeout 20 -g g >"out.1.$kill" 2>>out.1.err # a file of its own: the last line may be torn
        pids[0]=$PID
    done
    timeout 60 evsub --timeout 20 -g g -e >out.4.0
    for i in "${pids[@]}"; do
        kill "$i"
        wait_for_exit "$i" || true
    done
    cmp <(seq 20000) <(cat out.?.? | grep -xE '[0-9]+' | sort -nu)
    # a kill of the hub leaves at most what 3 members had pending in doubt, one of a member its own
    (($(cat out.?.? | wc -l) <= 20000 + 5 * 4 * 100))
}

@test "100,000 pending events over a restart" {
    start_hub
    evsub -g g -n 0 --max-pending 200000 --ack-wait 1h t
    seq 100000 | evpub t
    start_member g
    tell "hold 100000"
    assert_equal "$(of_group g pending)" 100000
    kill_hub
    start_hub
    assert_equal "$(of_group g pending)" 100000
    timeout 20 evsub -g g -e >rest
    cmp <(seq 100000) <(sort -n rest)
}

@test "a member that hangs: its events go to the others, and what it says later is heard" {
    start_hub
    evsub -g g -n 0 --ack-wait 0.3 --backoff 0 t
    seq 3 | evpub t
    start_sub slow -g g t
    wait_for_lines slow 3
    kill -STOP "$SUB_PID"
    seq 4 5 | evpub t
    start_sub other -g g t
    local other=$PID
    wait_for_lines other 2
    kill -CONT "$SUB_PID"
    drain g >rest
    kill "$other" "$SUB_PID"
    cmp <(seq 5) <(sort -nu slow other rest)
}

@test "a hub that was stopped hears that a member is at work before it counts its time" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o drowsy.so "$ROOT/tests/peers/drowsy.c"
    LD_PRELOAD=$PWD/drowsy.so start_hub
    mkfifo gate
    : >ran
    evsub -g g -n 0 --ack-wait 1 --backoff 10ms t
    evpub t x
    # shellcheck disable=SC2016 # expanded by the member's shell
    start_sub one --timeout 0 -g g t -- sh -c 'echo "one $(cat)" >>ran; read -r _ <gate'
    wait_for_lines ran 1
    # shellcheck disable=SC2016 # expanded by the member's shell
    start_sub two --timeout 0 -g g t -- sh -c 'echo "two $(cat)" >>ran'
    freeze "$HUB_PID"
    read -r -t 1.5 <> <(:) || true # longer than the ack wait
    kill -CONT "$HUB_PID"
    evpub t y
    wait_for_lines ran 2
    echo >gate
    run -0 drain g
    assert_output ''
    assert_equal "$(cat ran)" $'one x\ntwo y'
    assert_equal "$(of_group g redelivered)" 0
}

@test "a dead letter that cannot be stored is stored when there is room again" {
    ((EUID == 0)) || skip "mounting wants root"
    mkdir small
    mount -t tmpfs -o size=4m none small 2>/dev/null || skip "mounting is not allowed here"
    MOUNTED=small
    start_hub -d small/journal
    evsub -g g -n 0 t
    seq 1 | evpub t
    start_member g
    tell "take 1 10"
    head -c 4m /dev/zero >small/filler 2>/dev/null || true
    wait_for_text hub.err 'taking no events'
    tell "reject 1 bad"
    wait_for_text hub.err 'cannot store the dead letter'
    rm small/filler
    run -0 timeout 20 evsub --from first -n 1 '$dead.g'
    assert_output 1
    stop_hub
}

@test "groups.log damaged: what precedes the damage is kept, and it is said" {
    start_hub
    evsub -g g -n 0 t
    seq 10 | evpub t
    run -0 timeout 20 evsub -g g -n 4
    run -0 timeout 20 evsub -g g -n 4
    stop_hub
    local size
    size=$(stat -c %s "$JOURNAL/groups.log")
    printf 'XXXX' | dd of="$JOURNAL/groups.log" bs=1 seek=$((size / 2)) conv=notrunc status=none
    start_hub
    assert grep -q 'groups.log: damaged at byte' hub.err
    assert_file_exists "$JOURNAL/groups.damaged"
    timeout 20 evsub -g g -e t >rest
    grep -qx 10 rest
    stop_hub
    start_hub
    run -0 drain g
    assert_output ''
}

@test "groups.log gone: it is said, and the group begins anew" {
    start_hub
    evsub -g g -n 0 t
    seq 3 | evpub t
    stop_hub
    rm "$JOURNAL/groups.log"
    start_hub
    assert grep -q 'groups.log: it was not there' hub.err
    run -1 timeout 20 evsub -g g -e
    assert_output --partial 'there is no group g'
}

@test "the catalog deleted or damaged: groups and their positions stay" {
    start_hub
    seq 3 | evpub t
    run -0 timeout 20 evsub -g g --from first -n 2 t
    stop_hub
    rm "$JOURNAL/catalog.mdb"
    start_hub
    run -0 drain g
    assert_output 3
}

@test "reset, delete and replay" {
    start_hub
    seq 5 | evpub t
    run -0 drain g t --from first
    run -0 ask group.reset '"g"' 4
    run -0 drain g
    assert_output $'4\n5'
    run -0 ask group.replay '"g"' 2 3 0 true
    assert_output '[2]'
    run -0 drain g
    assert_output ''
    run -0 ask group.replay '"g"' 2 3 0 false
    run -0 timeout 20 evsub -g g -n 2 -J
    assert_equal "$(jq -c '[.payload, .replay]' <<<"$output")" $'["2",true]\n["3",true]'
    run -0 ask group.delete '"g"'
    run -1 timeout 20 evsub -g g -e
    assert_output --partial 'there is no group g'
}

@test "-e takes also what is handed out once more: by a replay, and what failed in it" {
    local how=(--max-deliver 1)
    start_hub
    for g in plain ordered; do
        seq 3 | evpub "t.$g"
        run -0 drain "$g" --from first "${how[@]}" "t.$g"
        evctl group "$g" replay --from first
        run -0 drain "$g" -- sh -c 'exit 65'
        assert_equal "$(of_group "$g" dead)" 3
        evctl dead retry "$g"
        run -0 drain "$g"
        assert_output $'1\n2\n3'
        how+=(--ordered)
    done
}

@test "who may have few in hand goes on as soon as some are done" {
    start_hub
    seq 200000 | evpub t
    run -0 timeout 20 evsub -g few --from first --max-pending 4 -n 500 t
    assert_equal "${#lines[@]}" 500
    cmp <(seq 200000) <(timeout 60 evsub -g many --from first -e t)
}

@test "a member of a group that is deleted ends, and says why" {
    start_hub
    start_sub out -g g t
    run -0 ask group.delete '"g"'
    local status=0
    wait_for_exit "$SUB_PID" || status=$?
    assert_equal "$status" 1
    assert grep -q 'there is no group g' out.err
}

@test "events of the hub's own topics go to a group only when its pattern names them" {
    start_hub
    evsub -g all -n 0 '#'
    evsub -g dead -n 0 '$dead.#'
    evpub t x
    start_member all
    tell "take 1 10"
    tell "reject 1 bad"
    tell quit
    run -0 drain all
    assert_output ''
    run -0 drain dead
    assert_output x
}

@test "options that do not go together, and other patterns than the group has" {
    start_hub
    run -64 evsub -g g -c cursor
    run -64 evsub --ordered
    run -64 evsub -g 'bad name'
    evsub -g g -n 0 a
    run -64 evsub -g g -n 0 b
    assert_output --partial 'has other patterns'
}

@test "retention takes events that a group has not done: it is said, and the group goes on" {
    start_hub --segment 64K --retain 128K
    evsub -g g -n 0 t
    seq -f '%0100.0f' 20000 | evpub --timeout 60 t
    until (($(ask status | jq '.[0].first') > 1)); do :; done
    timeout 20 evsub -g g -e >rest
    assert_equal "$(tail -n 1 rest | sed 's/^0*//')" 20000
    assert grep -q 'passes over' hub.err
    (($(of_group g lost) > 0))
}

# The hub's wall clock is so far from ours: "+1d", "-1d", "+0".
set_clock() { # OFFSET
    echo "$1" >clock.new
    mv clock.new clock
}

@test "the clock set forward and back by a day: waits are as long, events stay in order, nothing is lost" {
    skip_if_sanitized
    local library
    library=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
    [[ -n $library ]] || skip "libfaketime is not there"
    set_clock +0
    LD_PRELOAD=$library FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 FAKETIME_TIMESTAMP_FILE=$PWD/clock start_hub
    start_sub live t
    evsub -g g -n 0 --ack-wait 4 --backoff 1 t
    seq 1 2 | evpub t
    start_member g
    run -0 tell "take 1 10"
    assert_output '1 1 t 1'
    set_clock +1d
    seq 3 4 | evpub t
    run -0 tell "take 10" # the first was handed out less than four seconds ago
    refute_output --partial '1 2 t 1'
    tell "ack 2 3 4"
    run -0 tell "take 10 10" # in ten seconds at most
    assert_output '1 2 t 1'
    set_clock -1d
    seq 5 6 | evpub t
    tell "take 2"
    tell "ack 5 6"
    local start
    start=$(date +%s%N)
    tell "nack 1 0.2 later"
    set_clock +0
    run -0 tell "take 10 10"
    assert_output '1 3 t 1'
    (($(date +%s%N) - start > 150000000))
    tell "ack 1"
    tell quit
    run -0 drain g
    assert_output ''
    wait_for_lines live 6
    cmp <(seq 6) live
    run -0 evsub --from first -e
    assert_output "$(seq 6)"
    # a time finds the first event that is as late: those of the day that was skipped stand before the older ones
    assert_equal "$(evsub --from 1h -e | head -n 1)" 1
    stop_hub
    set_clock +0
    start_hub
    evpub t 7
    run -0 drain g
    assert_output 7
}

@test "options of a group that are wrong: which one, and what it was" {
    start_hub
    says() { # TEXT ARG…
        run -64 timeout 20 evsub "${@:2}"
        assert_output "evsub: $1"
    }
    says '--ack-wait: more than 0' -g g --ack-wait 0
    says '--max-deliver: more than 0' -g g --max-deliver 0
    says '--max-pending: more than 0' -g g --max-pending 0
    says "--backoff 1,,2: '': not a duration, such as 10, 2.5, 10m or 1h30m" -g g --backoff 1,,2
    says "'a b': a group's name is like a topic, of at most 128 bytes and 14 tokens" -g 'a b'
    says "--count: '-1': not a whole number of 0 or more" -n -1
}
