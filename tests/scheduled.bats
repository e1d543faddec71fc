# scheduled.bats: evpub --in, --at; evctl scheduled: published when due, once, whatever becomes of the hub.
bats_require_minimum_version 1.5.0
load helper

teardown() {
    evb_teardown
    [[ ! -e mounted ]] || umount "$BATS_TEST_TMPDIR/small"
}

# The hub's wall clock is so far from ours: "+1d", "-1d", "+0".
set_clock() { # OFFSET
    echo "$1" >clock.new
    mv clock.new clock
}

# Starts a hub whose wall clock set_clock sets.
start_hub_with_clock() { # ARG…
    skip_if_sanitized
    local library
    library=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
    [[ -n $library ]] || skip "libfaketime is not there"
    LD_PRELOAD=$library FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 \
        FAKETIME_TIMESTAMP_FILE=$PWD/clock start_hub "$@"
}

seqs_of() { jq -r .seq; }

@test "published when it is due, not before; -p prints the scheduled seq; headers and payload are kept" {
    start_hub
    start_sub live -J -n 2
    run -0 evpub -p --in 4 -H a=b t.x "later"
    assert_output 1
    run -0 evpub -p t.x "first"
    assert_output 1
    run -0 evctl scheduled list -J
    assert_equal "$(jq -c '[.seq, .topic, .size, .start]' <<<"$output")" '[1,"t.x",5,"later"]'
    wait_for_exit "$SUB_PID"
    assert_equal "$(jq -c '[.seq, .payload, .headers]' live)" \
        '[1,"first",{}]'$'\n''[2,"later",{"a":"b","scheduled-seq":"1"}]'
    # published within a second of its time
    jq -es '.[1].time > .[0].time' live
    run -0 evctl scheduled list -J
    assert_output ''
}

@test "a time that is past: at once, unmarked; --at takes times, a time of day that is past is tomorrow's" {
    start_hub
    evpub --at 2020-01-01T00:00:00Z t past
    run -0 evsub --from first -n 1 -W 10 -F '%p %h{late}\n' t
    assert_output 'past '
    evpub --at now t now
    evpub --at "tomorrow 09:00" t a
    evpub --at "$(date -d 'now - 1 minute' +%H:%M:%S)" t b
    evpub --at "tomorrow 9:00" t e
    evpub --at "$(date -d 'now + 3 days' +%Y-%m-%d)" t c
    evpub --at "@$(date -d 'now + 5 days' +%s)" t d
    run -0 evctl scheduled list -J
    assert_equal "$(jq -r .start <<<"$output" | sort | tr -d '\n')" abcde
    run -64 evpub --at 10m t x
    assert_output --partial -- --in
    run -64 evpub --at "3h ago" t x
    run -64 evpub --at first t x
    run -64 evpub --at 17 t x
    run -64 evpub --at soon t x
    run -64 evpub --in soon t x
    run -64 --separate-stderr evpub --in 106000d t x
    [[ $stderr == "evpub: --in: '106000d': longer than 36500d"* ]]
    run -64 evpub --in 99999999999999999999 t x
    run -64 evpub --in 1 --at now t x
    run -64 evpub --in 1 --live t x
    run -64 evpub --in 1 --expect 0 t x
    run -64 evpub --in 1 --atomic t x
}

@test "lines, -T, -J: all of a run are due at one time, and keep their order" {
    start_hub
    seq 1 1000 | evpub -p --in 1 l.x >seqs
    cmp seqs <(seq 1000)
    printf 'l.a\tA\nl.b\tB\nl.a\tC\n' | evpub -v --in 1 -T 2>said
    assert grep -q '3 events scheduled' said
    echo '{"topic":"l.j","payload":"J","headers":{"k":"v"}}' | evpub --in 1 -J
    timeout 20 evsub --from first -n 1004 -F '%p%h{k}\n' >got
    cmp got <(seq 1000; printf '%s\n' A B C Jv)
}

@test "also after a restart and after kill -9; those whose time passed meanwhile at once, marked as late" {
    set_clock +0
    start_hub_with_clock
    evpub --in 30m t a
    evpub --in 2h t b
    kill_hub
    set_clock +1h
    start_hub_with_clock
    run -0 evsub --from first -n 1 -W 10 -F '%p %h{late}\n' t
    assert_output --regexp '^a 18[0-9][0-9]$'
    stop_hub
    start_hub_with_clock
    run -0 evctl scheduled list -J
    assert_equal "$(jq -r .start <<<"$output")" b
    assert_equal "$(evsub --from first -e t)" a
}

@test "the clock set forward: what is due then is published; set back: nothing twice" {
    set_clock +0
    start_hub_with_clock
    start_sub live t
    evpub --in 12h t half
    evpub --in 36h t more
    set_clock +1d
    wait_for_lines live 1
    set_clock -1d
    evpub --in 1 t soon # by our clock: a day ahead for the hub
    set_clock +0
    wait_for_lines live 2
    set_clock +2d
    wait_for_lines live 3
    cmp live <(printf '%s\n' half soon more)
    assert_equal "$(evsub --from first -e t | wc -l)" 3
}

@test "the hub is killed 20 times while lines are scheduled and published: each once and in order" {
    seq -f '%099.0f' 60000 >lines
    start_hub
    start_sub live --timeout 0 -n 60000 load.lines
    stream_with_kills lines 20 --timeout 0 --in 0 load.lines
    wait_for_exit "$SUB_PID" 60
    # Due times are one; the order is that of scheduling.
    cmp lines live
    timeout 20 evsub --from first -e -F '%h{scheduled-seq}\n' load.lines | cmp - <(seq 60000)
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial "0 damaged places, 0 seqs lost"
}

