# faults_kill.bats: the hub dies, stops, or was never there: what was acknowledged is stored, once and in order.
bats_require_minimum_version 1.5.0
load helper

# 100 bytes each, as of numbers.
numbered_lines() { # COUNT
    seq -f "%099.0f" "$1"
}

# Starts COMMAND with stdin from FIFO, which it opens itself.
start_from() { # FIFO COMMAND…
    # shellcheck disable=SC2016 # expanded by the inner shell
    start bash -c 'exec "${@:2}" <"$1"' start_from "$@"
}

@test "the hub is killed 50 times in mid-stream: all lines are stored once and in order, and a live evsub sees them so" {
    numbered_lines 300000 >lines
    start_hub
    start_sub live --timeout 0 -n 300000 load.lines
    stream_with_kills lines 50 --timeout 0 load.lines
    wait_for_exit "$SUB_PID" 60
    cmp lines live
    timeout 20 evsub --from first -e load.lines >replay
    cmp lines replay
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial "0 damaged places, 0 seqs lost"
}

@test "the same with evpub -T over several topics: 8 kills, the input's order kept across topics" {
    # awk: topic changes with each line, and in runs
    numbered_lines 60000 | awk '{ print "load.t" (NR % 7 + int(NR / 1000) % 3) "\t" $0 }' >lines
    start_hub
    start_sub live --timeout 0 -n 60000 -t 'load.#'
    start_sub one --timeout 0 -n "$(grep -c '^load.t3' lines)" -t load.t3
    local one=$SUB_PID all=${STARTED[1]}
    stream_with_kills lines 8 --timeout 0 -T
    wait_for_exit "$all" 30
    wait_for_exit "$one" 30
    cmp lines live
    cmp <(grep '^load.t3' lines) one
    timeout 20 evsub --from first -e -t >replay
    cmp lines replay
    # Versions count on within each topic over all restarts.
    timeout 20 evsub --from first -e -F '%v\n' load.t3 >versions
    cmp versions <(seq "$(grep -c '^load.t3' lines)")
}

@test "a hub that is stopped (SIGSTOP): evpub and evsub end with 75 after --timeout" {
    start_hub
    evpub load.x one
    kill -STOP "$HUB_PID"
    run -75 timeout 20 evpub --timeout 1 load.x two
    assert_output --partial "may or may not be stored"
    run -75 timeout 20 evsub --timeout 1 --from first -e load.x
    run -75 timeout 20 evsub --timeout 1 load.x
    kill -CONT "$HUB_PID"
    run -0 timeout 10 evsub --from first -e -n 1 load.x
    assert_output one
    run -0 timeout 10 evpub load.x three
    stop_hub
}

@test "an evsub in mid-stream whose hub stops (SIGSTOP) waits --timeout, ends with 75, and goes on when it is continued before" {
    local status=0
    start_hub
    start_sub short --timeout 1 load.x
    local short=$SUB_PID
    start_sub long --timeout 30 -n 2 load.x
    timeout 20 evpub load.x one
    wait_for_lines long 1
    kill -STOP "$HUB_PID"
    wait_for_exit "$short" || status=$?
    assert_equal "$status" 75
    kill -CONT "$HUB_PID"
    timeout 20 evpub load.x two
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat long)" $'one\ntwo'
}

@test "no hub was ever there: 69 at once, with the URL said" {
    run -69 timeout 20 evpub --timeout 30 load.x one
    assert_output --partial "$EVBUS_URL"
    run -69 timeout 20 evsub --timeout 30 load.x
    assert_output --partial "$EVBUS_URL"
    run -69 timeout 20 evctl --timeout 30 status
    run -69 timeout 20 evpub --timeout 30 load.x < <(seq 10)
}

@test "no hub, many times over on a busy machine: nobody hangs" {
    # shellcheck disable=SC2016 # expanded by the inner shell
    run -0 timeout 100 bash -c 'seq 240 | xargs -P 8 -I{} bash -c "timeout 20 evctl --timeout 1 status 2>/dev/null; echo \$?" | grep -vx 69 || true'
    assert_output ""
}

@test "a hub was there and is gone, ended or killed: 69 within --timeout" {
    start_hub
    stop_hub
    run -69 timeout 20 evpub --timeout 1 load.x one
    run -69 timeout 20 evsub --timeout 1 load.x
    start_hub
    kill_hub
    run -69 timeout 20 evpub --timeout 1 load.x one
    run -69 timeout 20 evpub --timeout 1 load.x < <(seq 10)
    run -69 timeout 20 evsub --timeout 1 --from first -e load.x
    run -69 timeout 20 evctl --timeout 1 status
}

@test "a hub that goes away in mid-pipe and does not come back: 69 or 75 after --timeout, the number stored said and true" {
    local status=0 said
    start_hub
    mkfifo pipe
    start_from pipe timeout 30 evpub --timeout 2 -p load.x >seqs 2>pub.err
    local pub=$PID
    exec 7>pipe
    numbered_lines 1000 >&7
    wait_for_lines seqs 1000
    kill_hub
    numbered_lines 500 >&7
    exec 7>&-
    wait_for_exit "$pub" || status=$?
    cat pub.err
    [[ $status == 69 || $status == 75 ]]
    said=$(grep -oE '[0-9]+ events? stored' pub.err | grep -oE '^[0-9]+')
    ((said >= 1000))
    grep -q '500 more may or may not be' pub.err
    start_hub
    timeout 10 evsub --from first -e load.x >replay
    ((said <= $(wc -l <replay)))
    cmp <(head -n "$said" replay) <(numbered_lines 1000 | head -n "$said")
}

@test "a hub that comes back within --timeout: an evpub that waits goes on, --timeout 0 waits for ever" {
    start_hub
    mkfifo pipe
    start_from pipe timeout 30 evpub --timeout 0 -p load.x >seqs 2>pub.err
    local pub=$PID
    exec 7>pipe
    seq 1 10 >&7
    wait_for_lines seqs 10
    kill_hub
    seq 11 20 >&7
    exec 7>&-
    start_hub
    wait_for_exit "$pub"
    timeout 10 evsub --from first -e load.x >replay
    cmp replay <(seq 20)
}

@test "an evsub that was itself stopped for longer than --timeout goes on when it is continued" {
    start_hub
    start_sub out --timeout 1 -n 1000 load.x
    kill -STOP "$SUB_PID"
    seq 1000 | evpub load.x
    evsub -W 4 load.never # longer than evsub bears a silent feed
    kill -CONT "$SUB_PID"
    wait_for_exit "$SUB_PID"
    cmp out <(seq 1000)
}
