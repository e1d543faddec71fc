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
[listener script]
on = t
run = there/script of mine
publish = out.script
C
    echo 'printf "%s of %s" "$(cat)" "$*"' >there/script # no #!: for the shell
    chmod +x there/script
    start_listen l.conf
    evpub t '{"n":4}'
    wait_for_events 4 'out.*' >/dev/null
    run -0 evsub --from first -e -t 'out.*'
    assert_line "out.plain$TAB{\"n\":4}"
    assert_line "out.json${TAB}t{\"n\":4}"
    assert_line "out.script$TAB{\"n\":4} of of mine"
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
    assert_line --regexp '^evlisten: bad.conf:2: \[a\] on: '
    assert_line --regexp '^evlisten: bad.conf:3: \[a\] run: nowhere-at-all: '
    assert_line 'evlisten: bad.conf:6: [a]: it is there already, in bad.conf:1'
    assert_line --regexp '^evlisten: bad.conf:9: \[b\] when: .*syntax error'
    assert_line --regexp '^evlisten: bad.conf:10: \[b\] run: '
    assert_line --regexp '^evlisten: bad.conf:11: not a section'
    assert_line --regexp '^evlisten: bad.conf:12: \[e\] every: '
    run -78 evlisten -c nowhere.conf
    assert_output 'evlisten: nowhere.conf: No such file or directory'
    run -64 evlisten
    mkdir d
    printf '[listener x]\non = a, b\nrun = cat "a b"\n' >d/1.conf
    printf 'nonsense' >d/2.conf.bak
    run -0 evlisten -c d
    assert_output $'# d/1.conf:1\n[listener x]\n  on = a, b\n  run = cat \'a b\'\n  jobs = 1'
    printf '[listener x]\non = a b  c\td\nrun = cat\n' >d/1.conf
    run -0 evlisten -c d
    assert_line '  on = a, b, c, d'
}

