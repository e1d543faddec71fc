# evcmd.bats: commands: one handler, its answer, and what is said when nobody knows.
bats_require_minimum_version 1.5.0
load helper

# Starts a handler of TOPIC and waits until it serves or stands by: start_handler TOPIC [OPTION…] -- CMD…. $HANDLER_PID.
start_handler() {
    local status=0
    start_ready handler.out handler.err evcmd --serve -v "$@" || status=1
    HANDLER_PID=$PID
    return "$status"
}

# Waits for a background process, which is to exit with CODE.
ends_with() { # CODE PID
    local status=0
    wait_for_exit "$2" || status=$?
    assert_equal "$status" "$1"
}

# What is stored of commands: topic and payload.
stored() {
    timeout 20 evsub --from first -e "${@--t}" '#'
}

# A handler's command that tells that it runs, and waits until it is let go by a byte: a fifo each.
make_gate() {
    mkfifo running gate
    exec 7<>running 8<>gate
    # shellcheck disable=SC2016 # for the inner shell
    GATED='echo x >running; echo "did $(cat) $(head -c 1 gate)"'
}

wait_running() {
    read -r -t "$PATIENCE" _ <&7
}

@test "the answer comes on stdout, to the byte, exit 0" {
    start_hub
    start_handler add -- sh -c 'read -r a b; echo $((a + b))'
    run -0 --separate-stderr timeout 20 evcmd add '1 2'
    assert_output 3
    assert_equal "$stderr" ''
}

@test "a payload that begins with - goes behind --" {
    start_hub
    start_handler back -- cat
    run -0 timeout 20 evcmd back -- -5
    assert_output -- -5
    run -0 timeout 20 evcmd -- back -v
    assert_output -- -v
    run -64 evcmd back -5
    assert_output "evcmd: -5: no such option; a payload that begins with - goes behind --; try 'evcmd --help'"
    run -64 evcmd back -- a b
    assert_output "evcmd: a TOPIC and at most one PAYLOAD are wanted, or --serve; try 'evcmd --help'"
    run -64 evcmd -j 2 back -- cat
}

@test "without PAYLOAD stdin is the command, NULs and all, and comes back as it was" {
    start_hub
    start_handler back -- cat
    printf 'a\0b\n\n\377\0' >in
    timeout 20 evcmd back <in >out
    cmp in out
    timeout 20 evcmd back </dev/null >out
    cmp /dev/null out
}

@test "a command and an answer of 1 MiB" {
    start_hub
    start_handler back -- cat
    head -c 1048576 /dev/urandom >in
    timeout 20 evcmd back <in >out
    cmp in out
    printf x >>in
    run -65 timeout 20 evcmd back <in
    assert_output --partial 'larger than the hub takes'
}

@test "an answer that is larger than the hub takes is a refusal" {
    start_hub --max-payload 1000
    start_handler big -- head -c 1001 /dev/zero
    run -1 timeout 20 evcmd big x
    assert_output --partial 'refused: an answer of 1001 bytes'
}

@test "stdout and stderr are kept apart" {
    start_hub
    start_handler two -- sh -c 'echo out; echo err >&2'
    run -0 --separate-stderr timeout 20 evcmd two x
    assert_equal "$output" out
    assert_equal "$stderr" err
}

@test "refused: exit 1, and the reason is stderr's last line" {
    start_hub
    start_handler no -- sh -c 'echo first >&2; echo not today >&2; exit 3'
    run -1 --separate-stderr timeout 20 evcmd no x
    assert_equal "$stderr" $'first\nnot today\nevcmd: no: refused: not today'
}

@test "refused without a word: the reason is how it ended" {
    start_hub
    start_handler no -- sh -c 'exit 3'
    run -1 timeout 20 evcmd no x
    assert_output 'evcmd: no: refused: exit 3'
}

@test "a command that is not there any more is a refusal" {
    start_hub
    printf '#!/bin/sh\n' >soon-gone
    chmod +x soon-gone
    start_handler no -- ./soon-gone
    rm soon-gone
    run -1 timeout 20 evcmd no x
    assert_output --partial 'refused: '
}

