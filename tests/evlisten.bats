#!/usr/bin/env bats
# evlisten: listeners from files: what they run, what goes wrong, changing them, what is expected.

load helper

# Starts evlisten ARG… and waits until its listeners are there. $LISTEN_PID; its stderr is added to listen.err.
start_listen() { # ARG…
    start_ready listen.out listen.err evlisten "$@"
    LISTEN_PID=$PID
}

stop_listen() {
    kill -TERM "$LISTEN_PID"
    wait_for_exit "$LISTEN_PID"
}

# The events of PATTERN…, until there are COUNT.
wait_for_events() { # COUNT PATTERN…
    timeout "$PATIENCE" evsub --from first -n "$1" "${@:2}"
}

@test "a listener runs its command for what matches, and its output is an event with a cause" {
    start_hub
    cat >l.conf <<'C'
# upper case
[listener shout]
on = word.*
when = .payload != "skip"
run = tr a-z A-Z
publish = loud
C
    start_listen l.conf
    printf '%s\n' "word.a${TAB}hello" "word.b${TAB}skip" "other${TAB}x" "word.c${TAB}bye" | evpub -T
    run -0 wait_for_events 2 loud
    assert_output $'HELLO\nBYE'
    run -0 evsub --from first -e -J loud
    assert_equal "$(jq -rc '.headers | [.cause, .correlation, .depth]' <<<"$output")" $'["1","1","1"]\n["4","4","1"]'
    stop_listen
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.name, .acked, .pending, .dead] | join(" ")' <<<"$output")" 'shout 3 0 0'
}

@test "input: the payload, JSON, or an expression; env, cwd and shell" {
    start_hub
    mkdir there
    cat >l.conf <<C
[listener plain]
on = t
run = cat
publish = out.plain
[listener json]
on = t
input = json
run = jq -r '.topic + .payload'
publish = out.json
[listener expr]
on = t
input = .data.n + 1
shell = printf '%s %s %s' "\$(cat)" "\$COLOUR" "\$(pwd)"
env = COLOUR=red
cwd = $BATS_TEST_TMPDIR/there
publish = out.expr
C
    start_listen l.conf
    evpub t '{"n":4}'
    wait_for_events 3 'out.*' >/dev/null
    run -0 evsub --from first -e -t 'out.*'
    assert_line "out.plain$TAB{\"n\":4}"
    assert_line "out.json${TAB}t{\"n\":4}"
    assert_line "out.expr${TAB}5 red $BATS_TEST_TMPDIR/there"
}

@test "-c: every fault is said with file and line, exit 78; a right file is printed" {
    cat >bad.conf <<'C'
[listener a]
on = a..b
run = nowhere-at-all
jobs = many
colour = red
[listener a]
[listener b]
on = x
when = .a ==
run = echo $HOME
[what]
[expect e]
topic = x
run = true
C
    run -78 evlisten -c bad.conf
    assert_line --regexp '^evlisten: bad.conf:4: \[a\] jobs: '
    assert_line --regexp '^evlisten: bad.conf:5: \[a\] colour: '
    assert_line --regexp '^evlisten: bad.conf:1: \[a\] on: '
    assert_line --regexp '^evlisten: bad.conf:1: \[a\] run: nowhere-at-all: '
    assert_line 'evlisten: bad.conf:6: [a]: it is there already, in bad.conf:1'
    assert_line --regexp '^evlisten: bad.conf:7: \[b\] when: .*syntax error'
    assert_line --regexp '^evlisten: bad.conf:7: \[b\] run: '
    assert_line --regexp '^evlisten: bad.conf:11: not a section'
    assert_line --regexp '^evlisten: bad.conf:12: \[e\] every: '
    run -78 evlisten -c nowhere.conf
    assert_output 'evlisten: nowhere.conf: No such file or directory'
    run -64 evlisten
    mkdir d
    printf '[listener x]\non = a, b\nrun = cat "a b"\n' >d/1.conf
    printf 'nonsense' >d/2.conf.bak
    run -0 evlisten -c d
    assert_output $'x (d/1.conf:1)\n  on = a, b\n  run = cat \'a b\'\n  jobs = 1'
    printf '[listener x]\non = a b  c\td\nrun = cat\n' >d/1.conf
    run -0 evlisten -c d
    assert_line '  on = a, b, c, d'
}

