# evctl_dead.bats: what is kept of what went wrong: the attempts of a command, on $failed.GROUP.SEQ and in evctl dead show;
# a dead letter that is edited before it is tried again.

load helper

# Every event of t that is there fails for good: CMD's doing.
fail_all() { # CMD…
    run -0 timeout 30 evsub -g g -e --max-deliver 2 --backoff 10ms -- "$@"
}

# An editor that runs this line of sh, on the file "$1".
editor() { # LINE
    printf '#!/bin/sh\n%s\n' "$1" >"$BATS_TEST_TMPDIR/editor.sh"
    chmod 755 "$BATS_TEST_TMPDIR/editor.sh"
    export EDITOR=$BATS_TEST_TMPDIR/editor.sh
    unset VISUAL
}

@test "each attempt of a command is an event, and dead show prints them" {
    start_hub
    evsub -g g -n 0 t
    evpub -H k=v t payload
    fail_all sh -c 'echo "attempt $EVBUS_DELIVERIES" >&2; printf "and \033[31mred" >&2; [ "$EVBUS_DELIVERIES" = 1 ] && exit 3; kill -9 $$'
    run -0 timeout 20 evsub --from first -e -J '$failed.#'
    assert_equal "$(jq -c '[.topic, .payload, .headers["failed-topic", "failed-seq", "attempt", "reason", "exit", "signal"]]' <<<"$output")" \
        '["$failed.g.1","attempt 1\nand \u001b[31mred","t","1","1","exit 3","3",null]
["$failed.g.1","attempt 2\nand \u001b[31mred","t","1","2","killed by SIGKILL",null,"9"]'
    assert_equal "$(jq -r '.headers | (.began | test("^20.*Z$")), (.seconds | test("^[0-9]+\\.[0-9]{3}$"))' <<<"$output" | sort -u)" true
    run -0 evctl dead show 4
    assert_line --index 0 'seq: 4'
    assert_line --index 1 'k: v'
    assert_line 'dead-reason: killed by SIGKILL'
    assert_line 'payload'
    assert_line --regexp '^attempt 1: 20.*Z, [0-9.]+ s, exit 3: exit 3$'
    assert_line --regexp '^attempt 2: 20.*Z, [0-9.]+ s, signal 9: killed by SIGKILL$'
    assert_line '  attempt 1'
    assert_line '  and ?[31mred'
    text=$output
    run -0 evctl dead show g
    assert_output "$text"
    run -0 evctl dead show g 4
    assert_output "$text"
    run -0 evctl dead show -J 4
    assert_equal "$(jq -c '[.payload, (.attempts[] | .attempt, .exit, .signal, .reason, .output, (.seconds < 20))]' <<<"$output")" \
        '["payload",1,3,null,"exit 3","attempt 1\nand \u001b[31mred",true,2,null,9,"killed by SIGKILL","attempt 2\nand \u001b[31mred",true]'
    run -1 evctl dead show 3
    assert_output 'evctl: there is no dead letter of seq 3'
    run -1 evctl dead show g 1
    assert_output 'evctl: group g has no dead letter of seq 1'
    run -1 evctl dead show h 4
}

@test "a group called like a number is a group" {
    start_hub
    evsub -g 7 -n 0 t
    evpub t x
    run -0 timeout 30 evsub -g 7 -e -- sh -c 'exit 65'
    run -0 evctl dead show 7
    assert_line 'seq: 3'
    run -0 evctl dead retry 3
    assert_output '1 dead letter of group 7 is handed out again'
}

@test "of what a command says the last 16 KiB are kept, byte by byte" {
    start_hub
    evsub -g g -n 0 t
    evpub t x
    run -0 timeout 60 evsub -g g -e -- sh -c 'seq 1000000 >&2; printf "\377end" >&2; exit 65'
    timeout 20 evsub --from first -n 1 -r '$failed.#' >kept
    { seq 1000000; printf '\377end'; } | tail -c 16384 | cmp - kept
    run -0 evctl dead show -J g
    assert_equal "$(jq -r '.attempts[0].output_base64' <<<"$output" | base64 -d | tail -c 4 | od -An -tx1)" ' ff 65 6e 64'
}

@test "thousands of failures at once, each kept" {
    start_hub
    evsub -g g -n 0 t
    seq 600 | evpub t
    timeout 120 evsub -g g -e -j 4 -- sh -c 'head -c 20000 /dev/zero >&2; exit 65' 2>/dev/null
    assert_equal "$(timeout 20 evsub --from first -e -F '%t\n' '$failed.#' | sort -u | wc -l)" 600
    assert_equal "$(evctl groups -J | jq .dead)" 600
}

@test "an edited letter goes to its group alone, as of the topic that it was" {
    start_hub
    evsub -g g -n 0 t
    evsub -g other -n 0 t
    evpub -H k=v t bad
    evpub t fine
    run -0 timeout 30 evsub -g g -n 1 -e -- sh -c 'exit 65'
    editor 'stat -c %a "$1" >mode; cat "$1" >seen; echo good >"$1"'
    run -0 evctl dead retry --edit 4
    assert_output 'dead letter 4 of group g is handed out again, edited, as seq 5'
    assert_equal "$(cat mode seen)" $'600\nbad'
    run -0 evctl dead list g -J
    assert_output ''
    run -0 timeout 30 evsub -g g -e -- sh -c 'echo "$EVBUS_TOPIC $EVBUS_SEQ $EVBUS_H_K $EVBUS_H_RETRY_OF $EVBUS_H_CAUSE ${EVBUS_REPLAY-} $(cat)"'
    assert_line 't 5 v 4 1  good'
    assert_line --regexp '^t 2 .* fine$'
    run -0 timeout 20 evsub -g other -e
    assert_output $'bad\nfine'
    run -0 timeout 20 evsub --from first -e t
    assert_output $'bad\nfine'
}

