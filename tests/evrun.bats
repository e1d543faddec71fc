#!/usr/bin/env bats
# evrun: jobs: what they read, write and are told by signals, how they end, what is published of it.
#
# The tests may have a controlling terminal or not: what depends on that runs under setsid(1), or in a terminal of its own.

load helper

# The payload of the last event on TOPIC, through jq FILTER.
event_of() { # TOPIC FILTER
    evsub --from last -e "$1" | jq -c "$2"
}

# Starts evrun ARG… in the background in a session of its own, stdin from /dev/null, no signal ignored (as bash does it). $PID is evrun's.
start_run() { # OUT ARG…
    local out=$1
    shift
    start env --default-signal setsid evrun "$@" >"$out" 2>"$out.err" </dev/null
    RUN_PID=$PID
}

# Waits until PID has ended, with STATUS.
assert_ends() { # PID STATUS
    local ended=0
    wait_for_exit "$1" || ended=$?
    assert_equal "$ended" "$2"
}

# A job that says each signal it gets, and ends with 7 on SIGTERM.
write_catcher() {
    cat >catcher <<'P'
#!/usr/bin/python3
import signal, sys
def say(number, frame):
    print(signal.Signals(number).name, flush=True)
    with open("caught", "a") as caught:
        print(signal.Signals(number).name, file=caught)
    if number == signal.SIGTERM:
        sys.exit(7)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), say)
print("ready", flush=True)
while True:
    signal.pause()
P
    chmod +x catcher
}

@test "a job's start and end are events, and say what there is to know" {
    start_hub
    run -0 evrun -t job.a -- sh -c 'echo out; echo err >&2' x
    run -0 evsub --from first -e -J 'job.a.*'
    assert_equal "$(jq -r .topic <<<"$output")" $'job.a.started\njob.a.succeeded'
    assert_equal "$(jq -r .headers.run <<<"$output" | sort -u)" "$(jq -r '.payload | fromjson | .run' <<<"$output" | sort -u)"
    assert_equal "$(jq -r .headers.run <<<"$output" | uniq | wc -l)" 1
    run -0 event_of job.a.started '[.command[3], .host, .user, (.pid > 0), (.started | length)]'
    assert_output "[\"x\",\"$(uname -n)\",\"$(id -un)\",true,30]"
    run -0 event_of job.a.succeeded \
        '[.exit, (.seconds > 0), (.user_seconds + .system_seconds > 0), (.peak_bytes > 100000), (.output | split("\n") | sort), .output_cut]'
    assert_output '[0,true,true,true,["","err","out"],0]'
    run -0 event_of job.a.succeeded '[(.started <= .ended), .timed_out, .signal, .error]'
    assert_output '[true,null,null,null]'
}

@test "the default topic is job. and the command's name" {
    start_hub
    mkdir 'd.d'
    for name in backup.sh 'a b*#' '$x' 'größe' $'\xff\x01'; do
        ln -sf "$(type -P true)" "d.d/$name"
        evrun -- "./d.d/$name"
    done
    evrun -- true
    run -0 evsub --from first -e -F '%t\n' 'job.*.started'
    assert_output 'job.backup-sh.started
job.a-b--.started
job.-x.started
job.größe.started
job.--.started
job.true.started'
}

@test "usage: the command behind --, a topic, a time" {
    for wrong in '' 'true' '--' '-t' '--max-time x -- true' '--timeout 0 -- true' 'x -- true'; do
        # shellcheck disable=SC2086 # words
        run -64 --separate-stderr evrun $wrong
        assert_regex "$stderr" '^evrun: '
    done
    run -65 evrun -t a..b -- true
    run -65 evrun -t 'a b' -- true
    assert_output 'evrun: a b: not a topic: it has a space'
    run -65 evrun -t '' -- true
    assert_output "evrun: '': not a topic: it is empty"
    run -65 evrun -t '$job' -- true
    run -65 evrun -t "$(printf 'x%.0s' {1..246})" -- true
    start_hub
    run -0 evrun -t "$(printf 'x%.0s' {1..245})" -- true
}