@test "--test: which listeners would run, and which part says no" {
    cat >l.conf <<'C'
[listener one]
on = order.*
when = .data.total > 10 and .headers.kind == "new"
run = true
[listener two]
on = other
run = true
[listener three]
on = order.#
run = true
C
    echo '{"topic":"order.1","payload":"{\"total\":20}","headers":{"kind":"old"}}' >event
    run -0 evlisten --test event l.conf
    assert_output $'one: no: when: .headers.kind == "new": does not hold\ntwo: no: on: no pattern matches order.1\nthree: runs'
    echo '{"topic":"none","payload":""}' >event
    run -1 evlisten --test event l.conf
    echo '{"topic":' >event
    run -65 evlisten --test event l.conf
    assert_output --partial 'event:1: '
}

@test "a loop is stopped at a depth, and said" {
    start_hub
    printf '%s\n' '[listener ping]' 'on = ping' 'run = cat' 'publish = pong' \
        '[listener pong]' 'on = pong' 'run = cat' 'publish = ping' >l.conf
    start_listen l.conf
    evpub ping ball
    wait_for_text listen.err '32 causes before it: this looks like a loop'
    run -0 evsub --from first -e -J ping pong
    assert_equal "$(jq -r .headers.depth <<<"${lines[-1]}")" 32
}

@test "a listener that fails all the time holds up no other; its failures are kept" {
    start_hub
    mkfifo gate
    printf '%s\n' '[listener bad]' 'on = t' 'shell = echo broken >&2; exit 3' 'retry = 2' 'backoff = 10ms' \
        '[listener stuck]' 'on = t' 'shell = read -r _ <gate' \
        '[listener good]' 'on = t' 'run = cat' 'publish = done' >l.conf
    start_listen l.conf
    seq 20 | evpub t
    run -0 wait_for_events 20 done
    assert_equal "$output" "$(seq 20)"
    timeout "$PATIENCE" evsub --from first -n 20 '$dead.bad' >/dev/null
    run -0 evctl listeners -J
    assert_equal "$(jq -r 'select(.name == "good") | .pending' <<<"$output")" 0
    run -0 evctl dead show bad
    assert_output --partial 'broken'
    assert_output --partial 'exit 3'
    kill -TERM "$LISTEN_PID"
    kill -TERM "$LISTEN_PID" # to what runs
    wait_for_text listen.err 'ready' 
    wait_for_exit "$LISTEN_PID" || true
}

@test "a command that does not exist any more fails, and is tried again" {
    start_hub
    printf '#!/bin/sh\ncat\n' >command
    chmod +x command
    printf '%s\n' '[listener l]' 'on = t' "run = $PWD/command" 'publish = done' 'backoff = 50ms' 'retry = 1000' >l.conf
    start_listen -v l.conf
    mv command away
    evpub t x
    wait_for_text listen.err 'No such file or directory'
    mv away command
    run -0 wait_for_events 1 done
    assert_output x
}

@test "killed -9 and started again: what was in hand is done" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener l]' 'on = t' 'shell = echo $EVBUS_SEQ >>begun; read -r _ <gate; cat' 'publish = done' >l.conf
    start_listen l.conf
    seq 3 | evpub t
    wait_for_lines begun 1
    kill -KILL "$LISTEN_PID"
    wait_for_exit "$LISTEN_PID" || true
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'publish = done' >l.conf
    start_listen l.conf
    run -0 wait_for_events 3 done
    assert_equal "$(sort <<<"$output")" $'1\n2\n3'
}

@test "the hub is restarted under it: it goes on, and nothing is done twice" {
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'publish = done' 'jobs = 2' >l.conf
    start_listen l.conf
    seq 50 | evpub t
    kill_hub
    start_hub
    seq 51 100 | evpub t
    run -0 wait_for_events 100 done
    assert_equal "$(sort -n <<<"$output")" "$(seq 100)"
    run -0 evsub --from first -e done
    assert_equal "$(sort -n <<<"$output")" "$(seq 100)"
}

@test "it waits for a hub that is not there yet" {
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'publish = done' >l.conf
    start evlisten l.conf 2>listen.err # no hub is there
    start_hub
    wait_for_text listen.err ready
    evpub t x
    run -0 wait_for_events 1 done
}

