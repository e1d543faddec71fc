#!/usr/bin/env bats
# evsub -- CMD: a command for each event: what it is given, in which order, and what its end means.

load helper

publish() { printf '%s\n' "${@:2}" | evpub "$1"; }

@test "the payload is on stdin, the event in the environment" {
    start_hub
    evpub -H kind=new -H 'x-trace.id=7 8' --id one order.1 'a  b\n' >/dev/null
    run -0 --separate-stderr evsub --from first -e -- \
        sh -c 'cat; echo "|$EVBUS_TOPIC|$EVBUS_SEQ|$EVBUS_VERSION|$EVBUS_ID|$EVBUS_H_KIND|$EVBUS_H_X_TRACE_ID|$EVBUS_TIME"'
    assert_output --regexp '^a  b\\n\|order.1\|1\|1\|one\|new\|7 8\|20[0-9-]+T[0-9:.]+Z$'
    assert_equal "$stderr" ''
}

@test "any bytes arrive exactly, also none, a NUL, and 1 MiB" {
    start_hub
    printf 'a\0b\n\n' | evpub -s bin
    evpub bin ''
    head -c 1048576 /dev/urandom >big
    evpub -f big bin
    evsub --from first -e -- sh -c 'cat >got.$EVBUS_SEQ'
    cmp <(printf 'a\0b\n\n') got.1
    [[ -e got.2 && ! -s got.2 ]]
    cmp big got.3
}

@test "nothing of an event before is in the environment, and the command finds the same hub" {
    start_hub
    publish t 1
    EVBUS_H_OLD=x EVBUS_CAUSE=77 EVBUS_REPLAY=1 run -0 evsub -u "$EVBUS_URL" --from first -e -- \
        sh -c 'echo "${EVBUS_H_OLD-none} $EVBUS_CAUSE ${EVBUS_REPLAY-none} $EVBUS_URL"'
    assert_output "none 1 none $EVBUS_URL"
}

@test "a command has no descriptor of ours but 0, 1 and 2, and no signal ignored or blocked" {
    start_hub
    publish t 1
    run -0 evsub -u "$EVBUS_URL" -g g --from first -e '#' -- sh -c 'ls -l /proc/$$/fd; exec grep -E "^Sig(Blk|Ign)" /proc/self/status' 3>&- 4>&-
    refute_output --partial socket:
    refute_output --partial eventfd
    assert_line --regexp '^SigBlk:[[:space:]]*0+$'
    assert_line --regexp '^SigIgn:[[:space:]]*0000000[01][08]0000000$|^SigIgn:[[:space:]]*0+$' # 32 and 33 are the C library's own
}

@test "-j runs several at once, one topic's events in order" {
    start_hub
    for ((i = 0; i < 200; i++)); do echo "t$((i % 5))$TAB$i"; done | evpub -T
    evsub --from first -e -j 8 -- sh -c 'echo "$EVBUS_TOPIC $EVBUS_VERSION"' >out
    assert_equal "$(wc -l <out)" 200
    for t in 0 1 2 3 4; do
        grep "^t$t " out | cut -d' ' -f2 >order
        cmp order <(seq 40)
    done
}

@test "-j: topics do not wait for each other" {
    start_hub
    mkfifo gate
    printf '%s\n' "slow${TAB}1" "slow${TAB}2" "fast${TAB}3" "fast${TAB}4" | evpub -T
    start evsub --from first -e -j 2 -- sh -c '[ "$EVBUS_SEQ" != 1 ] || read -r _ <gate; echo $EVBUS_SEQ' >out
    wait_for_lines out 2
    assert_equal "$(cat out)" $'3\n4'
    echo >gate
    wait_for_exit "$PID"
    assert_equal "$(cat out)" $'3\n4\n1\n2'
}

@test "a failure is said and passed over; with --strict it ends evsub, and the cursor stands before it" {
    start_hub
    publish t 1 2 3 4
    run -0 --separate-stderr evsub --from first -e -- sh -c 'read -r n; [ "$n" != 2 ] || exit 3; echo "$n"'
    assert_output $'1\n3\n4'
    assert_equal "$stderr" 'evsub: seq 2 t: exit 3'
    run -1 --separate-stderr evsub --from first -e --strict -c ./cursor -- sh -c 'read -r n; [ "$n" != 3 ] || kill -9 $$; echo "$n"'
    assert_output $'1\n2'
    assert_equal "$stderr" 'evsub: seq 3 t: killed by SIGKILL'
    run -0 evsub -e -c ./cursor -- cat
    assert_output 34
}