@test "output passes to the byte, stdout and stderr apart; stdin is the job's" {
    start_hub
    "$PYTHON" -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)' >bytes
    evrun -t j -- sh -c 'cat; cat bytes >&2' <bytes >out 2>err
    cmp bytes out
    cmp bytes err
    run -0 evsub --from last -e j.succeeded
    jq -r .output_base64 <<<"$output" | base64 -d >tail
    assert_equal "$(wc -c <tail)" 65536
    assert_equal "$(jq .output_cut <<<"$output")" $((2 * 76800 - 65536))
}

@test "output is passed on as it comes" {
    start_hub
    mkfifo gate out
    exec {reader}<>out
    start evrun -t j -- sh -c 'printf "no newline"; read -r _ <gate' >out
    IFS= read -r -N 10 -t "$PATIENCE" -u "$reader" said
    assert_equal "$said" 'no newline'
    echo >gate
    wait_for_exit "$PID"
}

@test "the end of a text is text, also when it was cut in a character" {
    start_hub
    evrun -t j -- "$PYTHON" -c 'print("ö" * 50000 + "x", end="")' >out
    run -0 event_of j.succeeded '[(.output | utf8bytelength), .output_cut, .output[0:1], .output[-1:]]'
    assert_output '[65535,34466,"ö","x"]'
}

@test "100 MiB" {
    start_hub
    assert_equal "$(evrun -t j -- head -c 104857600 /dev/zero | cksum)" "$(head -c 104857600 /dev/zero | cksum)"
    run -0 event_of j.succeeded '[(.output | length), .output_cut]'
    assert_output '[65536,104792064]'
}

@test "exit statuses and signals are the job's" {
    start_hub
    for status in 1 2 64 75 124 127 255; do
        run -"$status" evrun -t j -- sh -c "exit $status"
        assert_equal "$(event_of j.failed .exit)" "$status"
    done
    for sig in KILL SEGV TERM INT PIPE ABRT; do
        run -$((128 + $(kill -l $sig))) evrun -t j -- sh -c "kill -$sig \$\$"
        assert_equal "$(event_of j.failed '[.signal, .exit]')" "[\"SIG$sig\",null]"
    done
    run -153 evrun -t j -- bash -c 'ulimit -c 0; ulimit -f 0; exec head -c 1 /dev/zero >limited'
    assert_equal "$(event_of j.failed .signal)" '"SIGXFSZ"'
    run -0 evsub --from first -e j.succeeded
    assert_output ''
    assert_equal "$(find . -name 'core*')" ''
}

@test "a command that does not exist or cannot be run: 127, 126, and a failure" {
    start_hub
    run -127 evrun -t j -- ./nowhere
    assert_output --partial 'No such file or directory'
    assert_equal "$(event_of j.failed '[.exit, (.error | test("No such file")), .pid]')" '[127,true,null]'
    run -127 evrun -t j -- no-such-command-at-all
    : >plain
    run -126 evrun -t j -- ./plain
    run -126 evrun -t j -- "$PWD"
    run -0 evsub --from first -e j.started
    assert_output ''
}

@test "what the job leaves in the background does not hold up its end" {
    start_hub
    mkfifo gate
    run -0 evrun -t j -- sh -c 'sh -c "read -r _; echo late" <gate & echo done'
    assert_output done
    assert_equal "$(event_of j.succeeded .output)" '"done\n"'
    echo >gate
}

@test "nobody reads stdout any more: the job gets SIGPIPE" {
    start_hub
    evrun -t j -- yes | head -n 1 >out || true
    assert_equal "$(cat out)" y
    assert_equal "$(event_of j.failed .signal)" '"SIGPIPE"'
    run -0 bash -c 'evrun -t j -- sh -c "trap \"\" PIPE; yes 2>/dev/null; exit 0" | head -n 1'
}

