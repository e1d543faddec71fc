# evsub_replay.bats: parts of the past, at a pace, without some topics; what retention has removed.
bats_require_minimum_version 1.5.0
load helper

now() { # seconds since the epoch, as --to takes them
    printf '@%s' "$(date +%s.%N)"
}

@test "--to SEQ ends behind it, whatever the pattern" {
    start_hub
    printf '%s\t%s\n' a 1 b 2 a 3 b 4 | evpub -T
    run -0 timeout 20 evsub --from first --to 3
    assert_output $'1\n2\n3'
    run -0 timeout 20 evsub --from first --to 3 b
    assert_output 2
    run -0 timeout 20 evsub --from 4 --to 3
    assert_output ''
    run -0 timeout 20 evsub --from first --to 3 -e
    assert_output $'1\n2\n3'
    run -0 timeout 20 evsub --from first --to 30 -e
    assert_output $'1\n2\n3\n4'
}

@test "--to in the middle of a batch" {
    start_hub
    seq 1000 | evpub t
    run -0 timeout 20 evsub --from 3 --to 500
    assert_output "$(seq 3 500)"
}

@test "--to a seq to come waits for it, and ends there" {
    start_hub
    start_sub out --to 5
    seq 3 | evpub a
    seq 4 9 | evpub b
    wait_for_exit "$SUB_PID"
    cmp <(seq 5) out
    start_sub out --from first --to 12 a
    seq 3 | evpub b
    wait_for_exit "$SUB_PID"
    cmp <(seq 3) out
}

@test "--to TIME: what was stored then or before" {
    start_hub
    seq 3 | evpub t
    local then
    then=$(now)
    seq 4 6 | evpub t
    run -0 timeout 20 evsub --from first --to "$then"
    assert_output "$(seq 3)"
    run -0 timeout 20 evsub --from first --to now
    assert_output "$(seq 6)"
    run -0 timeout 20 evsub --from first --to 1h
    assert_output ''
}

@test "--to a time to come ends then, without an event" {
    start_hub
    evpub t x
    run -0 timeout 20 evsub --from first --to "@$(($(date +%s) + 2))"
    assert_output x
}

@test "-x leaves out topics, in a replay, live, in counts and positions" {
    start_hub
    printf '%s\t%s\n' a.x 1 b 2 a.y 3 c 4 | evpub -T
    run -0 timeout 20 evsub --from first -e -x 'a.#'
    assert_output $'2\n4'
    run -0 timeout 20 evsub --from -2 -e -x c
    assert_output $'2\n3'
    run -0 timeout 20 evsub --last-per-topic -e -x 'a.*' -x c
    assert_output 2
    start_sub out -n 2 -x b
    printf '%s\t%s\n' b 5 a.x 6 b 7 c 8 | evpub -T
    wait_for_exit "$SUB_PID"
    cmp <(printf '6\n8\n') out
    run -0 timeout 20 evsub -c ./cursor --from first -e -x 'a.#' -x b -x c
    assert_output ''
    assert_equal "$(cat cursor)" 9
    run -65 evsub -x 'a.#.b'
}

@test "--speed keeps the pace of the past, or a multiple" {
    start_hub
    local took start
    for i in 1 2 3; do
        evpub t "$i"
        read -r -t 0.8 <> <(:) || true # the past is to have a pace
    done
    start=$(date +%s%N)
    run -0 timeout 20 evsub --from first -e --speed 1
    took=$((($(date +%s%N) - start) / 1000000))
    assert_output $'1\n2\n3'
    ((took >= 1600)) || fail "$took ms"
    run -64 evsub --speed 0
    run -64 evsub --speed fast
}

@test "--speed max, or far more than 1: the past takes no time" {
    skip_if_sanitized
    local library i
    library=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
    [[ -n $library ]] || skip "libfaketime is not there"
    echo +0 >clock
    LD_PRELOAD=$library FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 \
        FAKETIME_TIMESTAMP_FILE=$PWD/clock start_hub
    for i in 1 2 3; do
        evpub t "$i"
        echo "+${i}h" >clock.new
        mv clock.new clock
    done
    run -0 timeout 20 evsub --from first -e --speed max
    assert_output $'1\n2\n3'
    run -0 timeout 20 evsub --from first -e --speed 100000
    assert_output $'1\n2\n3'
}

@test "--speed: what is due is written before the pause, a signal ends the pause, and the cursor stays before it" {
    start_hub
    evpub t 1
    read -r -t 0.2 <> <(:) || true
    evpub t 2
    start timeout 20 evsub --from first --speed 0.001 -c ./cursor >out
    wait_for_lines out 1
    kill "$PID"
    wait_for_exit "$PID" || true
    cmp <(echo 1) out
    run -0 timeout 20 evsub -c ./cursor -e
    assert_output 2
}

@test "--speed: also a pause of a thousand years is one" {
    skip_if_sanitized
    local library
    library=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
    [[ -n $library ]] || skip "libfaketime is not there"
    echo +0 >clock
    LD_PRELOAD=$library FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 \
        FAKETIME_TIMESTAMP_FILE=$PWD/clock start_hub
    evpub t 1
    echo +1d >clock.new
    mv clock.new clock
    evpub t 2
    start timeout 20 evsub --from first -n 2 --speed 0.000001 >out
    wait_for_lines out 1
    kill "$PID"
    wait_for_exit "$PID" || true
    cmp <(echo 1) out
}

@test "a reader behind retention is told the first seq that is left, and goes on with --allow-gap" {
    start_hub --segment 64K --retain 128K
    seq -f '%0100.0f' 20000 | evpub --timeout 60 t
    local first
    until first=$(evsub --from first -n 1 -F '%s\n'); ((first > 1)); do :; done
    # It may still be at work: from here on nothing goes.
    stop_hub
    start_hub --segment 64K --retain 0
    run -1 timeout 20 evsub --from 1 -e
    assert_output --regexp "events before seq [0-9]+ are gone"
    run -0 --separate-stderr timeout 20 evsub --from 1 -e --allow-gap -F '%s\n'
    assert_equal "${lines[0]}" "$(evsub --from first -n 1 -F '%s\n')"
    assert_regex "$stderr" 'seqs passed over'
}

@test "what does not go together with a group, or with each topic's last" {
    start_hub
    run -64 evsub -g g --to 3
    run -64 evsub -g g -x a
    run -64 evsub -g g --speed 1
    run -64 evsub --last-per-topic --to 3
    for wrong in first last -3 bla; do
        run -64 evsub --to "$wrong"
        assert_output "evsub: --to: '$wrong': neither a seq of 1 or more, nor now, nor a time"
    done
}