@test "a command that there is not is said at once" {
    run -64 evsub -- ./nowhere
    assert_output 'evsub: ./nowhere: No such file or directory'
    run -64 evsub -- nowhere-in-path x
    assert_output 'evsub: nowhere-in-path: No such file or directory'
    : >plain
    run -77 evsub -- ./plain
    run -64 evsub --
    run -64 evsub -t -- cat
    run -64 evsub -j 2
    run -64 evsub --keep --batch 2 -- cat
}

@test "a script without #! is run by the shell" {
    start_hub
    evpub t 'of the event'
    echo 'echo "$1: $(cat)"' >script
    chmod +x script
    run -0 evsub --from first -e t -- ./script it
    assert_output 'it: of the event'
}

@test "--shell: a line of the shell" {
    start_hub
    publish t x
    run -0 evsub --from first -e --shell 'tr x y | cat; echo; echo "$EVBUS_TOPIC"'
    assert_output $'y\nt'
}

@test "--cmd-timeout: TERM, then KILL to the whole process group" {
    start_hub
    publish t 1
    run -0 evsub --from first -e --cmd-timeout 2 -- sh -c 'trap "echo told; exit 0" TERM; mkfifo never; read -r _ <>never & wait'
    assert_output $'told\nevsub: seq 1 t: timed out after 2 s'
}

@test "--batch: up to N events to one run as JSON lines" {
    start_hub
    seq 7 | evpub t
    run -0 evsub --from first -e --batch 3 -- jq -sc 'map(.payload)'
    assert_output $'["1","2","3"]\n["4","5","6"]\n["7"]'
}

@test "--batch in a group: the run's end is that of all its events" {
    start_hub
    seq 4 | evpub t
    run -0 evsub -g g --from first -e --batch 4 --max-deliver 1 '#' -- sh -c 'exit 65'
    run -0 evctl dead list -J
    assert_equal "$(jq -s length <<<"$output")" 4
}

@test "-J: one event as a JSON line" {
    start_hub
    publish t hello
    run -0 evsub --from first -e -J -- jq -r '.topic + " " + .payload'
    assert_output 't hello'
}

@test "--keep: one command gets all, and each event is done when it answers a line" {
    start_hub
    seq 50 | evpub t
    cat >handler <<'H'
echo $$ >>pids
while read -r line; do
    n=${line##*'"payload":"'}
    n=${n%%'"'*}
    case $n in
    7) [ -e once ] || { : >once; exit 9; } ;;
    8) echo '!not today'; continue ;;
    9) echo '!!never'; continue ;;
    esac
    echo "$n" >>done.txt
    echo ok
done
H
    run -0 evsub -g g --from first -e --keep --max-deliver 2 --backoff 0.01 '#' -- bash handler
    assert_equal "$(wc -l <pids)" 2
    sort -n done.txt | uniq -d >twice
    [[ ! -s twice ]]
    cmp <(sort -n done.txt) <(seq 50 | grep -vx '[89]')
    run -0 evctl dead list -J
    assert_equal "$(jq -sc 'map([.orig_seq, .reason]) | sort' <<<"$output")" '[[8,"not today"],[9,"never"]]'
}

@test "--keep: an event that is not answered in its time ends the command" {
    start_hub
    seq 2 | evpub t
    run -0 evsub --from first -e --keep --cmd-timeout 0.2 -- sh -c 'mkfifo f$$; read -r _ <>f$$'
    assert_output $'evsub: seq 1 t: timed out after 0.2 s\nevsub: seq 2 t: timed out after 0.2 s'
}

@test "--keep: a command that ends well but has not answered has failed" {
    start_hub
    publish t 1
    run -0 evsub --from first -e --keep -- true
    assert_output 'evsub: seq 1 t: exit 0 without an answer'
}

@test "--keep: a command may end after an answer: an event that it has not begun to read goes to the next one" {
    start_hub
    for i in 1 2 large 4 5; do
        [[ $i != large ]] || i+=$(printf '%0300000d' 0) # more than a pipe holds
        echo "$i" | evpub t
    done
    cat >one <<'P'
#!/usr/bin/python3
import json, os, select, sys
line = b""
while not line.endswith(b"\n"):
    line += os.read(0, 65536)
print(json.loads(line)["payload"].rstrip("0"), file=open("handled", "a"))
os.write(1, b"ok\n")
select.select([0], [], [])  # until the next event is there
if len(sys.argv) > 1:
    os.read(0, 1)
os._exit(3)
P
    chmod +x one
    run -0 evsub --from first -e --keep t -- ./one
    assert_output ''
    assert_equal "$(cat handled)" $'1\n2\nlarge\n4\n5'
    rm handled
    run -0 evsub -g g --from first -e --max-deliver 1 --keep t -- ./one
    assert_equal "$(cat handled)" $'1\n2\nlarge\n4\n5'
    run -0 evctl dead list -J
    assert_output ''
    rm handled
    run -0 evsub --from first -e --keep t -- ./one reads
    assert_output $'evsub: seq 2 t: exit 3\nevsub: seq 4 t: exit 3'
    assert_equal "$(cat handled)" $'1\nlarge\n5'
}