@test "-c: every value is looked at, and its fault is said with its own line" {
    mkdir there
    printf '#!/bin/sh\n' >there/tool
    chmod +x there/tool
    : >plain
    check() { # WANT LINE…
        printf '%s\n' '[listener l]' 'on = t' "${@:2}" >one.conf
        run -78 evlisten -c one.conf
        assert_output --regexp "^evlisten: one.conf:[0-9]+: \\[l\\] $1\$"
        assert_output --partial "one.conf:$((2 + $# - 1)): "
    }
    check 'run: no command' 'run ='
    check "run: a ' is not closed" "run = echo 'x"
    check 'shell: there is to be one of .*' 'run = cat' 'shell = cat'
    check 'jobs: from 1 to 1024' 'run = cat' 'jobs = 0'
    check "jobs: '-1': .*" 'run = cat' 'jobs = -1'
    check 'jobs: it is there already, in line 4' 'run = cat' 'jobs = 1' 'jobs = 2'
    check "timeout: '5 parsecs': .*" 'run = cat' 'timeout = 5 parsecs'
    check "retry: '': .*" 'run = cat' 'retry ='
    check 'retry: at most 1000000000' 'run = cat' 'retry = 1000000001'
    check 'backoff: .*' 'run = cat' 'backoff = 1s, soon'
    check 'backoff: at most 16 waits' 'run = cat' "backoff = $(printf '1s, %.0s' {1..17})1s"
    check "backoff: '': not a duration.*" 'run = cat' 'backoff = ,'
    check "backoff: '': not a duration.*" 'run = cat' 'backoff = 1,,2'
    check "backoff: '': not a duration.*" 'run = cat' 'backoff = 1 , 2 ,'
    check 'ack-wait: more than 0' 'run = cat' 'ack-wait = 0'
    check "keep: 'maybe': .*" 'run = cat' 'keep = maybe'
    check 'batch: it does not go with keep' 'run = cat' 'keep = yes' 'batch = 2'
    check 'input: with batch it is json' 'run = cat' 'batch = 2' 'input = payload'
    check 'input: with keep it is json or an expression' 'run = cat' 'keep = yes' 'input = payload'
    check 'input: .*syntax error.*' 'run = cat' 'input = .data |'
    check 'when: .*nosuch/1 is not defined.*' 'run = cat' 'when = nosuch(1)'
    check 'publish: .*' 'run = cat' 'publish = a.*'
    check 'from: .*' 'run = cat' 'from = the beginning'
    check 'env: NAME=VALUE' 'run = cat' 'env = =x'
    check 'cwd: No such file or directory' 'run = cat' 'cwd = nowhere'
    check 'cwd: Not a directory' 'run = cat' 'cwd = plain/'
    check 'user: there is no such user' 'run = cat' 'user = no-such-user'
    check 'run: ./tool: .*' 'run = ./tool'
    check 'run: plain/x: .*' 'run = plain/x'
    check 'colour: no such key' 'run = cat' 'colour = red'
    printf '%s\n' '[listener l]' 'on = t' 'run = ./tool' "cwd = $PWD/there" 'env = A=1' 'env = B=2' 'timeout = 90s' \
        'backoff = 1s, 2m' 'retry = 3' >one.conf
    run -0 evlisten -c one.conf
    assert_line '  timeout = 90s'
    assert_line '  retry = 3'
    assert_line '  backoff = 1s, 2m'
    assert_line '  env = B=2'
    printf '%s\n' "[listener $(printf 'a.%.0s' {1..14})a]" 'on = t' 'run = cat' >one.conf
    run -78 evlisten -c one.conf
    assert_output --partial 'at most 128 bytes and 14 tokens'
    head -c 1100000 /dev/zero | tr '\0' '#' >one.conf
    run -78 evlisten -c one.conf
    assert_output 'evlisten: one.conf: larger than 1 MiB'
    printf '%s\n' '[listener l' 'on = t' >one.conf
    run -78 evlisten -c one.conf
    assert_output 'evlisten: one.conf:1: a section is [NAME] and nothing behind it'
    printf '%s\n' '[expect e]' 'topic = t' 'every = 0' 'run = cat' >one.conf
    run -78 evlisten -c one.conf
    assert_output 'evlisten: one.conf:3: [e] every: more than 0'
    printf '[listener l]\non = t\nrun = a\0b\n' >one.conf
    run -78 evlisten -c one.conf
    assert_output --partial 'one.conf:3: '
}