@test "a hub that has gone before it was asked: 69, since nothing was sent" {
    start_hub
    kill_hub
    run -69 timeout 20 evcmd --timeout 0.1 do x
    assert_output "evcmd: do: no hub at $EVBUS_URL: start one with evbusd -u $EVBUS_URL"
}

@test "no handler: 69 at once; no hub: 69" {
    run -69 timeout 20 evcmd nobody x
    assert_output --partial 'no hub'
    start_hub
    run -69 timeout 20 evcmd --timeout 0 nobody x
    assert_output 'evcmd: nobody: no handler'
    run -0 stored
    assert_output ''
}

@test "no answer in time: 75, and the outcome is unknown; the late one is still recorded" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    start timeout 20 evcmd --timeout 2 slow x 2>said
    local caller=$PID
    wait_running # else it would be withdrawn
    ends_with 75 "$caller"
    run cat said
    # a hub that is held up says it too late
    assert_output --regexp '^evcmd: slow: outcome unknown: it may have been done: (no answer|the hub did not answer) in time$'
    start_sub late -n 1 '$cmd.slow.done'
    printf l >&8
    wait_for_exit "$SUB_PID"
    run cat late
    assert_output 'did x l'
}

@test "what no handler took in time is withdrawn, and not done" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    start timeout 20 evcmd slow first >first.out
    local first=$PID
    wait_running
    run -75 timeout 20 evcmd --timeout 3 slow second
    assert_output --partial 'withdrawn, not done'
    printf g >&8
    wait_for_exit "$first"
    run -0 stored
    assert_line --partial "\$cmd.slow.lost$TAB"
    refute_line --partial 'did second'
}

@test "a reason that is too long is cut behind a character" {
    start_hub
    start_handler words -- sh -c 'read -r n; printf "%s%0400d\n" "größer$n" 0 | sed "s/0/ä/g" >&2; exit 1'
    for pad in '' x; do
        echo "$pad" >word
        run -1 --separate-stderr timeout 20 evcmd words <word
        run -0 grep -o "refused: größer$pad.*ää$" <<<"$stderr"
        refute_output --partial '?'
    done
}

@test "--cmd-timeout ends a command, and it is refused" {
    start_hub
    start_handler slow --cmd-timeout 0.1 -- tail -f /dev/null
    run -1 timeout 20 evcmd slow x
    assert_output --partial 'refused: timed out after 0.1 s'
}

@test "-j: so many at once" {
    start_hub
    make_gate
    start_handler slow -j 2 -- sh -c "$GATED"
    start timeout 20 evcmd slow a >a.out
    local a=$PID
    start timeout 20 evcmd slow b >b.out
    local b=$PID
    wait_running
    wait_running
    printf 1 >&8
    printf 2 >&8
    wait_for_exit "$a"
    wait_for_exit "$b"
    run cat a.out b.out
    assert_line --regexp '^did a [12]$'
    assert_line --regexp '^did b [12]$'
}

@test "--keep: the command is started once, and answers each with a line" {
    start_hub
    # shellcheck disable=SC2016 # for the inner shell
    start_handler kept --keep -- sh -c 'n=0; while read -r line; do n=$((n + 1)); case $line in *bad*) echo "!no $n";; *) echo "line $n";; esac; done'
    run -0 timeout 20 evcmd kept x
    assert_output 'line 1'
    run -1 timeout 20 evcmd kept bad
    assert_output 'evcmd: kept: refused: no 2'
    run -0 timeout 20 evcmd kept x
    assert_output 'line 3'
}

@test "--shell LINE" {
    start_hub
    start_handler up --shell 'tr a-z A-Z | rev'
    run -0 timeout 20 evcmd up abc
    assert_output CBA
}

@test "who handles commands has no events, and is not behind" {
    start_hub
    start_handler one -- cat
    evpub t x
    until run -0 evctl clients -J && [[ $(jq -r .kind <<<"$output") == evcmd ]]; do :; done
    assert_equal "$(jq -c '[.position, .lag]' <<<"$output")" '[0,0]'
}

