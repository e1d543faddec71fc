# users.bats: what users of the neighbours ask for, a test for each row that is about publishing, subscribing and running
# commands.
# shellcheck disable=SC2016 # expanded by the shells that are run
bats_require_minimum_version 1.5.0
load helper

replay() { # ARG…
    timeout 30 evsub --from first -e "$@"
}

@test "mosquitto 676, 1302: empty input does not hang, and is nothing" {
    start_hub
    run -0 timeout 10 evpub topic </dev/null
    assert_output ''
    run -0 timeout 10 evpub topic < <(:)
    run -0 replay
    assert_output ''
}

@test "mosquitto 1475: the last line without a newline is an event" {
    start_hub
    printf 'one\ntwo' | evpub topic
    run -0 replay
    assert_output $'one\ntwo'
}

@test "mosquitto 1899, 2187: the hub goes away in mid-pipe: the input waits, and goes on when it is back" {
    start_hub
    mkfifo in
    : >seqs
    exec 8<>in
    start bash -c 'exec evpub -p --timeout 30 topic <in >seqs 8>&-'
    local pub=$PID
    echo 1 >&8
    wait_for_lines seqs 1
    kill_hub
    echo 2 >&8
    start_hub 8>&- # else it has the fifo open too
    echo 3 >&8
    exec 8>&-
    wait_for_exit "$pub"
    run -0 replay
    assert_output $'1\n2\n3'
}

@test "mosquitto 1899, 2187: a hub that does not come back: 75 after --timeout, how many are stored, input left unread" {
    start_hub
    mkfifo in
    : >seqs
    exec 8<>in
    start bash -c 'exec evpub -p --timeout 3 topic <in >seqs 2>err 8>&-'
    local pub=$PID status=0
    printf '1\n2\n' >&8
    wait_for_lines seqs 2
    stop_hub
    # Far more than a window: it has to block, and what is not read is there for the next reader.
    start bash -c 'exec seq 3 5000000 >&8'
    exec 8>&-
    wait_for_exit "$pub" || status=$?
    [[ $status == 75 ]] || { echo "exit $status: $(cat err)"; return 1; }
    grep -q '^evpub: .*2 events stored' err || { cat err; return 1; }
    start_hub
    run -0 replay
    assert_output $'1\n2'
}

@test "mosquitto 1904: who is not let in is told so at once: 77" {
    [[ $(id -u) == 0 ]] || skip "needs another user"
    start_hub
    # A copy, where another user can run it.
    local place
    place=$(mktemp -d /tmp/evbus-user.XXXXXX)
    chmod 755 "$place"
    cp "$EVB_BIN/evpub" "$EVB_BIN/evsub" "$place"
    mkdir -m 755 "$place/outer"
    local url=ipc://$place/outer/bus
    EVBUS_URL=$url JOURNAL=$BATS_TEST_TMPDIR/second start_hub
    run setpriv --reuid=65534 --regid=65534 --clear-groups timeout 20 "$place/evpub" --timeout 60 -u "$url" topic x
    local pub="$status $output"
    run setpriv --reuid=65534 --regid=65534 --clear-groups timeout 20 "$place/evsub" --timeout 60 -u "$url" -e
    kill_hub
    rm -rf "$place"
    echo "evpub: $pub; evsub: $status $output"
    [[ $pub == 77\ evpub:* && $status == 77 && $output == evsub:* ]]
}

@test "mosquitto 133: wait for one event with a timeout: the exit status tells" {
    start_hub
    run -1 evsub -n 1 -W 0.1 topic
    assert_output ''
    start_sub out -n 1 -W 10 topic
    evpub topic here
    wait_for_exit "$SUB_PID"
    [[ $(cat out) == here ]]
}

@test "mosquitto 2.0.11, measured: 200,000 lines through a pipe: exit 0 means all are stored" {
    start_hub
    seq 200000 | timeout 30 evpub topic
    replay >actual
    seq 200000 | cmp - actual
}

