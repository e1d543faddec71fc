# evctl_listeners.bats: pausing groups; listeners, and what their members say of what they run.
# shellcheck disable=SC2154 # $stderr is set by run --separate-stderr
bats_require_minimum_version 1.5.0
load helper

# A member as evlisten's are. $MEMBER_IN, $MEMBER_OUT; $PID.
start_listener() { # NAME PATTERN…
    MEMBER_SETTINGS='{"listener": true}' start_member "$@"
}

# Values of a listener's row, as JSON.
listener() { # NAME KEY…
    local name=$1 keys
    shift
    printf -v keys '.%s,' "$@"
    evctl listener "$name" show -J | jq -c "[${keys%,}]"
}

# Waits for a listener's row to say so: what members report and that they are gone comes by itself.
wait_for_listener() { # JSON NAME KEY…
    local want=$1 end=$((SECONDS + PATIENCE))
    shift
    until [[ $(listener "$@") == "$want" ]]; do
        ((SECONDS < end)) || { echo "not $want: $(listener "$@")"; return 1; }
    done
}

@test "a paused group hands out nothing new; what is in hand goes on; resume calls at once" {
    start_hub
    start_member g t
    seq 4 | evpub t
    run -0 tell 'take 2'
    assert_output $'1 1 t 1\n2 1 t 2'
    run -0 evctl group g pause
    assert_output 'group g is paused; 2 events are in hand'
    run -0 tell 'ack 1 2'
    run -0 tell 'take 4'
    assert_output ''
    assert_equal "$(evctl groups -J | jq -c '[.paused, .acked, .pending, .stalled]')" '[true,2,0,"paused"]'
    echo 'take 4 20' >&"$MEMBER_IN" # waits until it is called
    run -0 evctl group g resume
    assert_output 'group g goes on'
    run -0 answer "$MEMBER_OUT"
    assert_output $'3 1 t 3\n4 1 t 4'
    assert_equal "$(evctl groups -J | jq -c '[.paused, .stalled]')" '[false,null]'
}

@test "an event whose delivery failed waits until the group goes on, too" {
    start_hub
    MEMBER_SETTINGS='{"backoff": [1000000]}' start_member g t
    evpub t x
    tell 'take 1'
    evctl group g pause
    tell 'nack 1 0 not now'
    run -0 tell 'take 1'
    assert_output ''
    evctl group g resume
    run -0 tell 'take 1 20'
    assert_output '1 2 t x'
}

@test "paused is paused after a restart of the hub, killed or not" {
    start_hub
    evsub -g g -n 0 t
    evctl group g pause
    kill_hub
    start_hub
    assert_equal "$(evctl groups -J | jq .paused)" true
    stop_hub
    start_hub
    assert_equal "$(evctl groups -J | jq .paused)" true
    evctl group g resume
    kill_hub
    start_hub
    assert_equal "$(evctl groups -J | jq .paused)" false
}

@test "-e in a paused group says so instead of waiting for ever; with nothing left to do it ends" {
    start_hub
    evsub -g g -n 0 t
    evctl group g pause
    run -0 timeout "$PATIENCE" evsub -g g -e
    evpub t x
    run -75 --separate-stderr timeout "$PATIENCE" evsub -g g -e
    assert_equal "$stderr" 'evsub: group g is paused (evctl group g resume)'
    evctl group g resume
    run -0 timeout "$PATIENCE" evsub -g g -e
    assert_output x
}

@test "-e whose group is paused while it waits for another member is told" {
    start_hub
    start_member g t
    evpub t x
    tell 'take 1'
    start bash -c 'exec evsub -v -g g -e 2>e.err'
    wait_for_text e.err 'subscribed'
    evpub t y # not its concern: it ends where the head was
    evctl group g pause
    local status=0
    wait_for_exit "$PID" || status=$? # not in a subshell, whose child it is not
    assert_equal "$status" 75
}