@test "stdout is full or closed: said, and the job's status stands" {
    start_hub
    evrun -t j -- sh -c 'echo x; exit 0' >/dev/full 2>err
    assert_equal "$(cat err)" 'evrun: j: its output could not be passed on: No space left on device'
    status=0
    evrun -t j -- sh -c 'echo x; exit 3' >&- 2>err || status=$?
    assert_equal "$status" 3
    evrun -t j -- cat <&- >out 2>err || status=$?
    assert_equal "$status" 1 # cat(1)'s
}

@test "signals go to the job, which may catch them" {
    start_hub
    write_catcher
    start_run out -t j -- ./catcher SIGHUP SIGINT SIGQUIT SIGUSR1 SIGUSR2 SIGTERM SIGTSTP SIGCONT
    wait_for_text out ready
    for sig in HUP INT QUIT USR1 USR2; do
        kill -$sig "$RUN_PID"
        wait_for_text out "SIG$sig"
    done
    kill -TSTP "$RUN_PID" # evrun stops, too, and passes nothing on
    wait_for_text caught SIGTSTP
    # More than once: its own raise(SIGTSTP) discards one that came before.
    for ((end = SECONDS + PATIENCE; SECONDS < end; )); do
        kill -CONT "$RUN_PID"
        ! grep -q SIGCONT out || break
    done
    wait_for_text out SIGTSTP
    wait_for_text out SIGCONT
    kill -TERM "$RUN_PID"
    assert_ends "$RUN_PID" 7
    assert_equal "$(event_of j.failed '[.exit, .signal]')" '[7,null]'
}

@test "signals go to the whole group of a job without a terminal, and to nobody else's" {
    start_hub
    write_catcher
    mkfifo both
    exec {other}<>both
    start_run out -t j -- sh -c './catcher SIGTERM >both & exec ./catcher SIGTERM'
    read -r -t "$PATIENCE" -u "$other" line
    wait_for_text out ready
    kill -TERM "$RUN_PID"
    assert_ends "$RUN_PID" 7
    read -r -t "$PATIENCE" -u "$other" line
    assert_equal "$line" SIGTERM
}

@test "signals that are ignored stay so" {
    start_hub
    run -0 bash -c 'trap "" HUP TERM; evrun -t j -- sh -c "kill -HUP \$\$; kill -TERM \$\$; echo alive"'
    assert_output alive
    run -143 evrun -t j -- sh -c 'kill -TERM $$; echo alive'
}

@test "a signal is heeded while nobody reads the output" {
    start_hub
    mkfifo out
    exec {reader}<>out
    start_run out -t j -- yes
    pid=$RUN_PID
    timeout "$PATIENCE" evsub --from first -n 1 j.started >started
    kill -TERM "$pid" # to the job
    kill -TERM "$pid" # gives up on what is not read
    { until ! kill -TERM "$pid"; do :; done; } 2>/dev/null
    assert_ends "$pid" 143
    assert_equal "$(event_of j.failed .signal)" '"SIGTERM"'
}

@test "the output goes to stdout also where that is the side of a terminal that has the screen" {
    run -0 "$PYTHON" - <<'END'
import os, select, subprocess
screen, terminal = os.openpty()
subprocess.run(["evrun", "--timeout", "0.1", "-t", "j", "--", "echo", "hello"], stdout=screen, check=True)
print(select.select([terminal], [], [], 0)[0] and os.read(terminal, 100))
END
    assert_output "b'hello\\n'"
}

@test "a signal is heeded while nobody reads the terminal" {
    local pid clock now last=0
    start_hub
    mkfifo clock
    exec {clock}<>clock
    start "$PYTHON" "$ROOT/tests/peers/unread.py" evrun -t j -- yes >pid
    wait_for_lines pid 1
    pid=$(cat pid)
    while now=$(awk '/^wchar/ { print $2 }' "/proc/$pid/io"); ((now < 4096 || now != last)); do
        last=$now
        read -r -t 0.2 -u "$clock" || true # until the terminal is full
    done
    # the first to the job; another gives up on what is not read
    timeout "$PATIENCE" bash -c 'while kill -TERM "$0"; do :; done' "$pid" 2>/dev/null
    assert_ends "$PID" 143
    assert_equal "$(event_of j.failed .signal)" '"SIGTERM"'
}