@test "natscli 1531, 1532: read what is there, then stop" {
    start_hub
    seq 1000 | evpub topic
    run -0 timeout 10 evsub --from first -e
    [[ ${#lines[@]} == 1000 ]]
    run -0 timeout 10 evsub --from first -e no.such.topic
    assert_output ''
}

@test "natscli 820: nothing is interactive: no pager, no question, not on a terminal either" {
    start_hub
    seq 300 | evpub topic
    PAGER=false replay >actual
    seq 300 | cmp - actual
    # On a terminal: the same lines, and no escape sequence.
    PAGER=false TERM=xterm run -0 timeout 10 script -qec 'evsub --from first -e' /dev/null </dev/null
    [[ ${#lines[@]} == 300 && ${output//[0-9$'\r\n']/} == '' ]]
}

@test "natscli 543: a count holds with every output form (all other pairs: evsub.bats)" {
    start_hub
    seq 100 199 | evpub topic
    local form
    for form in '' -t -0 -r -J -F%p '-t -0' '-t -r' '-J -0' '-J -r' '-J -t' '-F%p -t' '-F%p -0' '-F%p -r'; do
        # shellcheck disable=SC2086 # several words
        timeout 10 evsub --from 50 -n 2 $form topic | tr '\0' '\n' >out
        # Seqs 50 and 51 are 149 and 150; -J has more digits.
        [[ $form == *-J* ]] && { grep -oE '"payload":"[0-9]+"' out | tr -cd '0-9' >digits; } || tr -cd '0-9' <out >digits
        [[ $(cat digits) == 149150 ]] || { echo "form '$form':"; cat out; return 1; }
    done
}

@test "kcat 202: headers for each piped event" {
    start_hub
    printf '{"topic":"t","headers":{"n":"%s"},"payload":"%s"}\n' 1 one 2 two | evpub -J
    run -0 replay -F '%h{n} %p\n'
    assert_output $'1 one\n2 two'
}

@test "kcat 136: NUL bytes stay in a pipe from evsub to evpub, with -J, -0 and -r" {
    start_hub
    printf 'a\0b\n\0\0c\n' >bytes
    evpub -f bytes from
    evsub --from first -n 1 -J from | jq -c '.topic = "json"' | evpub -J
    evsub --from first -n 1 -r from | evpub -s raw
    replay -r json | cmp bytes -
    replay -r raw | cmp bytes -
    printf 'x\ny\0\0z\n\0' | evpub -0 nul
    replay -0 nul | evpub -0 again
    replay -0 again >actual
    printf 'x\ny\0\0z\n\0' | cmp - actual
}

@test "kaf 218: a format string for output" {
    start_hub
    evpub -H who=ann order.paid 7.50
    run -0 replay -F '%s|%v|%t|%h{who}|%p%n'
    assert_output '1|1|order.paid|ann|7.50'
}

@test "libzmq 4656, 4766, zeromq.js 408, fprime-gds 342: the first event of a one-shot publisher is not lost" {
    start_hub
    start_sub live -n 1000
    seq 1000 | xargs -P 2 -n 1 evpub topic
    wait_for_exit "$SUB_PID"
    seq 1000 | cmp - <(sort -n live)
    cmp live <(replay)
}

@test "scripts everywhere: publish, then subscribe, and not miss the answer between" {
    start_hub
    start_sub service.out -F '%p\n' question
    local seq
    seq=$(evpub -p question 'what time is it?')
    wait_for_text service.out 'what time'
    evpub answer noon
    run -0 evsub --from "$((seq + 1))" -n 1 -W 5 answer
    assert_output noon
    # From what is not there yet.
    start_sub late --from 4 -n 1 -W 10
    evpub a three
    evpub a four
    wait_for_exit "$SUB_PID"
    [[ $(cat late) == four ]]
}

@test "mosquitto 3060, kcat 202/244/298: a topic and headers for each line over one connection" {
    start_hub
    printf 'a\tone\nb.c\ttwo\na\tthree\n' | evpub -T
    printf '{"topic":"%s","headers":{"k":"%s"},"payload":"p"}\n' a 1 b 2 | evpub -J
    run -0 replay -F '%t %h{k} %p\n'
    assert_output $'a  one\nb.c  two\na  three\na 1 p\nb 2 p'
}

@test "mosquitto 2213, measured: binary payloads are printed: payload_base64, every byte value" {
    start_hub
    "$PYTHON" -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))' >bytes
    evpub -f bytes topic
    run -0 replay -J
    jq -e 'has("payload") | not' <<<"$output"
    jq -r .payload_base64 <<<"$output" | base64 -d | cmp bytes -
}

@test "mosquitto 2164, ubus 1, redis 2200, measured: sub | head -1 ends without another event" {
    start_hub
    evpub topic one
    # shellcheck disable=SC2016
    run -0 timeout 10 bash -c 'evsub --from first | head -n 1'
    assert_output one
}

@test "kcat 3/26/352, redis 9013: a pipe shows an event at once, through two programs" {
    start_hub
    mkfifo in out
    exec 7<>in 8<>out
    start_sub out -t
    start bash -c 'exec evpub -T <in 7>&- 8>&-'
    local i line
    for i in 1 2 3; do
        printf 'a\t%s\n' "$i" >&7
        read -r -t 10 line <&8
        [[ $line == "a$TAB$i" ]]
    done
    exec 7>&- 8<&-
}

@test "natscli 1426, 1696: a while read loop keeps its stdin; redirecting stdout changes nothing" {
    start_hub
    seq 5 | while read -r line; do evpub -p topic "$line"; done >seqs
    seq 5 | cmp - seqs
    seq 6 7 | evpub topic >/dev/null
    evpub topic 8 >file </dev/null
    replay >actual
    seq 8 | cmp - actual
}

@test "mosquitto 1285/1778, kcat 36, natscli 958: never exit 0 when it failed" {
    run -69 evpub topic x
    run -69 evsub -e
    run -64 evpub
    start_hub
    run -65 evpub 'bad topic' x
    run -65 evsub 'bad pattern'
    run -65 evpub -T <<<'no tab'
    run -64 evsub --from nonsense
    run -1 evsub -n 1 -W 0.05
    stop_hub
    run -69 evpub --timeout 100ms topic x
    run -69 evsub --timeout 100ms -e
}

@test "webhook 619: a payload that is too long for an argument list comes by stdin" {
    start_hub
    head -c 1000000 /dev/zero | tr '\0' x >long
    evpub -s topic <long
    replay -r | cmp long -
}

@test "mosquitto 952: the cursor is there before anything is published" {
    start_hub
    evsub -c ./mine --from now -n 0
    evpub topic one
    run -0 evsub -c ./mine -e
    assert_output one
}

@test "mosquitto 952: the group is there before anything is published" {
    start_hub
    evsub -g mine --from now -n 0 topic
    evpub topic one
    run -0 timeout 20 evsub -g mine -e
    assert_output one
}

@test "natscli 543: a count holds with every output form, in a group too" {
    start_hub
    seq 12 | evpub topic
    local form
    evsub -g g --from first -n 0 topic
    for form in -t -0 -r -J '-F %p\n'; do
        # shellcheck disable=SC2086 # an option and its argument
        timeout 20 evsub -g g -n 2 $form >/dev/null
    done
    run -0 timeout 20 evsub -g g -e
    assert_output $'11\n12'
}

@test "redis 5212: the work of a dead member goes to another at once, that of a hanging one after --ack-wait" {
    start_hub
    evsub -g g -n 0 --ack-wait 1h topic
    mkfifo full
    start bash -c 'exec evsub -g g >full' # nobody reads far: what it has in hand stays there
    exec 7<full
    seq -f '%0100.0f' 3000 | evpub topic
    local first
    read -r -u 7 first
    kill -KILL "$PID"
    wait_for_exit "$PID" || true
    timeout 20 evsub -g g -e >rest
    # the last line in the fifo may be torn
    { echo "$first"; cat <&7; echo; cat rest; } | grep -xE '[0-9]{100}' | sort -u | cmp - <(seq -f '%0100.0f' 3000)
}

@test "laravel 8627: events that belong together are stored all or none" {
    start_hub
    run -65 evpub --atomic order.1 < <(echo paid; head -c 2000000 /dev/zero | tr '\0' x)
    run -0 evsub --from first -e
    assert_output ''
    printf 'paid\nsent\n' | evpub --atomic order.1
    run -0 evsub --from first -e
    assert_output $'paid\nsent'
    # What a job publishes of its work follows its exit status.
    run -3 evrun -t job.bill -- sh -c 'exit 3'
    run -0 evsub --from first -e -F '%t\n' 'job.#'
    assert_output $'job.bill.started\njob.bill.failed'
}

@test "mosquitto 1899, 2187: a hub that is there and does not answer: 75 after --timeout" {
    start_hub
    kill -STOP "$HUB_PID"
    run -75 timeout 10 evpub --timeout 500ms topic x
    run -75 timeout 10 evsub --timeout 500ms -e
    kill -CONT "$HUB_PID"
}

# ---- a command for each event ----

@test "mosquitto 2711: a file with a topic and a command for each listener, as a crontab" {
    start_hub
    cat >listeners.conf <<'C'
[listener bell]
on = door.#
run = tr a-z A-Z
publish = rung
C
    start_ready listen.out listen.err evlisten listeners.conf
    evpub door.front ding
    run -0 timeout 30 evsub --from first -n 1 rung
    assert_output DING
}

@test "nats.go 200: a command for each event" {
    start_hub
    start_sub ran job.# -- sh -c 'echo "$EVBUS_TOPIC: $(cat)"'
    evpub job.a one
    evpub job.b two
    wait_for_lines ran 2
    run -0 cat ran
    assert_output $'job.a: one\njob.b: two'
}

@test "nats reply --command: nothing of an event is ever in a command line, nor run by a shell" {
    start_hub
    local evil='$(touch pwned); touch pwned `touch pwned`'
    evpub -H "name=$evil" topic "$evil"
    evsub --from first -e -- sh -c 'tr "\0" " " </proc/$$/cmdline >line; printf %s "$EVBUS_H_NAME" >name; cat >data' _
    evsub --from first -e --shell 'cat >/dev/null; printf %s "$EVBUS_H_NAME" >shell.name; echo "$EVBUS_H_NAME" >/dev/null' topic
    assert_file_not_exists pwned
    assert_equal "$(cat name)" "$evil"
    assert_equal "$(cat data)" "$evil"
    assert_equal "$(cat shell.name)" "$evil"
    run -1 grep -F pwned line
}

@test "mqtt-launcher 38, mqttwarn 16, watchexec 123: a command that takes long blocks no other" {
    start_hub
    mkfifo gate
    start_sub slow slow -- sh -c 'read -r _ <gate; echo done'
    local slow=$SUB_PID
    start_sub quick quick -- sh -c 'read -r n; echo "$n"'
    evpub slow x
    seq 20 | evpub quick
    wait_for_lines quick 20
    assert_equal "$(cat quick)" "$(seq 20)"
    assert_equal "$(cat slow)" ''
    echo >gate
    wait_for_text slow '^done$'
    kill "$slow"
}

@test "rabbitmq-cli-consumer 12/39: the exit status says whether an event is done, tried again, or never again" {
    start_hub
    evsub -g g -n 0 --max-deliver 3 --backoff 0.01 topic
    printf '%s\n' good never again hopeless | evpub topic
    timeout "$PATIENCE" evsub -g g -e -- sh -c '
        read -r what
        echo "$what" >>ran
        case $what in
        never) exit 65 ;;
        again) [ "$(grep -c again ran)" = 2 ] ;;
        hopeless) exit 1 ;;
        esac' 2>said
    assert_equal "$(sort ran | uniq -c | awk '{ print $2, $1 }')" $'again 2\ngood 1\nhopeless 3\nnever 1'
    assert_equal "$(evctl dead list -J | jq -r '"\(.orig_seq) \(.deliveries)"' | sort)" $'2 1\n4 3'
}

@test "webhook 619: nor does a payload that is too long stop a command" {
    start_hub
    head -c 1000000 /dev/zero | tr '\0' x >long
    evpub -s topic <long
    evsub --from first -e -- sh -c 'cat >got'
    cmp long got
}

@test "redis 5212: an event whose command was under way when its evsub was killed is run by another at once" {
    start_hub
    evsub -g g -n 0 --ack-wait 1h topic
    evpub topic work
    mkfifo gate
    : >begun
    start evsub -g g -- sh -c 'echo begun >begun; read -r _ <gate'
    local member=$PID
    wait_for_text begun begun
    kill -KILL "$member"
    wait_for_exit "$member" || true
    run -0 timeout "$PATIENCE" evsub -g g -e -- cat
    assert_output work
    echo >gate # the command that was left behind ends
}

@test "mosquitto 3571: no secret is wanted on a command line" {
    start_hub
    local program
    for program in evpub evsub evctl evbusd evfold; do
        run -0 "$program" --help
        refute_output --regexp '(password|passwd|secret|token|credential)'
    done
    # a payload by file, the hub's address by the environment: neither is in a command line
    echo 's3cret' >file
    mkfifo gate
    : >got
    evsub -g g -n 0 topic
    start evsub -g g -- sh -c 'cat /proc/$PPID/cmdline /proc/$$/cmdline | tr "\0" " " >lines; cat >got; read -r _ <gate'
    evpub -f file topic
    wait_for_text got s3cret
    run -1 grep -E 's3cret|bus' lines
    echo >gate
}