@test "-c: what is printed is a file that says the same" {
    cat >l.conf <<'C'
[listener l]
on = a
  b.#
when = .a == 1
  and .b == "x"
run = sh -c 'echo "it'"'"'s"
  cat'
timeout = 0.25
backoff = 1s 2m
ack-wait = 1m
[listener s]
on = t
shell = if true
  then echo "$HOME"; fi
keep = yes
[expect e]
topic = b, c
every = 30d
run = cat
env = A=x y
env = B=
C
    run -0 evlisten -c l.conf
    assert_line '  every = 2592000s'
    assert_line '  topic = b, c'
    assert_line '  timeout = 0.25s'
    [[ ${output##*expect} != *jobs* ]]
    echo "$output" >printed.conf
    evlisten -c printed.conf >again.conf
    diff <(grep -v '^#' printed.conf) <(grep -v '^#' again.conf)
    diff <(sed -n '/and/p' again.conf) - <<<'    and .b == "x"'
}

@test "no listeners: said, and with -c exit 78; a first file may come later" {
    mkdir none
    : >empty.conf
    run -78 evlisten -c none
    assert_output 'evlisten: no listeners in none'
    run -78 evlisten -c none empty.conf
    assert_output $'evlisten: no listeners in none\nevlisten: no listeners in empty.conf'
    start_hub
    start_listen none
    assert_equal "$(<listen.err)" $'evlisten: no listeners in none\nevlisten: ready: 0 listeners'
    printf '%s\n' '[listener l]' 'on = t' 'from = first' 'run = cat' 'publish = done' >none/1.conf
    evpub t x
    kill -HUP "$LISTEN_PID"
    run -0 wait_for_events 1 done
    assert_output x
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
    : >event
    run -65 evlisten --test event l.conf
    assert_output 'evlisten: event: no event'
    run -64 evlisten -c --test event l.conf
    assert_output 'evlisten: -c and --test do not go together'
}

@test "a loop is stopped at a depth, and said" {
    start_hub
    printf '%s\n' '[listener ping]' 'on = ping' 'run = cat' 'publish = pong' \
        '[listener pong]' 'on = pong' 'run = cat' 'publish = ping' >l.conf
    start_listen l.conf
    evpub ping ball
    wait_for_text listen.err '32 causes before it: this looks like a loop' 60
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
    PATIENCE=60 run -0 wait_for_events 20 done
    assert_equal "$output" "$(seq 20)"
    timeout 60 evsub --from first -n 20 '$dead.bad' >/dev/null
    # Its last acknowledgement may be on its way.
    timeout "$PATIENCE" bash -c \
        'until evctl listeners -J | jq -se "any(.[]; .name == \"good\" and .pending == 0)" >/dev/null; do :; done'
    run -0 evctl dead show bad
    assert_output --partial 'broken'
    assert_output --partial 'exit 3'
    exec 8<>gate
    seq 20 >&8
    stop_listen
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
    seq 10 | evpub t
    kill_hub
    start_hub
    seq 11 20 | evpub t
    PATIENCE=60 run -0 wait_for_events 20 done
    assert_equal "$(sort -n <<<"$output")" "$(seq 20)"
    run -0 evsub --from first -e done
    assert_equal "$(sort -n <<<"$output")" "$(seq 20)"
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

EXPECT=('[expect e]' 'topic = e' 'every = 0.1s' 'shell = echo "beat $(date +%s%3N)" >>ran; echo >>beats')

# Waits until the hub's beat has come just now, and the next is a second away.
wait_for_beat() {
    wait_for_lines beats 1
    evpub e 1
    wait_for_lines beats 2
    evpub e 2
}

# Begins a round with a listener whose command prints "old" and waits at the gate.
start_old() { # LINE…
    : >ran
    : >beats
    : >listen.err
    printf '%s\n' "${EXPECT[@]}" '[listener l]' 'on = t' "$@" 'shell = echo old >>ran; read -r _ <gate' >l.conf
    start_listen l.conf
    evpub t 1
    wait_for_text ran old
}

# Has it replaced by one that prints "new".
replace_old() { # LINE…
    printf '%s\n' "${EXPECT[@]}" '[listener l]' 'on = t' "$@" 'shell = echo "new $(date +%s%3N)" >>ran' >l.conf
    kill -HUP "$LISTEN_PID"
    wait_for_text listen.err '^evlisten: 2 listeners$'
    wait_for_beat
}

# Opens the gate; whether "new" was there well before the next beat.
new_is_soon() {
    echo >gate
    wait_for_text ran new
    wait_for_lines beats 3
    stop_listen
    awk '{ at[$1] = $2 } END { exit !(at["beat"] - at["new"] > 100) }' ran
}

# Runs ROUND until it succeeds, five times at most: one that is held up for a second sees nothing of what it looks for.
in_a_round() { # ROUND
    mkfifo gate
    for _ in {1..5}; do
        ! "$1" || return 0
    done
    cat ran
    return 1
}

@test "SIGHUP: the new command is run as soon as the old one has ended, and not with the hub's next beat" {
    round() {
        start_old
        evpub t 2
        replace_old
        new_is_soon
    }
    start_hub
    in_a_round round
}

@test "SIGHUP: the same where the hub has let the old one go" {
    round() {
        start_old 'jobs = 2'
        evctl group l delete
        wait_for_text listen.err 'there is no group l'
        replace_old 'from = first'
        evctl groups -J >groups
        new_is_soon && [[ $(jq -r .name groups) == l ]] # it had joined
    }
    start_hub
    in_a_round round
}

@test "SIGHUP: other patterns, waits and retries take effect, and what was pending is done" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener l]' 'on = a' 'shell = echo >>begun; read -r _ <gate; echo "old $(cat)"' 'publish = done' \
        'retry = 1' 'backoff = 1h' 'timeout = 1m' 'ordered = yes' >l.conf
    start_listen l.conf
    printf '%s\n' 1 2 | evpub a # the first in hand, the second behind it
    wait_for_lines begun 1
    printf '%s\n' '[listener l]' 'on = b, c' 'run = sed "s/^/new /; /bad/q9"' 'publish = done' 'retry = 2' 'backoff = 10ms' >l.conf
    kill -HUP "$LISTEN_PID"
    wait_for_text listen.err '^evlisten: 1 listener$'
    evpub b 3
    evpub a unwanted
    evpub c 4
    echo >gate
    run -0 wait_for_events 4 done
    assert_line 'old 1'
    assert_line 'new 2'
    assert_line 'new 3'
    assert_line 'new 4'
    assert_equal "${#lines[@]}" 4
    evpub b bad
    run -0 wait_for_events 1 '$dead.l' # in no hour
    run -0 evctl groups -J
    assert_equal "$(jq -c '[.patterns, .max_deliver, .ordered, .pending, .acked, .dead]' <<<"$output")" '[["b","c"],3,false,0,4,1]'
    stop_listen
    kill_hub
    start_hub
    assert_equal "$(evctl groups -J | jq -c '.patterns')" '["b","c"]'
}

@test "the hub gone: outputs are kept and listeners with none go on; they are published once it is back" {
    start_hub
    touch count
    printf '%s\n' '[listener loud]' 'on = t' 'run = cat' 'publish = done' 'jobs = 4' \
        '[listener quiet]' 'on = t' 'shell = echo >>count; read -r _ <gate' 'jobs = 4' '[expect beat]' 'topic = beat' 'every = 0.1s' 'shell = echo >>missed' >l.conf
    touch missed
    mkfifo gate
    start_listen l.conf
    wait_for_lines missed 1
    exec {held}<>gate
    for i in 1 2 3 4; do evpub t "$i"; done
    wait_for_events 4 done >/dev/null
    wait_for_lines count 1
    kill -STOP "$HUB_PID"
    printf 'x\n' >&"$held" # a run ends while the hub hangs
    kill -CONT "$HUB_PID"
    kill_hub
    start_hub
    printf 'x\nx\nx\n' >&"$held"
    wait_for_lines count 4
    run -0 wait_for_events 4 done
    assert_equal "$(sort <<<"$output")" "$(seq 4)"
    stop_listen
    run -0 evctl groups -J
    assert_equal "$(jq -c '[.name, .pending, .floor >= 4]' <<<"$output" | sort)" $'["loud",0,true]\n["quiet",0,true]'
}

@test "a large output of one listener is published, and holds up none while the hub is asked" {
    start_hub
    printf '%s\n' '[listener large]' 'on = t' 'shell = head -c 300000 /dev/zero | tr "\0" x' 'publish = large' \
        '[listener small]' 'on = t' 'run = cat' 'publish = small' >l.conf
    start_listen l.conf
    evpub t x
    run -0 wait_for_events 1 small
    assert_equal "$(wait_for_events 1 large | wc -c)" 300001
}

@test "SIGTERM while the hub is gone ends it; the work is done again later" {
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'shell = echo >>begun; read -r _ <gate; echo out' 'publish = done' >l.conf
    touch begun
    mkfifo gate
    start_listen l.conf
    evpub t x
    wait_for_lines begun 1
    kill_hub
    kill -TERM "$LISTEN_PID"
    echo >gate
    wait_for_exit "$LISTEN_PID"
    wait_for_text listen.err 'the output of 1 run could not be published'
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'run = cat' 'publish = done' >l.conf
    start_listen l.conf
    run -0 wait_for_events 1 done
    assert_output x
}

@test "SIGHUP: what the file says stays so where the old one, still at work, joins a hub that was restarted" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener l]' 'on = a' 'shell = echo >>begun; read -r _ <gate; echo old' 'publish = done' >l.conf
    start_listen -v l.conf
    evpub a 1
    wait_for_lines begun 1
    printf '%s\n' '[listener l]' 'on = b' 'run = cat' 'publish = done' 'retry = 2' >l.conf
    kill -HUP "$LISTEN_PID"
    wait_for_text listen.err '^evlisten: 1 listener$'
    wait_for_members() { until [[ $(evctl groups -J | jq .members) == "$1" ]]; do :; done; }
    export -f wait_for_members
    timeout "$PATIENCE" bash -c 'wait_for_members 2'
    kill_hub
    start_hub
    timeout "$PATIENCE" bash -c 'wait_for_members 2'
    assert_equal "$(evctl groups -J | jq -c '[.patterns, .max_deliver]')" '[["b"],3]'
    echo >gate
    run -0 wait_for_events 1 done
    assert_output old
    evpub b new
    run -0 wait_for_events 2 done
    assert_output $'old\nnew'
    stop_listen
    assert_equal "$(evctl groups -J | jq -c '[.patterns, .max_deliver, .pending, .redelivered]')" '[["b"],3,0,0]'
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

@test "a second SIGTERM is passed on to what runs, once" {
    start_hub
    touch begun
    mkfifo gate
    printf '%s\n' '[listener l]' 'on = t' \
        'shell = trap "echo >>told" TERM; echo >>begun; until read -r _ <gate; do :; done' >l.conf
    start_listen l.conf
    evpub t x
    wait_for_lines begun 1
    kill -TERM "$LISTEN_PID"
    kill -INT "$LISTEN_PID"
    wait_for_lines told 1
    for _ in 1 2 3; do
        kill -HUP "$LISTEN_PID" # wakes it
        evctl status >status
    done
    echo >gate
    wait_for_exit "$LISTEN_PID" || true # as by whichever came last
    assert_equal "$(wc -l <told)" 1
    run -0 evctl groups -J
    assert_equal "$(jq -r .acked <<<"$output")" 1
}

@test "SIGTERM as a command ends: the next is not begun" {
    skip_if_sanitized
    start_hub
    seq 3 | evpub t
    printf '%s\n' '[listener l]' 'on = t' 'from = first' 'jobs = 2' 'shell = echo "$EVBUS_SEQ" >>begun' >l.conf
    untimely end start_listen l.conf
    wait_for_exit "$LISTEN_PID"
    assert_equal "$(cat begun)" 1
    run -0 evctl groups -J
    assert_equal "$(jq -r '.acked' <<<"$output")" 1
}

@test "an expression without an end is ended by one SIGTERM" {
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'when = ("x" * 9999 | stderr) and last(repeat(1))' 'run = cat' >l.conf
    start_listen l.conf
    evpub t 1
    follow "$PATIENCE" listen.err head -c 5000 # it is in it
    kill -TERM "$LISTEN_PID"
    status=0
    wait_for_exit "$LISTEN_PID" || status=$?
    assert_equal "$status" 143
    assert_equal "$(grep -o 'evlisten: an .*' listen.err)" 'evlisten: an expression comes to no end: stopped in the midst of it'
}

@test "an expression without an end is ended by a signal while another is handled" {
    skip_if_sanitized
    start_hub
    printf '%s\n' '[listener l]' 'on = t' 'when = ("x" * 9999 | stderr) and last(repeat(1))' 'run = cat' >l.conf
    untimely handler start_listen l.conf
    evpub t 1
    follow "$PATIENCE" listen.err head -c 5000 # it is in it
    kill -INT "$LISTEN_PID"
    status=0
    wait_for_exit "$LISTEN_PID" || status=$?
    assert_equal "$status" 143
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

@test "expect: while the hub is away nothing is missed; when it is back, what its journal has counts" {
    start_hub
    touch missed
    printf '%s\n' '[expect beat]' 'topic = heart.beat' 'every = 1s' 'shell = cat >>missed' >l.conf
    start_listen -v l.conf
    wait_for_lines missed 1
    evpub heart.beat 1
    kill_hub
    wait_for_text listen.err '^evlisten: beat: the hub is gone'
    said=$(wc -l <missed) # the hub may have gone late
    run ! wait_for_lines missed $((said + 1)) 1.5 2>/dev/null
    start_hub
    wait_for_lines missed 2 # the time counts from the event
    kill_hub
    start_hub # in mid-silence
    evpub heart.beat 2
    wait_for_lines missed 3
    stop_listen
    assert_equal "$(wc -l <missed)" 3
}

@test "expect: while the hub is stopped nothing is missed; what was published meanwhile, it reads before it tells of its time" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o drowsy.so "$ROOT/tests/peers/drowsy.c"
    LD_PRELOAD=$PWD/drowsy.so start_hub
    touch missed
    mkfifo lines
    exec {to}<>lines
    start bash -c 'exec evpub --timeout 0 heart.beat <lines'
    printf '%s\n' '[expect beat]' 'topic = heart.beat' 'every = 2s' 'shell = cat >>missed' >l.conf
    start_listen l.conf
    echo 1 >&"$to"
    wait_for_events 1 heart.beat >/dev/null
    freeze "$HUB_PID"
    local said
    said=$(wc -l <missed) # it may have been late, or stopped late
    echo 2 >&"$to"
    run ! wait_for_lines missed $((said + 1)) 2.5 2>/dev/null
    kill -CONT "$HUB_PID"
    wait_for_events 2 heart.beat >/dev/null
    assert_equal "$(wc -l <missed)" "$said"
    wait_for_lines missed $((said + 1))
    stop_listen
    assert_equal "$(grep -c ': no heart' listen.err)" $((said + 1))
}

@test "expect: an evlisten that was stopped reads what came meanwhile before it says that nothing did" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o drowsy.so "$ROOT/tests/peers/drowsy.c"
    start_hub
    touch missed got
    evpub heart.beat 1
    printf '%s\n' '[expect beat]' 'topic = heart.beat' 'every = 2s' 'shell = cat >>missed' \
        '[listener other]' 'on = heart.beat' 'from = 1' 'shell = echo >>got' >l.conf
    LD_PRELOAD=$PWD/drowsy.so start_listen l.conf
    wait_for_lines missed 1 # now it is there
    evpub heart.beat 2
    wait_for_lines got 2
    freeze "$LISTEN_PID"
    for i in {3..7}; do
        evpub heart.beat "$i"
        read -r -t 0.5 <> <(:) || true
    done
    evpub heart.beat 8
    kill -CONT "$LISTEN_PID"
    wait_for_lines got 8
    assert_equal "$(wc -l <missed)" 1
    wait_for_lines missed 2
    stop_listen
}