@test "a signal that comes before the job has started is the job's" {
    skip_if_sanitized
    start_hub
    mkfifo gate
    run -143 untimely start evrun --max-time 10 -t j -- cat gate
    run -0 evsub --from first -e 'j.*' -F '%t\n'
    assert_output $'j.started\nj.failed'
    assert_equal "$(event_of j.failed '[.signal, .timed_out]')" '["SIGTERM",null]'
}

@test "a signal that comes just before evrun waits for a reader of the output is heeded" {
    skip_if_sanitized
    start_hub
    mkfifo out
    exec {reader}<>out
    untimely wait start_run out -t j -- head -c 100000 /dev/zero
    assert_ends "$RUN_PID" 0
    assert_equal "$(event_of j.succeeded .exit)" 0
}

@test "--max-time: SIGTERM, and the job has failed with 124" {
    start_hub
    mkfifo gate
    run -124 evrun -t j --max-time 100ms -- sh -c 'exec cat gate'
    assert_equal "$(event_of j.failed '[.timed_out, .signal]')" '[true,"SIGTERM"]'
    run -124 evrun -t j --max-time 2 -- sh -c 'trap "exit 0" TERM; read -r _ <gate'
    assert_equal "$(event_of j.failed '[.timed_out, .exit]')" '[true,0]'
    run -0 evrun -t j --max-time 1h -- true
}

@test "--max-time: a job that ignores SIGTERM is killed with its group" {
    start_hub
    mkfifo gate both
    # The fifo is opened for writing by the group alone, and at its end when the last of it is gone.
    start env --default-signal --ignore-signal=TERM setsid evrun -t j --max-time 100ms -- \
        sh -c 'exec 4>both; sh -c "read -r _" <gate'
    RUN_PID=$PID
    timeout "$PATIENCE" cat both
    assert_ends "$RUN_PID" 124
    assert_equal "$(event_of j.failed '[.timed_out, .signal]')" '[true,"SIGKILL"]'
}

@test "--lock: skipped while it runs, with 75; not for another topic; released at its end" {
    start_hub
    mkfifo gate
    start_run out --lock -t j -- sh -c 'echo begun; read -r _ <gate'
    wait_for_text out begun
    run -75 evrun --lock -t j -- touch touched
    assert_output --regexp "^evrun: j: skipped: it still runs, pid $RUN_PID, since 20"
    assert_equal "$(event_of j.skipped '[.holder.pid, (.holder.since <= .skipped), .command[0]]')" "[$RUN_PID,true,\"touch\"]"
    run -75 evrun --lock -q -t j -- touch touched
    assert_output ''
    assert_not_exists touched
    run -0 evrun --lock -t other/one -- true
    run -0 evrun -t j -- true
    echo >gate
    wait_for_exit "$RUN_PID"
    run -0 evrun --lock -t j -- true
}

@test "--lock: neither a killed evrun nor what a job leaves behind holds it" {
    start_hub
    mkfifo gate
    start_run out --lock -t j -- sh -c 'echo begun; read -r _ <gate'
    wait_for_text out begun
    kill -KILL "$RUN_PID"
    wait_for_exit "$RUN_PID" || true
    run -0 evrun --lock -t j -- sh -c 'read -r _ <gate & true'
    run -0 evrun --lock -t j -- true
    echo >gate
}

@test "--lock: of two at once one runs" {
    start_hub
    mkfifo gate
    for i in 1 2 3 4; do
        start evrun --lock -q -t j -- sh -c 'echo >>ran; read -r _ <gate'
    done
    timeout "$PATIENCE" evsub --from first -n 3 j.skipped >/dev/null
    wait_for_lines ran 1
    assert_equal "$(wc -l <ran)" 1
    echo >gate
}