@test "SIGHUP: new, changed and gone listeners, without dropping work in hand" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener old]' 'on = t' 'shell = echo begun >>begun; read -r _ <gate; echo old' 'publish = done' \
        '[listener gone]' 'on = g' 'run = cat' 'publish = done' >l.conf
    start_listen l.conf
    evpub t 1
    wait_for_lines begun 1
    printf '%s\n' '[listener old]' 'on = t' 'shell = echo new' 'publish = done' \
        '[listener fresh]' 'on = f' 'run = cat' 'publish = done' >l.conf
    kill -HUP "$LISTEN_PID"
    wait_for_text listen.err '^evlisten: 2 listeners'
    echo >gate
    run -0 wait_for_events 1 done
    assert_output old
    evpub t 2
    run -0 wait_for_events 2 done
    assert_output $'old\nnew'
    follow_members() { until [[ $(evctl groups -J | jq -r 'select(.name == "fresh") | .members') == 1 ]]; do :; done; }
    export -f follow_members
    timeout "$PATIENCE" bash -c follow_members
    evpub f 3
    run -0 wait_for_events 3 done
    assert_output $'old\nnew\n3'
    run -0 evctl groups -J
    assert_equal "$(jq -r 'select(.name == "gone") | .members' <<<"$output")" 0
}

@test "SIGHUP with a fault in the file: the old one goes on, the fault has file and line" {
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'publish = done' >l.conf
    start_listen l.conf
    printf '%s\n' '[listener l]' 'on = t' 'jobs = none' >l.conf
    kill -HUP "$LISTEN_PID"
    wait_for_text listen.err '^evlisten: l.conf:3: \[l\] jobs: '
    wait_for_text listen.err 'going on with the listeners as they were'
    evpub t x
    run -0 wait_for_events 1 done
    assert_output x
}

@test "SIGTERM waits for what runs" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener l]' 'on = t' 'shell = echo >>begun; read -r _ <gate; cat' 'publish = done' >l.conf
    start_listen l.conf
    evpub t x
    wait_for_lines begun 1
    kill -TERM "$LISTEN_PID"
    echo >gate
    wait_for_exit "$LISTEN_PID"
    run -0 wait_for_events 1 done
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.acked, .pending] | join(" ")' <<<"$output")" '1 0'
}

@test "expect: a topic that is not heard of in its time, once for each silence" {
    start_hub
    touch missed
    printf '%s\n' '[expect beat]' 'topic = heart.beat' 'every = 0.3s' 'shell = cat >>missed' >l.conf
    start_listen l.conf
    wait_for_lines missed 1
    assert_equal "$(cat missed)" 'beat: no heart.beat for 0.3 s'
    evpub heart.beat 1
    wait_for_lines missed 2
    stop_listen
    assert_equal "$(wc -l <missed)" 2
}

@test "evctl shows runs and failures; pause and resume" {
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'shell = read -r n; [ "$n" != 2 ] || exit 65; echo "$n"' 'publish = done' >l.conf
    start_listen l.conf
    seq 3 | evpub t
    wait_for_events 2 done >/dev/null
    run -0 evctl listener l pause
    evpub t 4
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.paused, .listener] | join(" ")' <<<"$output")" 'true true'
    run -0 evctl listener l resume
    run -0 wait_for_events 3 done
    assert_output $'1\n3\n4'
    stop_listen
    run -0 evctl listeners -J
    assert_equal "$(jq -r '[.runs, .failures, .last_error] | join(" ")' <<<"$output")" '4 1 seq 2: exit 65'
}

@test "batch and keep" {
    start_hub
    printf '%s\n' '[listener many]' 'on = t' 'batch = 10' 'run = jq -sc "map(.payload)"' 'publish = many' \
        '[listener kept]' 'on = t' 'keep = yes' "run = sed -u 's/.*/kept/'" 'publish = kept' >l.conf
    evsub -g many -n 0 t
    seq 5 | evpub t
    start_listen l.conf
    run -0 wait_for_events 1 many
    assert_output '["1","2","3","4","5"]'
    seq 2 | evpub t
    run -0 wait_for_events 2 kept
    assert_output $'kept\nkept'
}

@test "root only: another user" {
    [[ $(id -u) == 0 ]] || skip "not root"
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'shell = id -un; echo $HOME' 'user = nobody' 'publish = done' >l.conf
    start_listen l.conf
    evpub t x
    run -0 wait_for_events 1 done
    assert_output "nobody"$'\n'"$(getent passwd nobody | cut -d: -f6)"
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'user = no-such-user' >l.conf
    run -78 evlisten -c l.conf
}
