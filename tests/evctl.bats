# evctl.bats: looking after a hub: what it shows, what it changes, and in which form.
bats_require_minimum_version 1.5.0
load helper

# A member that takes one event and rejects it.
reject_one() { # GROUP REASON
    local key
    printf 'take 1 10\nquit\n' | timeout 20 "$PYTHON" "$ROOT/tests/peers/member.py" "$1" >taken
    key=$(awk '$1 ~ /^[0-9]+$/ { print $1 }' taken)
    printf 'take 1 10\nreject %s %s\n' "$key" "$2" | timeout 20 "$PYTHON" "$ROOT/tests/peers/member.py" "$1" >taken
    ! grep error taken
}

# Runs a command on a terminal of so many columns; what it prints, without carriage returns.
on_terminal() { # COLUMNS COMMAND…
    "$PYTHON" - "$@" <<'PY'
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[2], sys.argv[2:])
out = b""
try:
    while data := os.read(fd, 4096):
        out += data
except OSError:
    pass
sys.stdout.buffer.write(out.replace(b"\r", b""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
}

@test "status: text and JSON say the same" {
    start_hub --sync 250
    seq 3 | evpub a
    evpub b x
    run -0 evctl status
    assert_line --regexp '^events +4, seqs 1 to 4, on 2 topics$'
    assert_line --regexp '^since start +4 events'
    assert_line --regexp "^journal +$JOURNAL, .*sync 250ms$"
    run -0 evctl -J status
    assert_equal "$(jq -c '[.head, .events, .topics, .events_in, .sync, .memory, .full, .clients]' <<<"$output")" \
        '[4,4,2,4,"250ms",false,false,0]'
    assert_equal "$(jq .pid <<<"$output")" "$HUB_PID"
    jq -e '.disk_free > 0 and .uptime_ns > 0 and .rss > 0' <<<"$output"
}

@test "status of a hub in memory" {
    start_hub --memory
    run -0 evctl -J status
    assert_equal "$(jq -c '[.memory, .dir]' <<<"$output")" '[true,null]'
}

@test "topics: all, those that match, thousands, none" {
    start_hub
    printf '%s\t%s\n' a.x 1 a.y 2 a.x 3 b 4 | evpub -T
    run -0 evctl topics
    assert_line --index 0 --regexp '^TOPIC +EVENTS +BYTES +VERSION +LAST +AGO$'
    assert_line --index 1 --regexp '^a\.x +2 '
    assert_equal "${#lines[@]}" 4
    run -0 evctl topics -J 'a.*'
    assert_equal "$(jq -c '[.topic, .events, .last, .version]' <<<"$output")" $'["a.x",2,3,2]\n["a.y",1,2,1]'
    run -0 evctl topics -J nothing
    assert_output ''
    seq 10000 | awk '{ print "many.t" $1 "\t" $1 }' | evpub -T
    assert_equal "$(evctl topics -J 'many.*' | jq -s length)" 10000
    run -65 evctl topics 'a.#.b'
}

@test "groups and clients" {
    start_hub
    seq 5 | evpub t
    evsub -g g --from first -n 2 t >/dev/null
    run -0 evctl groups -J
    assert_equal "$(jq -c '[.name, .patterns, .members, .lag, .acked, .stalled]' <<<"$output")" \
        '["g",["t"],0,3,2,"no members"]'
    run -0 evctl groups
    assert_line --index 1 --regexp '^g +0 +3 .* t +no members$'
    start_sub live 't.#' other
    start_sub member -g g
    local sub
    until sub=$(evctl clients -J) && (($(jq -s length <<<"$sub") == 2)); do :; done
    assert_equal "$(jq -sc 'sort_by(.pid)[] | [.kind, .pid, .uid, .patterns, .group]' <<<"$sub")" \
        "[\"evsub\",${STARTED[1]},$EUID,[\"t.#\",\"other\"],null]
[\"evsub\",${STARTED[2]},$EUID,[\"t\"],\"g\"]"
    kill "$SUB_PID"
    wait_for_exit "$SUB_PID" || true
    until (($(evctl clients -J | jq -s length) == 1)); do :; done
}

@test "a client that comes back after the hub's restart is listed once" {
    start_hub
    start_sub live --timeout 20 -v t
    until (($(evctl clients -J | jq -s length) == 1)); do :; done
    kill_hub
    start_hub
    wait_for_text live.err reconnected
    until (($(evctl clients -J | jq -s length) == 1)); do :; done
    assert_equal "$(evctl clients -J | jq .pid)" "$SUB_PID"
}

@test "clients: who says nothing of itself; nobody for a hello whose connection is gone; evfold" {
    start_hub
    "$PYTHON" - <<'PY'
import json, os, subprocess
import msgpack, zmq
context, url = zmq.Context.instance(), os.environ["EVBUS_URL"]
requests, feed = context.socket(zmq.DEALER), context.socket(zmq.SUB)
requests.connect(url + "/hub")
requests.send(msgpack.packb(["hello", 1, "ab" * 16, "cd" * 16, {"kind": "ghost"}]))
assert msgpack.unpackb(requests.recv()) == ["ok", 1]
feed.connect(url + "/feed")
feed.subscribe(b"$hub.welcome." + b"01" * 16 + b"\0")
assert feed.poll(20_000)
rows = [json.loads(line) for line in subprocess.check_output(["evctl", "-J", "clients"]).splitlines()]
assert [(row["kind"], row["pid"], row["uid"]) for row in rows] == [(None, os.getpid(), os.getuid())], rows
PY
    : >fold.err
    start_ready fold.out fold.err evfold t '. + 1'
    until [[ $(evctl clients -J | jq -sc 'map(.kind)') == '["evfold"]' ]]; do :; done
}

@test "a member that stands still is no farther behind than its group" {
    start_hub
    start_sub member -g g --from first t
    seq 100 | evpub u
    until (($(evctl groups -J | jq .lag) == 0)); do :; done
    assert_equal "$(evctl clients -J | jq -c '[.group, .lag, .in_hand, .position]')" '["g",0,0,101]'
}

@test "dead letters: list, show, retry, drop" {
    start_hub
    evsub -g g -n 0 t
    evpub -H k=v t first
    evpub t second
    reject_one g 'it is bad'
    reject_one g 'so is this'
    run -0 evctl dead list
    assert_line --index 1 --regexp '^g +3 +1 +t .* 1 +it is bad$'
    run -0 evctl dead list g -J
    assert_equal "$(jq -c '[.seq, .orig_seq, .topic, .reason]' <<<"$output")" \
        $'[3,1,"t","it is bad"]\n[4,2,"t","so is this"]'
    run -0 evctl dead show g 3
    assert_output $'seq: 3\nk: v\ndead-topic: t\ndead-seq: 1\ndead-deliveries: 1\ndead-reason: it is bad\n\nfirst'
    run -0 evctl dead show -J
    assert_equal "$(jq -r .payload <<<"$output")" $'first\nsecond'
    run -0 evctl dead retry g 3
    assert_output '1 dead letter of group g is handed out again'
    run -0 timeout 20 evsub -g g -e
    assert_output first
    run -0 evctl dead drop g
    assert_output '1 dead letter of group g is dropped'
    run -0 evctl dead list -J
    assert_output ''
    run -1 evctl dead retry g 3
    assert_output 'evctl: group g has no dead letter of seq 3'
    run -1 evctl dead list nobody
    run -64 evctl dead retry
    run -64 evctl dead drop g x
}

@test "dead letters of all groups, thousands of them" {
    start_hub --sync none # each is a request of its own
    evsub -g a -n 0 t
    evsub -g b -n 0 t
    seq 1200 | evpub t
    local group
    for group in a b; do
        printf 'take 1200 10\nquit\n' | timeout 60 "$PYTHON" "$ROOT/tests/peers/member.py" "$group" >taken
        awk '$1 ~ /^[0-9]+$/ { print "reject " $1 " no" }' taken >rejects
        { echo 'take 1200 10'; cat rejects; } | timeout 60 "$PYTHON" "$ROOT/tests/peers/member.py" "$group" >taken
    done
    assert_equal "$(evctl dead list -J | jq -sc 'group_by(.group) | map([.[0].group, length])')" '[["a",1200],["b",1200]]'
    assert_equal "$(evctl dead list | grep -c '^GROUP')" 1
    assert_equal "$(evctl dead list | wc -l)" 2401
    assert_equal "$(evctl dead show b -J | jq -r .payload | sort -n | head -n 2 | tr '\n' ' ')" '1 2 '
    run -0 evctl dead drop a
    assert_output '1200 dead letters of group a are dropped'
}

@test "group: positions count what the group gets; a time ends a replay as it ends evsub" {
    start_hub
    local i between
    for i in 1 2 3; do
        evpub t "$i"
        seq 5 | evpub other
    done
    evsub -g g -n 0 t
    run -0 evctl group g reset --to -2 -J
    assert_output '{"group":"g","next":7,"dropped":0}'
    run -0 evctl group g reset --to last -J
    assert_output '{"group":"g","next":13,"dropped":0}'
    run -0 evctl group g reset --to now -J
    assert_output '{"group":"g","next":19,"dropped":0}'
    between=$(evsub --from 7 -n 1 -J t | jq -r .time)
    run -0 evctl group g replay --from first --to "$between" --dry-run
    assert_output 'group g: 2 events of seqs 1 to 7 would be handed out once more'
    assert_equal "$(evsub --from first --to "$between" t | wc -l)" 2
    run -0 evctl group g replay --from first --to last --dry-run
    assert_output 'group g: 3 events of seqs 1 to 13 would be handed out once more'
    run -0 evctl group g replay --from first --to 1d --dry-run
    assert_output 'group g: no events lie there'
    run -1 evctl group nobody reset --to last
    assert_output 'evctl: there is no group nobody'
    run -64 evctl group g replay --from nowhere
    run -64 evctl group g reset --to 1000
}

@test "group: reset, replay with a rate, delete" {
    start_hub
    seq 10 | evpub t
    timeout 20 evsub -g g --from first -e t >/dev/null
    run -0 evctl group g reset --to -2
    assert_output 'group g goes on at seq 9; 0 pending events dropped'
    run -0 timeout 20 evsub -g g -e
    assert_output $'9\n10'
    run -0 evctl group g replay --from 2 --to 4 --dry-run
    assert_output 'group g: 3 events of seqs 2 to 4 would be handed out once more'
    local start
    start=$(date +%s%N)
    run -0 evctl group g replay --from 2 --to 4 --rate 20 -J
    assert_output '{"group":"g","from":2,"to":4,"events":3,"dry_run":false}'
    run -0 timeout 20 evsub -g g -n 3 -J
    assert_equal "$(jq -c '[.payload, .replay]' <<<"$output")" $'["2",true]\n["3",true]\n["4",true]'
    (($(date +%s%N) - start >= 90000000))
    run -0 evctl group g delete
    run -1 evctl group g delete
    assert_output 'evctl: there is no group g'
    run -64 evctl group g
    run -64 evctl group g reset
    run -64 evctl group g fly
}

@test "trim and purge" {
    start_hub
    printf '%s\t%s\n' a 1 b 2 a 3 b 4 | evpub -T
    run -0 evctl purge b
    assert_output '2 events are gone'
    run -0 evsub --from first -e
    assert_output $'1\n3'
    run -64 evctl trim --before 6
    assert_output 'evctl: --before 6: the journal ends at seq 4: nothing is done'
    run -0 evctl trim --before 2 --dry-run
    assert_output 'seq 1 would go'
    run -0 evsub --from first -e
    assert_output $'1\n3'
    run -0 evctl trim --before 2 -J
    assert_output '{"first":2,"dry_run":false}'
    run -0 evctl trim --before 2
    assert_output 'nothing lies before that; the journal begins at seq 2'
    run -0 evsub --from first -e
    assert_output 3
    assert_equal "$(evpub --print-version --expect 2 b 5)" 3
    run -64 evctl trim
    run -64 evctl purge
    run -65 evctl purge 'a b'
}

@test "metrics: Prometheus' text format" {
    start_hub
    seq 3 | evpub t
    evsub -g 'g.one' -n 0 t
    run -0 evctl metrics
    assert_line 'evbus_head_seq 3'
    assert_line 'evbus_events_received_total 3'
    assert_line '# TYPE evbus_events_received_total counter'
    assert_line 'evbus_group_members{group="g.one"} 0'
    # each line is a comment or NAME{LABELS} VALUE, each name is typed before, once, and counters and only they end in _total
    awk '/^# TYPE/ { if (typed[$3]++ || ($4 == "counter") != ($3 ~ /_total$/)) exit 1; next } /^#/ { next }
        { split($1, name, "{"); if (!(name[1] in typed) || $2 !~ /^[0-9.e+-]+$/ || NF != 2) exit 1 }' <<<"$output"
}

@test "metrics -J: one object for each" {
    start_hub
    evsub -g g -n 0 t
    run -0 evctl metrics -J
    assert_equal "$(jq -c 'select(.name == "evbus_group_members")' <<<"$output")" \
        '{"name":"evbus_group_members","type":"gauge","labels":{"group":"g"},"value":0}'
    assert_equal "$(jq -c 'select(.name == "evbus_hub_info") | [.labels.sync, .value]' <<<"$output")" '["always",1]'
    assert_equal "$(wc -l <<<"$output")" "$(evctl metrics | grep -cv '^#')"
    evctl metrics -J >before
    evpub t x
    evctl metrics -J >after
    assert_equal "$(jq -s 'map(select(.name == "evbus_events_fed_total").value) | .[1] - .[0]' before after)" 1
}

@test "tables of any width: what can be spared is left out, and no line is too long" {
    start_hub
    evsub -g a.group.with.a.long.name.that.goes.on -n 0 'one.pattern.*' 'another.#' third
    evsub -g b -n 0 third
    printf '%s\n' 1 2 | evpub third
    start_sub live 'a.long.pattern.that.goes.on.*' 'another.*'
    local width command line
    export LC_ALL=C.UTF-8
    for width in 24 40 60 80 100 140; do
        for command in groups clients topics 'dead list'; do
            # shellcheck disable=SC2086 # two words
            run -0 on_terminal "$width" evctl $command
            for line in "${lines[@]}"; do
                line=$(sed 's/\x1b\[[0-9;]*m//g' <<<"$line")
                ((${#line} <= width)) || fail "$command $width: $line"
            done
        done
    done
    run -0 on_terminal 80 evctl groups
    assert_output --partial LAG
    assert_output --partial 'no members'
    run -0 evctl groups
    assert_line --index 0 --regexp '^GROUP +MEMBERS +LAG +PENDING +IN HAND +ACKED +AGAIN +DEAD +LOST +PATTERNS +STALLED$'
    assert_line --index 1 --partial 'one.pattern.* another.# third'
}

@test "a table fits the terminal; colours only there and not under NO_COLOR" {
    start_hub
    evpub a.very.long.topic.that-goes-on-and-on.and-on-and-on-and-on-and-on-and-on x
    run -0 on_terminal 60 evctl topics
    assert_line --index 0 --partial $'\e[1m'
    local line LC_ALL=C.UTF-8
    for line in "${lines[@]}"; do
        line=$(sed 's/\x1b\[[0-9;]*m//g' <<<"$line")
        ((${#line} <= 60)) || fail "$line"
    done
    assert_line --regexp '(…|~)'
    NO_COLOR=1 run -0 on_terminal 60 evctl topics
    refute_output --partial $'\e['
    run -0 evctl topics
    assert_line --index 1 --partial and-on-and-on-and-on-and-on-and-on
    refute_output --partial $'\e['
}

@test "a terminal is not written to by what a group's reason says" {
    start_hub
    evsub -g g -n 0 t
    evpub t x
    printf 'take 1 10\nreject 1 \033[31mred\n' | timeout 20 "$PYTHON" "$ROOT/tests/peers/member.py" g >/dev/null
    run -0 evctl dead list
    refute_output --partial $'\e'
    assert_output --partial '?[31mred'
    run -0 evctl dead show g
    refute_output --partial $'\e'
}

# A hub of another age: it answers each request as the real one does one that it does not know.
old_hub() {
    exec "$PYTHON" - "$BATS_TEST_TMPDIR/bus/hub" <<'PY'
import os, sys, msgpack, zmq
os.mkdir(os.path.dirname(sys.argv[1]), 0o700)
router = zmq.Context().socket(zmq.ROUTER)
router.bind("ipc://" + sys.argv[1])
print("ready", flush=True)
while True:
    peer, head, *_ = router.recv_multipart()
    answer = ["error", msgpack.unpackb(head)[1], "usage", "a request this hub does not know"]
    router.send_multipart([peer, msgpack.packb(answer)])
PY
}

@test "an older hub: what it does not know is said" {
    old_hub >old.out 2>old.err 3>&- &
    STARTED+=("$!")
    wait_for_text old.out ready
    run -69 evctl groups
    assert_output "evctl: the hub does not know the request 'groups': it is older than this evctl"
    run -69 evctl dead retry g
    assert_output "evctl: the hub does not know the request 'dead.retry': it is older than this evctl"
    run -69 evctl metrics
}

@test "what is not UTF-8 is refused before it is sent" {
    start_hub
    run -65 evctl group $'\xff' delete
    assert_output 'evctl: group: it is not UTF-8'
    run -65 evctl dead list $'\xff'
    run -65 evctl topics $'\xff'
    run -65 evctl purge $'\xff'
}

@test "status on a narrow terminal goes on in the next line, behind a comma" {
    start_hub
    evpub t x
    on_terminal 40 evctl status >narrow
    run -0 cat narrow
    assert_line --regexp '^             [a-z]'
    # as it is without a terminal, but for what goes on with time, once its lines are joined again
    sed -n '/^events/,/^since/p' narrow | sed ':a; N; $!ba; s/\n             / /g' | grep ^events >joined
    assert_equal "$(<joined)" "$(evctl status | grep ^events)"
}

@test "no hub: 69; usage: 64; a closed stdout: 74" {
    run -69 evctl groups
    start_hub
    run -64 evctl
    assert_output --partial 'a command is wanted'
    run -64 evctl fly
    run -64 evctl status now
    run -74 bash -c 'evctl status >/dev/full'
}

@test "with descriptors closed no message and no export goes into a file of the journal" {
    start_hub
    seq 100 | evpub t
    stop_hub
    cp "$JOURNAL"/*.evj whole
    printf torn >>"$JOURNAL/00000000000000000001.evj"
    run bash -c 'evctl -d "$1" verify <&- 2>&-' - "$JOURNAL"
    run bash -c 'evctl -d "$1" verify <&- >&- 2>&-' - "$JOURNAL"
    run bash -c 'evctl -d "$1" repair <&- >&- 2>&-' - "$JOURNAL"
    run -74 bash -c 'evctl -d "$1" export >&-' - "$JOURNAL"
    cmp -n "$(stat -c %s whole)" whole "$JOURNAL/00000000000000000001.evj"
    run -0 cat "$JOURNAL/lock"
    assert_output --regexp '^[0-9]+$'
}

@test "an option that does not belong to a command is refused, and nothing is done" {
    local line
    start_hub
    seq 3 | evpub t
    evsub -g g -n 0 t
    while read -r line; do
        # shellcheck disable=SC2086 # words
        run -64 evctl $line
        assert_output --partial ' does not go with '
    done <<'END'
purge # --dry-run
purge # --before 2
group g delete --dry-run
group g reset --to 2 --dry-run
group g pause --to 2
group g reset --to 2 --from 1
dead drop g --dry-run
dead drop g --edit
status -d journal
export --dry-run
import --from 2
verify -o out
END
    assert_equal "$(evsub --from 1 -e | tr '\n' ' ')" '1 2 3 '
    assert_equal "$(evctl groups -J | jq -c '[.name, .paused, .next]')" '["g",false,4]'
}

@test "verify, repair and export -d name a directory that is no journal's, and make nothing in it" {
    local command
    mkdir empty
    for command in verify repair export; do
        run -64 --separate-stderr evctl -d empty "$command" --timeout 1
        assert_equal "$stderr" "evctl: empty: no segments there: not a journal's directory"
        assert_equal "$output" ''
        run -64 evctl -d /dev/null "$command"
        assert_output 'evctl: /dev/null: Not a directory'
    done
    assert_equal "$(ls -A empty)" ''
}