@test "listeners: a group is one when its members say so; state, runs, failures, the last error" {
    start_hub
    evsub -g plain -n 0 t
    run -0 evctl listeners
    assert_output --regexp '^LISTENER +STATE +RUNS +FAILURES +LAG +PENDING +DEAD +ON +ERR AGO +LAST ERROR$'
    start_listener mail order.paid
    assert_equal "$(listener mail state patterns runs failures last_error)" '["running",["order.paid"],0,0,null]'
    tell 'report 7 2 exit status 3'
    assert_equal "$(listener mail runs failures last_error)" '[7,2,"exit status 3"]'
    run -0 evctl listeners
    assert_line --regexp '^mail +running +7 +2 +0 +0 +0 +order\.paid +[0-9.]+s +exit status 3$'
    assert_equal "${#lines[@]}" 2
    run -0 evctl listener mail show
    assert_line --regexp '^last error +20.*Z exit status 3$'
    assert_line --regexp '^on +order\.paid$'
    assert_equal "$(evctl clients -J | jq -c '[.kind, .group, .runs, .failures, .last_error]')" \
        '["evlisten","mail",7,2,"exit status 3"]'
    run -0 evctl metrics
    assert_line 'evbus_listener_runs_total{listener="mail"} 7'
    assert_line 'evbus_listener_failures_total{listener="mail"} 2'
    assert_line 'evbus_group_paused{group="plain"} 0'
    refute_line --partial 'listener="plain"'
}

@test "what a member reported stays when it goes; several are summed, the newest error is told" {
    start_hub
    start_listener mail t
    tell 'report 5 1 first'
    tell crash || true
    wait_for_listener '["stopped",5,1,"first"]' mail state runs failures last_error
    start_listener mail t
    tell 'report 2 1 second'
    assert_equal "$(listener mail state runs failures last_error)" '["running",7,2,"second"]'
    start_listener mail t
    tell 'report 1 0'
    assert_equal "$(listener mail members runs failures last_error)" '[2,8,2,"second"]'
    tell quit
    wait_for_listener '[1,8,2,"second"]' mail members runs failures last_error
}

@test "listener NAME pause, resume, replay" {
    start_hub
    start_listener mail t
    seq 3 | evpub t
    tell 'take 3'
    tell 'ack 1 2 3'
    run -0 evctl listener mail pause
    assert_output 'group mail is paused; 0 events are in hand'
    assert_equal "$(listener mail state)" '["paused"]'
    run -0 evctl listener mail replay --from 2
    assert_output 'group mail: 2 events of seqs 2 to 3 are handed out once more'
    run -0 tell 'take 3'
    assert_output ''
    run -0 evctl -J listener mail resume
    assert_output '{"group":"mail","paused":false,"in_hand":0}'
    run -0 tell 'take 3 20'
    assert_line --index 0 --regexp ' 1 t 2$'
    assert_line --index 1 --regexp ' 1 t 3$'
    tell quit
    wait_for_listener '["stopped"]' mail state
    evctl listener mail pause
    assert_equal "$(listener mail state)" '["paused, stopped"]'
}

@test "listener: what is none is said, with 1; usage with 64" {
    start_hub
    evsub -g plain -n 0 t
    run -1 evctl listener plain pause
    assert_output 'evctl: there is no listener plain (evctl listeners)'
    assert_equal "$(evctl groups -J | jq .paused)" false
    run -1 evctl group nobody pause
    run -64 evctl listener plain
    run -64 evctl listener plain destroy
    run -64 evctl listeners plain
}

@test "what a member of the library reports is told when it leaves, at the latest; without control characters" {
    skip_if_sanitized
    cc -Wall -Werror -I"$ROOT/lib" -o listener "$ROOT/tests/library/listener.c" -L"$EVB_BUILD/lib" -levbus
    start_hub
    evsub -g c -n 0 t
    printf '%s\n' good good bad | evpub t
    run -0 env LD_LIBRARY_PATH="$EVB_BUILD/lib" timeout "$PATIENCE" ./listener "$EVBUS_URL"
    wait_for_listener '["stopped",3,1,"it was?bad ?",0,1]' c state runs failures last_error lag dead
    run -0 evctl listener c show
    assert_line --regexp '^last error +20.*Z it was\?bad \?$'
}