@test "a second handler is turned away with the first one's pid" {
    start_hub
    start_handler one -- cat
    run -75 timeout 20 evcmd --serve one -- cat
    assert_output "evcmd: one is served by process $HANDLER_PID"
}

@test "--standby takes over when the first goes, by SIGKILL or in order" {
    start_hub
    start_handler one -- echo first
    local first=$HANDLER_PID
    start_handler one --standby -- echo second
    local second=$HANDLER_PID
    start_handler one --standby -- echo third
    run -0 timeout 20 evcmd one x
    assert_output first
    kill -KILL "$first"
    wait_for_exit "$first" || true
    start_sub gone -n 1 nothing # the hub has seen this connection come, and that one go
    run -0 timeout 20 evcmd one x
    assert_output --regexp '^(second|third)$'
    kill -TERM "$second"
    ends_with 143 "$second"
    run -0 timeout 20 evcmd one x
    assert_output third
}

@test "a handler that dies in mid-command: outcome unknown at once" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    start timeout 20 evcmd --timeout 0 slow x 2>said
    local caller=$PID
    wait_running
    kill -KILL "$HANDLER_PID"
    ends_with 75 "$caller"
    run cat said
    assert_output --partial 'outcome unknown: it may have been done: the handler went away'
    run -0 stored -F '%t %h{taken}\n'
    assert_line '$cmd.slow.lost yes'
    printf g >&8
}

@test "SIGTERM: the handler finishes what is in hand, and takes no more" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    start timeout 20 evcmd slow x >out
    local caller=$PID
    wait_running
    kill -TERM "$HANDLER_PID"
    start_ready more.out more.err evcmd --serve slow --standby -- echo other
    printf f >&8
    wait_for_exit "$caller"
    run cat out
    assert_output 'did x f'
    ends_with 143 "$HANDLER_PID"
    run -0 timeout 20 evcmd slow y
    assert_output other
}

@test "SIGTERM with nothing in hand and no hub: it does not wait for one" {
    start_hub
    start_handler --timeout 0 slow -- cat
    kill_hub
    kill -TERM "$HANDLER_PID"
    ends_with 143 "$HANDLER_PID"
}

@test "two signals at once, and a command that came just before: it is not begun" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o patient.so "$ROOT/tests/peers/patient.c"
    start_hub
    start_sub asked -n 1 '$cmd.t.asked'
    LD_PRELOAD=$PWD/patient.so start_handler t -- sh -c 'echo begun >>begun'
    freeze "$HANDLER_PID"
    start timeout 20 evcmd t one 2>refused
    local asker=$PID status=0
    wait_for_exit "$SUB_PID" # the hub has given it to the handler
    kill -TERM "$HANDLER_PID"
    kill -INT "$HANDLER_PID"
    kill -CONT "$HANDLER_PID"
    wait_for_exit "$asker" || status=$?
    assert_equal "$status" 1
    assert_equal "$(cat refused)" 'evcmd: t: refused: not run'
    wait_for_exit "$HANDLER_PID" || true
    assert_not_exist begun
}

@test "--keep: the second signal ends the command, and no other is started for what it has not read" {
    start_hub
    mkfifo gate
    start_sub asked -n 2 '$cmd.t.asked'
    start_handler --keep t -- sh -c 'echo begun >>begun; read -r _; echo answer; read -r _ <gate'
    run -0 timeout 20 evcmd t one
    start timeout 20 evcmd t two
    wait_for_exit "$SUB_PID" # it is asked
    kill -TERM "$HANDLER_PID"
    kill -INT "$HANDLER_PID"
    local status=0
    wait_for_exit "$HANDLER_PID" || status=$?
    [[ $status == 143 || $status == 130 ]]
    assert_equal "$(cat begun)" begun
}

@test "started with SIGCHLD ignored: how a command ends is known" {
    start_hub
    printf '#!/bin/sh\nexec env --ignore-signal=CHLD evcmd "$@"\n' >deaf
    chmod +x deaf
    start_ready handler.out handler.err ./deaf --serve t -- sed s/x/done/
    run -0 timeout 20 evcmd t x
    assert_output 'done'
}