@test "expect: the last event, read again after a loss, ends no silence" {
    start_hub
    touch missed got
    evpub heart.beat 1
    stop_hub
    cp -r "$JOURNAL" before
    start_hub
    printf '%s\n' '[expect beat]' 'topic = heart.beat' 'every = 0.1s' 'shell = cat >>missed' \
        '[listener other]' 'on = t' 'from = first' 'shell = echo >>got' >l.conf
    start_listen l.conf
    wait_for_lines missed 1
    evpub heart.beat 2
    wait_for_lines missed 2
    evpub t 1
    wait_for_lines got 1
    kill_hub
    rm -r "$JOURNAL"
    mv before "$JOURNAL" # an older one, which is noticed
    start_hub
    wait_for_text listen.err '^evlisten: beat: .*another journal'
    wait_for_text listen.err '^evlisten: other: .*(another journal|no group)' # by what it asked first
    evpub t 2
    wait_for_lines got 2 # both are there again
    assert_equal "$(grep -c ': no heart' listen.err)" 2
    evpub heart.beat 3
    wait_for_lines missed 3
    stop_listen
    assert_equal "$(wc -l <missed)" 3
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

@test "what -c and --test print cannot be written: 74, and why" {
    printf '[listener a]\non = x\nrun = cat\n' >a.conf
    run -74 bash -c 'evlisten -c a.conf >/dev/full'
    assert_output 'evlisten: stdout: No space left on device'
    run -74 bash -c 'echo "{\"topic\":\"x\"}" | evlisten --test - a.conf >/dev/full'
    assert_output 'evlisten: stdout: No space left on device'
}