@test "--lock: a lock that cannot be had is a failure, and said" {
    start_hub
    : >"$EVBUS_SPOOL"
    run -74 evrun --lock -t j -- touch touched
    assert_not_exists touched
}

@test "-q: prints nothing unless the job fails" {
    start_hub
    run -0 evrun -q -t j -- sh -c 'echo out; echo err >&2'
    assert_output ''
    run -3 --separate-stderr evrun -q -t j -- sh -c 'echo out; echo err >&2; exit 3'
    assert_output ''
    assert_regex "$stderr" '^evrun: j: exit 3 after [0-9.e-]+ s; its output:'
    assert_equal "$(tail -n +2 <<<"$stderr" | sort)" $'err\nout'
    mkfifo gate
    run -124 --separate-stderr evrun -q --max-time 3 -t j -- sh -c 'seq 100000; exec cat gate'
    assert_regex "${stderr_lines[0]}" ': timed out after 3 s; the last of its output:$'
    assert_equal "${stderr_lines[-1]}" 100000
}

@test "what the job has in its environment" {
    start_hub
    run -0 env -u EVBUS_URL evrun -u "$EVBUS_URL" -t j -- sh -c 'evpub -H "run=$EVBUS_RUN" j.said "$EVBUS_URL"'
    run -0 evsub --from first -e -J 'j.*'
    assert_equal "$(jq -r .headers.run <<<"$output" | uniq | wc -l)" 1
    assert_equal "$(evsub --from last -e j.said)" "$EVBUS_URL"
}

@test "run for an event, its events name that as their cause" {
    start_hub
    evpub first x
    run -0 evsub --from first -n 1 first -- evrun -t j -- true
    run -0 evsub --from first -e -J 'j.*'
    assert_equal "$(jq -c '.headers | [.cause, .correlation, .depth]' <<<"$output" | tr '\n' ' ')" \
        '["1","1","1"] ["2","1","2"] '
}

@test "the end has the start as its cause, where the hub has that" {
    start_hub
    run -0 evrun -t j -- true
    run -0 evsub --from first -e -J 'j.*'
    assert_equal "$(jq -c '.headers | [.cause, .correlation, .depth]' <<<"$output" | tr '\n' ' ')" \
        '[null,null,null] ["1","1","1"] '
    kill_hub
    run -0 evrun --timeout 0.1 -t k -- true
    start_hub
    evpub --spool
    run -0 evsub --from first -e -J 'k.*'
    assert_equal "$(jq -c '.headers.cause' <<<"$output" | tr '\n' ' ')" 'null null '
}

@test "a script without #! is run by the shell" {
    mkdir dir
    echo 'echo "it: $0 $*"; exit 3' >dir/script
    chmod +x dir/script
    run -3 evrun -t j -- dir/script 'a b' c
    assert_output 'it: dir/script a b c'
    PATH=$PWD/none:$PWD/dir:$PATH run -3 evrun -t j -- script x
    assert_output "it: $PWD/dir/script x"
    : >dir/empty
    chmod +x dir/empty
    run -0 evrun -t j -- dir/empty
}

@test "a hub that takes no such payload gets the event without the output" {
    start_hub --max-payload 16K
    run -0 evrun -t j -- head -c 60000 /dev/zero
    run -0 event_of j.succeeded '[.exit, .output, .output_cut]'
    assert_output '[0,"",60000]'
}

@test "without a hub the job runs; its events come later, once, in order, with their own times" {
    run -0 --separate-stderr evrun -t j -- sh -c 'echo first; date -u +%FT%T.%N >ran'
    assert_output first
    assert_equal "$stderr" ''
    run -3 evrun -v -t j -- sh -c 'exit 3'
    assert_output --regexp '^evrun: j.started: waits in .*spool/.*: no hub at '
    start_hub
    run -0 evrun -t j -- sh -c 'echo third'
    run -0 evsub --from first -e -J 'j.*'
    assert_equal "$(jq -r '.topic + " " + (.payload | fromjson | .output // "-" | rtrimstr("\n"))' <<<"$output")" \
        $'j.started -\nj.succeeded first\nj.started -\nj.failed \nj.started -\nj.succeeded third'
    # The header of the first two frames the time at which the first job ran; those of the last run have the hub's time.
    run -0 jq -sr --arg ran "$(cat ran)" '.[0].headers.time < $ran and $ran < .[1].headers.time
        and .[1].headers.time < .[0].time and .[3].headers.time and .[5].headers.time == null' <<<"$output"
    assert_output true
    evpub --spool
    assert_equal "$(evsub --from first -e 'j.*' | wc -l)" 6
}