@test "in a group: exit 0 acknowledges, else it is tried again as the group says, 65 is never tried again" {
    start_hub
    publish t good again never
    run -0 --separate-stderr evsub -g g --from first -e --max-deliver 3 --backoff 0.01 '#' -- \
        sh -c 'read -r p; echo "$p $EVBUS_DELIVERIES"; case $p in good) ;; again) exit 1 ;; never) exit 65 ;; esac'
    assert_equal "$(sort <<<"$output")" $'again 1\nagain 2\nagain 3\ngood 1\nnever 1'
    run -0 evctl dead list -J
    assert_equal "$(jq -sc 'map([.orig_seq, .deliveries, .reason]) | sort' <<<"$output")" '[[2,3,"exit 1"],[3,1,"exit 65"]]'
    run -0 evsub -g g -e -- cat
    assert_output ''
}

@test "in a group a command may take longer than the ack wait: it is not run twice" {
    start_hub
    publish t 1
    start evsub -g g --from first -n 1 --ack-wait 0.3 '#' -- bash -c 'echo ran >>runs; mkfifo hold; read -r -t 2 _ <>hold || true; true'
    wait_for_exit "$PID"
    assert_equal "$(cat runs)" ran
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.acked, .redelivered] | join(" ")' <<<"$output")" '1 0'
}

@test "two members share: what one's command is busy with is not kept from the other" {
    start_hub
    touch slow
    mkfifo gate
    start_sub slow.out -g g --from now '#' -- sh -c 'echo "$EVBUS_SEQ" >>slow; read -r _ <gate'
    slow=$SUB_PID
    evpub t 1
    wait_for_lines slow 1
    start_sub fast.out -g g -n 20 -- sh -c 'echo "$EVBUS_SEQ"'
    fast=$SUB_PID
    seq 20 | evpub t
    wait_for_exit "$fast"
    cmp <(sort -n fast.out) <(seq 2 21)
    kill -TERM "$slow"
    echo >gate
    wait_for_exit "$slow" || true
    run -0 evctl groups -J
    assert_equal "$(jq .pending <<<"$output")" 0
}

@test "SIGTERM: what runs is finished and acknowledged, the rest is not begun" {
    start_hub
    touch begun
    mkfifo gate
    start_sub out -g g --from now '#' -- sh -c 'echo "$EVBUS_SEQ" >>begun; read -r _ <gate; echo "$EVBUS_SEQ" >>ended'
    seq 3 | evpub t
    wait_for_lines begun 1
    kill -TERM "$SUB_PID"
    echo >gate
    status=0
    wait_for_exit "$SUB_PID" || status=$?
    assert_equal "$status" 143
    assert_equal "$(cat begun ended)" $'1\n1'
    run -0 evsub -g g -e -- sh -c 'echo $EVBUS_SEQ $EVBUS_DELIVERIES'
    assert_output $'2 1\n3 1'
}

# Starts evsub -n 3, which takes three events of one topic and is at work on the first, until a line comes through gate.
begin_last() {
    start_hub
    seq 3 | evpub t
    mkfifo gate
    start_sub out --from first -n 3 -j 3 t -- sh -c 'echo "$EVBUS_SEQ" >>begun; read -r _ <gate'
    wait_for_lines begun 1
}

@test "a signal when -n has taken its last: what is not begun is not done, and so says the exit status" {
    begin_last
    kill -TERM "$SUB_PID"
    echo >gate
    status=0
    wait_for_exit "$SUB_PID" || status=$?
    assert_equal "$status" 143
    assert_equal "$(cat begun)" 1
}

@test "a signal that comes as a command ends: the next is not begun" {
    skip_if_sanitized
    local way
    start_hub
    seq 3 | evpub t
    for way in '' '-g g' '-n 3' '-n 3 -j 3'; do
        : >begun
        # shellcheck disable=SC2016,SC2086 # expanded by the command; options
        run -143 untimely end evsub $way --from first t -- sh -c 'echo "$EVBUS_SEQ" >>begun'
        assert_equal "$(cat begun)" 1
    done
}