@test "100,000 scheduled on as many topics; the hub killed while it publishes them; each once and in order" {
    local i count=100000
    [[ ${EVB_SAN:-} != 1 ]] || count=20000 # there it is ten times as slow
    start_hub
    seq "$count" | awk '{ print "load.t" $1 "\t" $1 }' >lines
    start_sub live --timeout 0 -n "$count" 'load.#'
    timeout 50 evpub -T --in 3 <lines
    for i in 1 $((count / 5)) $((count / 2)) $((count * 4 / 5)); do
        wait_for_lines live "$i" 60
        kill_hub
        start_hub
    done
    wait_for_exit "$SUB_PID" 60
    cmp live <(seq "$count")
    timeout 40 evsub --from first -e 'load.#' | cmp - <(seq "$count")
    run -0 evctl scheduled list -J
    assert_output ''
}

@test "cancelled events stay away; a seq that is not scheduled is said, exit 1" {
    start_hub
    seq 1 5 | evpub --in 1h l.x
    evpub --in 2h other x
    run -0 evctl scheduled cancel 2 4
    assert_output '2 events cancelled'
    kill_hub
    start_hub
    run -0 evctl scheduled list -J 'l.#'
    assert_equal "$(jq -r .seq <<<"$output" | tr '\n' ' ')" '1 3 5 '
    run -1 --separate-stderr evctl scheduled cancel 4 5 99
    assert_output '1 event cancelled'
    # shellcheck disable=SC2154 # set by run --separate-stderr
    assert_equal "$stderr" 'evctl: 4 and others: not scheduled: published, cancelled, or never there'
    run -0 evctl scheduled list
    assert_line --index 0 --regexp '^SEQ +DUE +TOPIC +SIZE +PAYLOAD$'
    assert_line --index 3 --regexp '^ +6 +20..-..-..T..:..:..Z +other +1B +x$'
    run -64 evctl scheduled cancel
    run -64 evctl scheduled cancel x
    run -64 evctl scheduled
    run -64 evctl scheduled show
}

@test "a long list comes in pages, in the order of due times" {
    start_hub
    seq 1 3000 | evpub --in 2h l
    seq 3001 6000 | evpub --in 1h l
    evctl scheduled list -J | jq -r .start | cmp - <(seq 3001 6000; seq 1 3000)
    seq 1 6000 | xargs evctl scheduled cancel
    run -0 evctl scheduled list -J
    assert_output ''
}

@test "retention, trim and purge do not touch what is scheduled" {
    set_clock +0
    start_hub_with_clock --segment 64K --retain 128K
    evpub --in 1h t later
    seq -f '%0100.0f' 20000 | evpub --timeout 60 t
    evctl trim --before last
    evctl purge '#'
    start_sub got -n 1 t
    set_clock +2h
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat got)" later
}

@test "ids are looked at when it is due" {
    start_hub
    evpub --in 4 --id one t a
    evpub --id one t b
    evpub --in 4 t c
    timeout 20 evsub --from first -n 2 t >got
    cmp got <(printf '%s\n' b c)
}

@test "an event that was scheduled before can be scheduled again: its headers are of the last time" {
    start_hub
    evpub --in 0 -H scheduled-seq=77 -H late=me -H a=b t x
    timeout 20 evsub --from first -n 1 -J | evpub -J --in 0
    run -0 timeout 20 evsub --from first -n 2 -J
    assert_equal "$(jq -c .headers <<<"$output")" '{"a":"b","scheduled-seq":"1"}'$'\n''{"a":"b","scheduled-seq":"2"}'
    refute_output --partial '"scheduled-seq":"77"'
    run ! grep -E 'scheduled-seq.*scheduled-seq' <<<"$output"
}

@test "without a journal on disk, and with every --sync" {
    local sync
    for sync in '--sync=100' '--sync=none' --memory; do
        start_hub "$sync"
        evpub --in 0.2 "t${sync//[^a-z]/}" x
        run -0 timeout 20 evsub --from first -n 1 "t${sync//[^a-z]/}"
        assert_output x
        stop_hub
    done
}

@test "a disk that is full when it is due: it is said, tried again, and published once there is room" {
    mkdir small
    mount -t tmpfs -o size=16m tmpfs small 2>mount.err || skip "cannot mount a tmpfs: $(cat mount.err)"
    : >mounted
    JOURNAL=$BATS_TEST_TMPDIR/small/journal
    start_hub
    evpub --in 5 t later
    head -c 32M /dev/zero >small/filler 2>/dev/null || true
    wait_for_text hub.err 'is due and cannot be stored yet'
    run -74 evpub --in 1h t more
    rm small/filler
    run -0 timeout 20 evsub --from first -n 1 t
    assert_output later
    wait_for_text hub.err 'published again'
    run -0 evpub --in 1h t more
}

@test "scheduled.log torn: what was never acknowledged is cut off; damaged: the hub does not start, and names the place" {
    start_hub
    evpub --in 1h t one
    evpub --in 1h t two
    kill_hub
    printf 'EVS2 torn' >>"$JOURNAL/scheduled.log"
    start_hub
    assert grep -q 'scheduled.log: its last 9 bytes were never finished' hub.err
    assert_equal "$(evctl scheduled list -J | seqs_of | tr '\n' ' ')" '1 2 '
    kill_hub
    printf XXXX | dd of="$JOURNAL/scheduled.log" bs=1 seek=100 conv=notrunc status=none
    run ! start_hub
    assert grep -q 'scheduled.log: damaged at byte 49' hub.err
}