@test "a command and its outcome are events, with who asked and why" {
    start_hub
    start_handler pay -- sh -c 'cat; test "$EVBUS_H_X" = 1'
    run -64 evcmd -H x=1 -H y=2 -H x=3 pay 12
    assert_output "evcmd: --header: x: given twice"
    run -0 timeout 20 evcmd -H x=1 pay 12
    run -1 timeout 20 evcmd pay 13
    run -0 stored -F '%s %t %p %h{cause} %h{correlation} %h{reason}\n'
    assert_line --index 0 '1 $cmd.pay.asked 12   '
    assert_line --index 1 '2 $cmd.pay.done 12 1 1 '
    assert_line --index 2 '3 $cmd.pay.asked 13   '
    assert_line --index 3 '4 $cmd.pay.refused 13 3 3 exit 1'
    run -0 stored -F '%h{asked-pid} %h{handler-pid} %h{seconds}\n'
    assert_line --index 0 --regexp '^[0-9]+  $'
    assert_line --index 1 --regexp "^ $HANDLER_PID [0-9.]+\$"
    run -0 bash -c "timeout 20 evsub --from first -e -F '%i\n' '#' | sort | uniq -d"
    assert_output ''
}

@test "--quiet-log: nothing is stored; with --id it is all the same" {
    start_hub
    start_handler q -- cat
    run -0 timeout 20 evcmd --quiet-log q x
    assert_output x
    run -0 stored
    assert_output ''
    run -0 timeout 20 evcmd --quiet-log --id 1 q y
    run -0 timeout 20 evcmd --quiet-log --id 1 q z
    assert_output y
    run -0 stored
    assert_output "\$cmd.q.asked${TAB}y"$'\n'"\$cmd.q.done${TAB}y"
}

@test "--id: not done twice, the first answer comes again, a refusal too" {
    start_hub
    start_handler once -- sh -c 'echo run >>ran; cat; test "$EVBUS_ID" != no'
    run -0 timeout 20 evcmd --id a once first
    assert_output first
    run -0 timeout 20 evcmd --id a once second
    assert_output first
    run -1 timeout 20 evcmd --id no once x
    run -1 timeout 20 evcmd --id no once x
    assert_output --partial 'refused: exit 1'
    run -0 timeout 20 evcmd --id b once third
    assert_output third
    run wc -l <ran
    assert_output 3
}

@test "--id: the first answer comes again after the hub's restart, and with no handler there" {
    start_hub
    start_handler once -- cat
    run -0 timeout 20 evcmd --id a once first
    kill_hub
    start_hub
    kill -TERM "$HANDLER_PID"
    ends_with 143 "$HANDLER_PID"
    run -0 timeout 20 evcmd --id a once second
    assert_output first
    stop_hub
    start_hub
    run -0 timeout 20 evcmd --id a once second
    assert_output first
}

@test "two callers with one id at once: it is done once, both get the answer" {
    start_hub
    make_gate
    start_handler slow -j 2 -- sh -c "$GATED"
    start timeout 20 evcmd --id a slow one >one.out
    local one=$PID
    wait_running
    local there
    there=$(grep -c "$PWD/bus/hub\$" /proc/net/unix)
    start timeout 20 evcmd --id a -v slow two >two.out
    local two=$PID
    # It has a connection, which evctl makes only then: what evctl asks is answered behind it.
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout "$PATIENCE" bash -c 'until (($(grep -c "$1" /proc/net/unix) > $2)); do :; done' - "$PWD/bus/hub\$" "$there"
    run -0 timeout 20 evctl status
    printf g >&8
    wait_for_exit "$one"
    wait_for_exit "$two"
    run cat one.out two.out
    assert_output $'did one g\ndid one g'
    run -0 stored
    assert_equal "${#lines[@]}" 2
}

@test "--id: a command whose handler died is not done again" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    start timeout 20 evcmd --timeout 0 --id a slow x 2>said
    local caller=$PID
    wait_running
    kill -KILL "$HANDLER_PID"
    ends_with 75 "$caller"
    start_handler slow -- echo again
    run -75 timeout 20 evcmd --id a slow x
    assert_output --partial 'outcome unknown'
    run -0 timeout 20 evcmd --id b slow x
    assert_output again
    printf g >&8
}