@test "two signals at once, when -n has taken its last: nothing more is begun, and the second is passed on" {
    begin_last
    kill -STOP "$SUB_PID"
    kill -TERM "$SUB_PID"
    kill -INT "$SUB_PID"
    kill -CONT "$SUB_PID"
    status=0
    wait_for_exit "$SUB_PID" || status=$?
    [[ $status == 143 || $status == 130 ]] # which of two is delivered first is the kernel's choice
    assert_equal "$(cat begun)" 1
}

@test "started with SIGCHLD ignored: how a command ends is known" {
    start_hub
    seq 3 | evpub t
    run -0 --separate-stderr env --ignore-signal=CHLD evsub --from first -e t -- sh -c 'echo "$EVBUS_SEQ"'
    assert_output $'1\n2\n3'
    assert_equal "$stderr" ''
    run -0 --separate-stderr env --ignore-signal=CHLD evsub -g g --from first -e --max-deliver 1 t -- false
    assert_output ''
    run -0 evctl dead list g -J
    assert_equal "$(jq -r .reason <<<"$output" | sort -u)" 'exit 1'
    run -0 env --ignore-signal=CHLD VISUAL='echo edited >' evctl dead retry --edit "$(jq -s '.[0].seq' <<<"$output")"
}

@test "a command that prints 100 MiB, on stdout and stderr" {
    start_hub
    publish t 1
    evsub -g g --from first -e '#' -- sh -c 'head -c 104857600 /dev/zero; head -c 104857600 /dev/zero >&2' 2>errors | wc -c >count
    assert_equal "$(cat count)" 104857600
    assert_equal "$(wc -c <errors)" 104857600
}

@test "a command that ignores stdin, closes it, or leaves a child behind" {
    start_hub
    head -c 1000000 /dev/zero | evpub -s t
    run -0 evsub --from first -e -- true
    run -0 evsub --from first -e -- sh -c 'exec <&-; echo closed'
    assert_output closed
    mkfifo gate left
    start evsub -g g --from first -e '#' -- sh -c '(exec 3>&-; echo begun; read -r _ <gate; echo late >left) & exit 0' >out 2>err
    wait_for_exit "$PID" # although its child holds stdout and stderr
    echo >gate
    read -r -t "$PATIENCE" line <left
    assert_equal "$line" late
}

@test "no zombies are left while evsub goes on" {
    start_hub
    # Each but the last has been waited for when the next begins, which looks.
    # shellcheck disable=SC2016 # expanded by the command
    start_sub out -- sh -c 'echo "$EVBUS_SEQ" $(grep -ls "^PPid:[[:space:]]*$PPID\$" /proc/[0-9]*/status | xargs grep -ls "^State:.*Z")'
    seq 20 | evpub t
    wait_for_lines out 20
    assert_equal "$(cat out)" "$(seq 20)"
}

@test "10,000 failing events in a row become dead letters" {
    start_hub
    seq 10000 | evpub t
    run -0 evsub -g g --from first -e --max-deliver 1 --keep '#' -- sed -u 's/.*/!no/'
    assert_output ''
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.dead, .pending] | join(" ")' <<<"$output")" '10000 0'
}

@test "the hub is restarted while a command runs: it is acknowledged afterwards" {
    start_hub
    touch begun
    mkfifo gate
    start_sub out -g g --from now -n 2 '#' -- sh -c 'echo "$EVBUS_SEQ" >>begun; read -r _ <gate'
    seq 2 | evpub t
    wait_for_lines begun 1
    kill_hub
    start_hub
    echo >gate
    wait_for_lines begun 2
    echo >gate
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat begun)" $'1\n2'
    run -0 evctl groups -J
    assert_equal "$(jq -r '[.acked, .pending, .dead] | join(" ")' <<<"$output")" '2 0 0'
}

@test "-n, -W and -c with a command" {
    start_hub
    seq 5 | evpub t
    run -0 evsub --from first -n 2 -c ./cursor -- cat
    assert_output 12
    run -1 evsub -n 9 -W 0.2 -c ./cursor -- cat
    assert_output 345
    assert_equal "$(cat cursor)" 6
}

@test "-W with a command: begins at the command's end, also where that comes after it is over" {
    start_hub
    seq 5 | evpub t
    run -0 evsub --from first -n 5 -W 0 t -- cat
    assert_output 12345
}

@test "a live reader whose command is slow misses nothing" {
    start_hub
    mkfifo gate
    start_sub out -n 5001 --batch 500 -- sh -c '[ -e slow ] || { : >slow; read -r _ <gate; }; cat >>got'
    seq 0 5000 | awk '{ printf "%d\t%01000d\n", $1, $1 }' | evpub -T # more than the feed holds for it
    echo >gate
    wait_for_exit "$SUB_PID"
    cmp <(jq -r .topic got) <(seq 0 5000)
}