@test "the hub is killed while the job runs: the end waits, and comes once" {
    start_hub
    mkfifo gate
    start_run out -t j --timeout 3 -- sh -c 'read -r _ <gate'
    timeout "$PATIENCE" evsub --from first -n 1 j.started >/dev/null
    kill_hub
    start evrun -t other --timeout 0.1 -- true # neither is held up by the other
    echo >gate
    assert_ends "$RUN_PID" 0
    assert_ends "$PID" 0
    start_hub
    evpub --spool
    run -0 evsub --from first -e -F '%t\n' 'j.*'
    assert_output $'j.started\nj.succeeded'
    assert_equal "$(evsub --from first -e 'other.*' | wc -l)" 2
}

@test "many at once without a hub: every event comes, once, each run's in order" {
    local pids=()
    for i in 1 2 3 4 5 6; do
        start evrun -t "j.$i" -- true
        pids+=("$PID")
    done
    for pid in "${pids[@]}"; do
        assert_ends "$pid" 0
    done
    start_hub
    for i in 1 2 3; do
        start evrun -t last -- true
        pids[i]=$PID
    done
    for i in 1 2 3; do
        assert_ends "${pids[i]}" 0
    done
    evpub --spool
    for i in 1 2 3 4 5 6; do
        assert_equal "$(evsub --from first -e -F '%t\n' "j.$i.*")" "j.$i.started"$'\n'"j.$i.succeeded"
    done
    assert_equal "$(evsub --from first -e 'last.*' | wc -l)" 6
}

@test "a hub that hangs delays neither the job nor its output; the end waits in the spool" {
    start_hub
    kill -STOP "$HUB_PID"
    mkfifo out
    exec {reader}<>out
    start_run out -t j --timeout 0.3 -- sh -c 'echo here; exit 5'
    read -r -t "$PATIENCE" -u "$reader" line
    assert_equal "$line" here
    assert_ends "$RUN_PID" 5
    kill -CONT "$HUB_PID"
    evpub --spool
    run -0 evsub --from first -e -F '%t\n' 'j.*'
    assert_output $'j.started\nj.failed'
}

@test "neither a hub nor a spool: said, and the job's status stands" {
    : >"$EVBUS_SPOOL"
    run -4 --separate-stderr evrun -t j -- sh -c 'echo out; exit 4'
    assert_output out
    assert_regex "${stderr_lines[0]}" '^evrun: j.started: not published: '
    assert_regex "${stderr_lines[1]}" '^evrun: j.failed: not published: '
}

@test "from cron's bare environment" {
    start_hub
    for shell in /bin/sh /bin/bash; do
        run -0 env -i HOME="$HOME" LOGNAME=x SHELL=$shell PATH="$EVB_BIN:/usr/bin:/bin" EVBUS_URL="$EVBUS_URL" \
            EVBUS_SPOOL="$EVBUS_SPOOL" $shell -c 'evrun -q --lock --max-time 2h -t job.backup -- sh -c "echo fine"'
        assert_output ''
    done
    run -0 evsub --from first -e -F '%t\n' 'job.backup.*'
    assert_equal "${#lines[@]}" 4
}

@test "in a terminal: reading it, ^Z, fg, ^C" {
    start_hub
    run timeout 60 "$PYTHON" "$ROOT/tests/peers/terminal.py" evrun -t j -- cat
    assert_success
    assert_equal "$(event_of j.failed .signal)" '"SIGINT"'
}