@test "the hub restarts in mid-command: without an id the outcome is unknown at once, with one the answer comes" {
    start_hub
    make_gate
    start_handler slow -j 2 -- sh -c "$GATED"
    start timeout 20 evcmd --timeout 15 slow plain 2>said
    local plain=$PID
    wait_running
    start timeout 20 evcmd --timeout 15 --id a slow named >out
    local named=$PID
    wait_running
    kill_hub
    ends_with 75 "$plain"
    run cat said
    assert_output --partial 'outcome unknown: it may have been done: the hub went away'
    start_hub
    wait_for_text handler.err 'serving again'
    printf 1 >&8
    printf 2 >&8
    wait_for_exit "$named"
    run cat out
    assert_output --regexp '^did named [12]$'
    run -0 timeout 20 evcmd --id a slow again
    assert_output --regexp '^did named [12]$'
}

@test "the hub restarts in mid-command with one standing by: the first is not turned away, and its outcome counts" {
    start_hub
    make_gate
    start_handler slow -- sh -c "$GATED"
    local first=$HANDLER_PID
    start_ready more.out more.err evcmd --serve -v slow --standby -- echo other
    start timeout 20 evcmd --timeout 15 --id a slow named >out 2>said
    local caller=$PID
    wait_running
    # The one that stands by comes back alone at first.
    kill -STOP "$first"
    kill_hub
    start_hub
    wait_for_text more.err 'serving again'
    kill -CONT "$first"
    wait_for_text handler.err 'serving again'
    printf g >&8
    wait_for_exit "$caller"
    run cat out said
    assert_output 'did named g'
    run -0 timeout 20 evcmd slow next
    assert_output other
    kill -TERM "$first"
    ends_with 143 "$first"
}

@test "what the caller says of its own pid is not believed" {
    start_hub
    start_handler one -- cat
    run -0 timeout 20 evcmd -H asked-pid=1 one x
    run -0 stored -F '%h{asked-pid}' '$cmd.one.asked'
    refute_output 1
}

@test "a handler serves again by itself after the hub's restart" {
    start_hub
    start_handler one -- cat
    stop_hub
    start_hub
    wait_for_text handler.err 'serving again'
    run -0 timeout 20 evcmd one x
    assert_output x
}

@test "a command asked while another is handled names its cause" {
    start_hub
    start_handler inner -- cat
    start_handler outer -- sh -c 'evcmd inner in; evpub done it'
    run -0 timeout 20 evcmd outer x
    run -0 stored -F '%s %t %h{cause} %h{correlation} %h{depth}\n'
    assert_line --index 0 '1 $cmd.outer.asked   '
    assert_line --index 1 '2 $cmd.inner.asked 1 1 1'
    assert_line --index 2 '3 $cmd.inner.done 2 1 2'
}

@test "usage" {
    run -64 evcmd
    run -64 evcmd a b c
    run -64 evcmd --serve a
    run -64 evcmd --serve -j 0 a -- cat
    run -64 evcmd --serve --id x a -- cat
    run -64 evcmd -j 2 a
    run -65 evcmd 'a b' x
    run -65 evcmd '$hub.x' x
}

@test "--serve of a command that is not there: 64, and 77 where it may not be run" {
    start_hub
    run -64 timeout 10 evcmd --serve sum -- ./nothing-here
    assert_output 'evcmd: ./nothing-here: No such file or directory'
    echo 'exit 0' >plain
    run -77 timeout 10 evcmd --serve sum -- ./plain
}

@test "a hub that does not answer was not told of the command: not done, and said" {
    start_hub
    start_ready serve.out serve.err evcmd --serve do --shell 'cat >>ran; echo >>ran'
    evcmd do first
    kill -STOP "$HUB_PID"
    run -75 evcmd --timeout 0.3 do second
    assert_output 'evcmd: do: the hub did not answer in time: not done'
    kill -CONT "$HUB_PID"
    evcmd do third
    assert_equal "$(<ran)" $'first\nthird'
}