@test "an editor that fails, leaves nothing or changes nothing" {
    start_hub
    mkdir tmp
    export TMPDIR=$PWD/tmp
    evsub -g g -n 0 t
    evpub t bad
    run -0 timeout 30 evsub -g g -e -- sh -c 'exit 65'
    editor 'echo better >"$1"; exit 3'
    run -1 evctl dead retry --edit g 3
    assert_output 'evctl: the editor ended with exit status 3: nothing is done'
    editor ': >"$1"'
    run -1 evctl dead retry --edit g 3
    assert_output 'evctl: the payload is empty: nothing is done'
    editor 'rm "$1"'
    run -1 evctl dead retry --edit g 3
    assert_output --partial 'nothing is done'
    editor 'kill -9 $$'
    run -1 evctl dead retry --edit g 3
    assert_output --partial 'nothing is done'
    editor 'kill -TERM $PPID; kill -HUP $PPID; kill -HUP $$'
    EDITOR="exec $EDITOR" run -1 evctl dead retry --edit g 3
    assert_output 'evctl: the editor was killed by signal 1: nothing is done'
    echo secret >secret
    editor 'ln -sf "$HOME/secret" "$1"'
    run -1 evctl dead retry --edit g 3
    assert_output --partial 'nothing is done'
    editor 'rm "$1"; mkfifo "$1"'
    run -1 evctl dead retry --edit g 3
    assert_output --partial 'it is no file of yours any more'
    run -64 evctl dead retry --edit g
    run -1 evctl dead retry --edit g 1
    assert_equal "$(evctl dead list -J | jq .seq)" 3
    assert_equal "$(ls tmp)" ''
    editor 'echo >>"$1"' # as most editors do
    run -0 evctl dead retry --edit g 3
    assert_output '1 dead letter of group g is handed out again'
    run -0 timeout 20 evsub -g g -e -J
    assert_equal "$(jq -c '[.seq, .payload]' <<<"$output")" '[1,"bad"]'
    run -1 evctl dead retry --edit g 3
    assert_output 'evctl: group g has no dead letter of seq 3'
}

@test "an unchanged payload whose file cannot be removed is handed out again, too" {
    skip_if_sanitized # strace is in the way of their own check
    start_hub
    evsub -g g -n 0 t
    evpub t bad
    run -0 timeout 30 evsub -g g -e -- sh -c 'exit 65'
    EDITOR=true TMPDIR=$PWD run -0 strace -qq -o /dev/null -e inject=unlink:error=EROFS evctl dead retry --edit g 3
    assert_output '1 dead letter of group g is handed out again'
    assert_exists evctl.*
}

@test "VISUAL is a line of sh; an edited payload that cannot be sent is kept" {
    start_hub
    mkdir tmp
    export TMPDIR=$PWD/tmp
    evsub -g g -n 0 t
    evpub t $'one\n'
    run -0 timeout 30 evsub -g g -e -- sh -c 'exit 65'
    EDITOR=false VISUAL="sh -c 'echo two >>\"\$0\"; kill $HUB_PID; while kill -0 $HUB_PID; do :; done 2>/dev/null'" \
        run -69 evctl --timeout 1 dead retry --edit g 3
    assert_output --partial 'what was edited is in '
    assert_equal "$(cat tmp/evctl.*)" $'one\ntwo'
    wait_for_exit "$HUB_PID"
    start_hub
    assert_equal "$(evctl dead list -J | jq .seq)" 3
}

@test "an edited letter is kept over a restart, and is a dead letter again when it fails" {
    start_hub
    evsub -g g -n 0 --ordered t
    evpub t bad
    run -0 timeout 30 evsub -g g -e -- sh -c 'exit 65'
    editor 'echo worse >"$1"'
    run -0 evctl dead retry --edit 3
    kill_hub
    start_hub
    run -0 timeout 30 evsub -g g -e -- sh -c 'echo no >&2; exit 65'
    run -0 evctl dead show g
    assert_line 'dead-topic: t'
    assert_line 'dead-seq: 4'
    assert_line 'worse'
    assert_line '  no'
    editor 'echo best >"$1"'
    run -0 evctl dead retry --edit 6
    run -0 timeout 30 evsub -g g -e -t
    assert_output $'t\tbest'
}

@test "attempts of a replayed event are kept, too" {
    start_hub
    evsub -g g -n 0 t
    evpub t x
    run -0 timeout 20 evsub -g g -e
    evctl group g replay --from first
    run -0 timeout 30 evsub -g g -n 1 -- sh -c 'echo "replay $EVBUS_REPLAY" >&2; exit 65'
    run -0 timeout 20 evsub --from first -n 1 -t '$failed.#'
    assert_output $'$failed.g.1\treplay 1'
    run -0 evctl dead show g
    assert_line '  replay 1'
}
