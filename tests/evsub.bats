# evsub.bats: where it starts and ends, every form of output, cursors, and that nothing is missed or seen twice.
bats_require_minimum_version 1.5.0
load helper

# evsub with a bound on its time.
sub() { # ARG…
    timeout 60 evsub "$@"
}

# Fails unless evsub ARG… prints EXPECTED (a printf format) and exits 0.
assert_sub() { # EXPECTED ARG…
    # shellcheck disable=SC2059 # a format is what is wanted
    printf "$1" >expected
    sub "${@:2}" >actual || { echo "evsub ${*:2}: exit $?"; return 1; }
    diff -a expected actual || { echo "evsub ${*:2}"; return 1; }
}

# 1 a one, 2 a.b two, 3 a.b.c three, 4 a.b four, 5 d five
five_events() {
    printf 'a\tone\na.b\ttwo\na.b.c\tthree\na.b\tfour\nd\tfive\n' | evpub -T
}

@test "--from first, now, a seq, one after the head, -N and last" {
    start_hub
    five_events
    assert_sub 'one\ntwo\nthree\nfour\nfive\n' --from first -e
    assert_sub 'one\ntwo\nthree\nfour\nfive\n' --from 1 -e
    assert_sub 'four\nfive\n' --from 4 -e
    assert_sub '' --from 6 -e
    assert_sub '' --from now -e
    assert_sub '' -e
    assert_sub 'five\n' --from last -e
    assert_sub 'four\nfive\n' --from -2 -e
    assert_sub 'four\nfive\n' --from=-2 -e
    assert_sub 'one\ntwo\nthree\nfour\nfive\n' --from -5 -e
    assert_sub 'one\ntwo\nthree\nfour\nfive\n' --from -1000000 -e
}

@test "--from with patterns: last and -N count what matches" {
    start_hub
    five_events
    assert_sub 'two\nfour\n' --from first -e a.b
    assert_sub 'two\nfour\n' --from first -e 'a.*'
    assert_sub 'two\nthree\nfour\n' --from first -e 'a.#'
    assert_sub 'one\nfive\n' --from first -e '*'
    assert_sub 'one\ntwo\nthree\nfour\nfive\n' --from first -e '#'
    assert_sub 'three\n' --from first -e '*.*.c'
    assert_sub 'one\ntwo\nfour\n' --from first -e a a.b
    assert_sub 'four\n' --from last -e a.b
    assert_sub 'one\n' --from last -e a
    assert_sub 'three\nfour\n' --from -2 -e 'a.#'
    assert_sub 'two\nthree\nfour\n' --from -99 -e 'a.#'
    assert_sub 'four\n' --from 3 -e a.b
    assert_sub '' --from first -e nothing.here
    assert_sub '' --from last -e nothing.here
    assert_sub '' --from -3 -e nothing.here
}

@test "an empty journal: every position, -e ends at once" {
    start_hub
    local from
    for from in first last now 1 -1 -10 10m today @0; do
        assert_sub '' --from "$from" -e
    done
    assert_sub '' --last-per-topic -e
}

@test "--from TIME: every form is taken" {
    start_hub
    evpub a x
    local from
    for from in 10s 10m 1h30m 2d 2020-01-01T00:00:00Z '2020-01-01 00:00:00Z' 2020-01-01T00:00Z 2020-01-01T00:00:00.25Z \
        2020-01-01T00:00:00+01:00 2020-01-01T00:00:00 '2020-01-01 00:00' 2020-01-01 yesterday 'yesterday 00:30' @0 \
        @1500000000 @1500000000.5; do
        assert_sub 'x\n' --from "$from" -e
    done
    for from in 2100-01-01T00:00:00Z 2100-01-01 @4102444800; do
        assert_sub '' --from "$from" -e
    done
    # Where it is noon: midnight is not between the two.
    TZ=XXX$(($(date -u +%-H) - 12)) assert_sub 'x\n' --from today -e
}

@test "--from TIME begins at the event of that time, to the nanosecond" {
    start_hub
    evpub a one
    evpub a two
    evpub a three
    local two
    two=$(sub --from 2 -n 1 -F %T)
    [[ $two =~ ^20[0-9-]+T[0-9:]+\.[0-9]{9}Z$ ]]
    assert_sub 'two\nthree\n' --from "$two" -e
    assert_sub 'two\nthree\n' --from "${two/T/ }" -e
}

@test "--from: what is no position is 64 and said" {
    start_hub
    local from
    for from in '' x 0x1 1.5 --1 -x 10y 2026-13-01 2026-02-30 2026-11-23T25:00:00Z 2026-11-23T10:00:00Q 25:00 @ @x \
        99999999999999999999999 -99999999999999999999999 firstly 'tomorrow never' '1 2'; do
        run -64 sub --from "$from" -e
        [[ ${#lines[@]} == 1 && $output == evsub:\ --from:* ]] || { echo "from '$from': $output"; return 1; }
    done
}

@test "bad patterns are 65 and named; usage is 64" {
    start_hub
    local pattern
    for pattern in '' . a. .a 'a..b' '#.a' 'a.#.b' 'a b' 'a*' '*a' 'a#' "$(head -c 256 /dev/zero | tr '\0' x)"; do
        run -65 sub -e "$pattern"
        [[ ${#lines[@]} == 1 && $output == evsub:\ * ]]
    done
    local args
    for args in --nonsense '-n x' '-n -1' '-W x' '-W -1' '--ready-fd 77' '--ready-fd x' '--ready-fd 1' '-J -F %p' '-0 -r' \
        '-F %q' '-F %' '-F %h' '-F %h{x' '--from first --last-per-topic' '--timeout x' '-u nonsense' '-e=1' -F; do
        # shellcheck disable=SC2086 # several words
        run -64 sub -e $args
        [[ ${#lines[@]} == 1 && $output == evsub:\ * ]] || { echo "$args: $output"; return 1; }
    done
}

@test "--last-per-topic: each topic's newest in the journal's order, then live, without a gap" {
    start_hub
    five_events
    assert_sub 'one\nthree\nfour\nfive\n' --last-per-topic -e
    assert_sub 'three\nfour\n' --last-per-topic -e 'a.#'
    start_sub out --last-per-topic -n 5 -t
    evpub a.b six
    wait_for_exit "$SUB_PID"
    printf 'a\tone\na.b.c\tthree\na.b\tfour\nd\tfive\na.b\tsix\n' | cmp - out
}

@test "--last-per-topic with 3,000 topics gives 3,000 events" {
    start_hub
    seq 9000 | awk '{ print "t." $1 % 3000 "\t" $1 }' | evpub -T
    sub --last-per-topic -e >actual
    seq 6001 9000 | cmp - actual
}

@test "-n ends after COUNT, from the past and live; -n 0 at once" {
    start_hub
    five_events
    assert_sub 'one\ntwo\n' --from first -n 2
    assert_sub 'two\nfour\n' --from first -n 2 a.b
    assert_sub '' --from first -n 0
    start_sub out --from 5 -n 2
    evpub a six
    wait_for_exit "$SUB_PID"
    printf 'five\nsix\n' | cmp - out
}

@test "-W: 1 when -n was not reached, else 0; every event starts it anew" {
    start_hub
    five_events
    run -1 sub --from first -n 6 -W 0.1
    [[ ${#lines[@]} == 5 ]]
    run -1 sub -n 1 -W 50ms
    run -0 sub --from first -W 0.1
    [[ ${#lines[@]} == 5 ]]
    run -0 sub --from first -n 5 -W 0.1
    run -0 sub -W 0.05
    run -0 sub --from first -e -n 9 -W 5
}

@test "-W: begins when it is subscribed, also where the hub has answered before it waited" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o patient.so "$ROOT/tests/peers/patient.c"
    start_hub
    LD_PRELOAD=$PWD/patient.so start_sub out -n 1 -W 60 t
    LD_PRELOAD=$PWD/patient.so start_sub ran -n 1 -W 60 t -- cat
    local running=$SUB_PID printed=${STARTED[-2]}
    evpub t here
    wait_for_exit "$printed"
    wait_for_exit "$running"
    [[ $(cat out ran) == $'here\nhere' ]]
}

@test "-W: a reader that was itself stopped reads first what came meanwhile" {
    start_hub
    start_sub out -n 1 -W 2 t
    kill -STOP "$SUB_PID"
    evpub t here
    run -0 evsub -W 2.5 t # while the other's time passes
    kill -CONT "$SUB_PID"
    wait_for_exit "$SUB_PID"
    [[ $(cat out) == here ]]
}

@test "-W: the same for one that was stopped for a moment only" {
    skip_if_sanitized
    local clock
    cc -shared -fPIC -Wall -Werror -o drowsy.so "$ROOT/tests/peers/drowsy.c"
    start_hub
    mkfifo clock
    exec {clock}<>clock
    LD_PRELOAD=$PWD/drowsy.so start_sub out -n 1 -W 2 t
    LD_PRELOAD=$PWD/drowsy.so start_sub ran -n 1 -W 2 t -- cat
    local running=$SUB_PID printed=${STARTED[-2]}
    kill -STOP "$printed" "$running"
    evpub t here
    read -r -t 2 -u "$clock" || true # just over their time
    kill -CONT "$printed" "$running"
    wait_for_exit "$printed"
    wait_for_exit "$running"
    assert_equal "$(cat out ran)" $'here\nhere'
}

@test "a signal ends it also while a hub that is stopped is asked how far it is" {
    start_hub
    evpub t x
    evsub -c ./cursor --from first -n 1 t
    kill -STOP "$HUB_PID"
    mkfifo clock
    start evsub --timeout 0 -c ./cursor t
    local pid=$PID status=0
    read -r -t 0.3 <>clock || true # so that it asks
    kill -TERM "$pid"
    wait_for_exit "$pid" || status=$?
    kill -CONT "$HUB_PID"
    assert_equal "$status" 143
}

@test "a signal interrupts a call that only looks: no request is lost by that, and no connection" {
    skip_if_sanitized
    cc -shared -fPIC -Wall -Werror -o interrupted.so "$ROOT/tests/peers/interrupted.c"
    start_hub
    seq 300 >lines
    LD_PRELOAD=$PWD/interrupted.so run -0 timeout 20 evpub --timeout 0 t <lines
    LD_PRELOAD=$PWD/interrupted.so run -0 timeout 20 evsub --timeout 0 --from first -e t
    assert_output "$(cat lines)"
    LD_PRELOAD=$PWD/interrupted.so run -0 timeout 20 evsub --timeout 0 -g g --from first -e t
    assert_output "$(cat lines)"
    LD_PRELOAD=$PWD/interrupted.so start_sub out --timeout 0 -n 1 t
    evpub t live
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat out)" live
}

@test "-e ends at the head that stood at the start, while a publisher goes on" {
    start_hub
    mkfifo go
    : >seqs
    start bash -c 'exec yes "a line" >go'
    start bash -c 'exec evpub -p a <go >seqs'
    local flood=$PID
    wait_for_lines seqs 5000
    sub --from first -e -F '%s\n' >out
    kill -TERM "$flood"
    wait_for_exit "$flood" || true
    local count
    count=$(wc -l <out)
    ((count >= 5000))
    seq "$count" | cmp - out
}

@test "patterns that overlap print an event once, from the past and live" {
    start_hub
    five_events
    assert_sub 'two\nthree\nfour\n' --from first -e a.b 'a.*' 'a.#' a.b '*.b'
    start_sub out -n 2 a.b 'a.*' 'a.#' '#'
    evpub a.b six
    evpub d seven
    wait_for_exit "$SUB_PID"
    printf 'six\nseven\n' | cmp - out
}

# ---- forms ----

# What FORM prints for the topics and payloads given.
expect_form() { # FORM TOPIC PAYLOAD…
    local form=$1 end='\n' prefix
    shift
    [[ $form != *-0* ]] || end='\0'
    [[ $form != *-r* ]] || end=''
    while (($#)); do
        prefix=''
        [[ $form != *-t* ]] || prefix=$1$TAB
        case $form in
        *-J*) printf "%s{J %s %s}$end" "$prefix" "$1" "$2" ;;
        *-F*)
            [[ $form == *-0* ]] || end=''
            printf "%s<%s %s>$end" "$prefix" "$1" "$2"
            ;;
        *) printf "%s%s$end" "$prefix" "$2" ;;
        esac
        shift 2
    done
}

# A JSON object of evsub as expect_form has it.
short_json() {
    sed -zE 's/\{"seq":[^{}]*"topic":"([^"]*)"[^{}]*"headers":\{[^{}]*\},"payload":"([^"]*)"\}/{J \1 \2}/g'
}

@test "every option holds with every output form" {
    start_hub
    five_events
    local form args label
    local -a a
    for form in '' -t -0 -r '-t -0' '-t -r' -J '-J -t' '-J -0' '-J -r' '-J -t -0' '-J -t -r' -F '-F -t' '-F -0' '-F -r' \
        '-F -t -0' '-F -t -r'; do
        while IFS='|' read -r args label; do
            a=()
            [[ $form != *-F* ]] || a=(-F '<%t %p>')
            # shellcheck disable=SC2086 # several words
            sub ${form//-F/} "${a[@]}" $args >got || { echo "form '$form', $args: exit $?"; return 1; }
            short_json <got >actual
            # shellcheck disable=SC2086
            expect_form "$form" $label >expected
            cmp expected actual || { echo "form '$form', $args:"; cat -A got; return 1; }
            rm -f cursor
        done <<'TABLE'
--from first -n 2|a one a.b two
--from first -e a.b|a.b two a.b four
--from -2 -e|a.b four d five
--from last -n 1 a.#|a.b four
--last-per-topic -e a.b a|a one a.b four
--from 4 -W 0.01|a.b four d five
-c ./cursor --from 5 -e|d five
--from 1h -n 1 --allow-gap -v|a one
--from first -n 0|
TABLE
    done
}

@test "live events in every output form" {
    start_hub
    local form pids=() i=0
    for form in -t -0 -r '-t -0' -J -F%p -F%t=%s; do
        # shellcheck disable=SC2086
        start_sub "out$i" $form -n 2
        pids+=("$SUB_PID")
        i=$((i + 1))
    done
    evpub a one
    evpub b two
    for i in "${!pids[@]}"; do
        wait_for_exit "${pids[i]}"
    done
    printf 'a\tone\nb\ttwo\n' | cmp - out0
    printf 'one\0two\0' | cmp - out1
    printf onetwo | cmp - out2
    printf 'a\tone\0b\ttwo\0' | cmp - out3
    [[ $(jq -r .payload out4) == $'one\ntwo' ]]
    printf onetwo | cmp - out5
    printf 'a=1b=2' | cmp - out6
}

@test "-F: each escape, %h{NAME} there and not, %%, bytes as they are" {
    start_hub
    printf 'x\0\377y' | evpub -s -H k=v -H 'K two=w x' a.b
    evpub a.b z
    sub --from first -e -F '%t|%s|%v|%p|%h{k}|%h{K two}|%h{none}|%%|%n|\n|\t|\0|\\|ä\n' >actual
    printf 'a.b|1|1|x\0\377y|v|w x||%%|\n|\n|\t|\0|\\|ä\na.b|2|2|z||||%%|\n|\n|\t|\0|\\|ä\n' >expected
    cmp expected actual
    run -0 sub --from first -n 1 -F '%T %i'
    assert_output --regexp '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z [0-9a-f]{32}-[0-9]+-[0-9]+$'
    assert_sub '' --from first -e -F ''
}

@test "-J: names, types, and that each is one line of JSON" {
    start_hub
    printf 'a"\\\n\r\t\1\177\342\200\250' | evpub -s -H 'q"=\' 'top"ic'
    run -0 sub --from first -e -J
    [[ ${#lines[@]} == 1 ]]
    jq -e '.seq == 1 and .version == 1 and (.time | type == "string") and .topic == "top\"ic" and (.id | length > 0)
        and .headers == {"q\"": "\\"} and .payload == "a\"\\\n\r\t\u0001\u007f\u2028"
        and (has("payload_base64") or has("live") | not)' <<<"$output"
}

@test "-J: every byte value, headers and ids round trip through evsub -J, evpub -J, evsub -J" {
    start_hub
    "$PYTHON" - >lines <<'PY'
import base64, json
for i in range(256):
    print(json.dumps({"topic": "byte.%d" % (i % 7), "id": "id-%d" % i, "headers": {"n": str(i), "ü": ""},
                      "payload_base64": base64.b64encode(bytes([i])).decode()}))
for i in range(256):
    print(json.dumps({"topic": "rot", "payload_base64": base64.b64encode(bytes((i + j) % 256 for j in range(256))).decode()}))
for text in ("", "\0", "a\nb", "\U0001f600", "\ud7ff\ue000\uffff", "\x7f\x80", "\u2028", "\\u0041", "</script>"):
    print(json.dumps({"topic": "text", "payload": text, "headers": {"t": text.replace("\0", "0").replace("\n", " ")}}))
for bad in (b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"ok\xff"):
    print(json.dumps({"topic": "bad", "payload_base64": base64.b64encode(bad).decode()}))
PY
    evpub -J <lines
    sub --from first -e -J >first
    sub --from first -e -0 >first.bytes
    [[ $(wc -l <first) == $(wc -l <lines) ]]
    # Against an implementation that is not ours.
    "$PYTHON" - <<'PY'
import base64, json
def payload(o):
    return base64.b64decode(o["payload_base64"]) if "payload_base64" in o else o["payload"].encode()
for want, got in zip(open("lines"), open("first"), strict=True):
    want, got = json.loads(want), json.loads(got)
    assert payload(want) == payload(got), (want, got)
    assert want["topic"] == got["topic"] and want.get("headers", {}) == got["headers"], (want, got)
    assert want.get("id", got["id"]) == got["id"], (want, got)
PY
    JOURNAL=$BATS_TEST_TMPDIR/journal2 EVBUS_URL=ipc://$BATS_TEST_TMPDIR/bus2
    start_hub
    evpub -J <first
    sub --from first -e -J >second
    sub --from first -e -0 >second.bytes
    cmp first.bytes second.bytes
    cmp <(jq -cS 'del(.time)' first) <(jq -cS 'del(.time)' second)
}

# ---- cursors ----

# A cursor's name that nobody else has, and its file: root's are not under $XDG_STATE_HOME.
own_name() {
    NAME=bats-$$-$BATS_TEST_NUMBER-$RANDOM
    NAME_FILE=$XDG_STATE_HOME/evbus/cursors/$NAME
    [[ $(id -u) != 0 ]] || NAME_FILE=/var/lib/evbus/cursors/$NAME
}

teardown() {
    [[ -z ${NAME_FILE:-} ]] || rm -f "$NAME_FILE" "$NAME_FILE.lock"
    evb_teardown
}

@test "-c FILE and -c NAME: each run goes on where the last ended" {
    start_hub
    five_events
    own_name
    local cursor
    for cursor in ./file.cursor "$PWD/abs.cursor" "$NAME"; do
        assert_sub 'one\ntwo\n' -c "$cursor" --from first -n 2
        assert_sub 'three\n' -c "$cursor" --from first -n 1
        assert_sub 'four\nfive\n' -c "$cursor" -e
        assert_sub '' -c "$cursor" -e
    done
    echo 6 >expected
    cmp expected file.cursor
    cmp expected "$NAME_FILE"
    evpub a six
    assert_sub 'six\n' -c "$NAME" -e
    # With a pattern, what does not match is passed.
    evpub a seven
    evpub d eight
    assert_sub 'eight\n' -c "$NAME" -e d
    assert_sub '' -c "$NAME" -e
}

@test "-c with -n 0 makes the cursor before anything is published" {
    start_hub
    evpub a old
    assert_sub '' -c ./mine --from now -n 0
    evpub a new
    assert_sub 'new\n' -c ./mine -e
    assert_sub '' -c ./other -n 0
    evpub a newer
    assert_sub 'newer\n' -c ./other -e
}

@test "two on one cursor: the second is refused, and names the first" {
    start_hub
    start_sub out -c ./cursor
    run -75 evsub -c ./cursor -e
    assert_output "evsub: ./cursor.lock: held by another process, pid $SUB_PID"
    kill -KILL "$SUB_PID"
    wait_for_exit "$SUB_PID" || true
    evpub a x
    run -0 evsub -c ./cursor -e
    assert_output x
    run -64 evsub -c ./cursor.lock -e
    assert_output --partial 'a cursor'
}

@test "-c: a cursor file that is not one is 65, one that cannot be made is a fault" {
    start_hub
    local text
    for text in x '' -1 1.5 '1 2' 99999999999999999999999 0x10 $'1\n2'; do
        printf '%s\n' "$text" >cursor
        run -65 sub -c ./cursor -e
        assert_output --partial cursor
        [[ $(cat cursor) == "$text" ]]
    done
    mkdir directory
    run sub -c ./directory -e
    [[ $status == 65 || $status == 74 ]]
    assert_sub '' -c ./made/on/the/way --from now -n 0
    assert_file_exist made/on/the/way
    : >file
    run sub -c ./file/cursor --from now -n 0
    [[ $status == 65 || $status == 74 ]] || { echo "exit $status: $output"; return 1; }
    run sub -c '' -e
    [[ $status == 64 || $status == 65 ]] || { echo "exit $status: $output"; return 1; }
}

@test "-c after the head, as of a lost journal, is said" {
    start_hub
    evpub a x
    echo 1000 >cursor
    run timeout 20 evsub -c ./cursor -e
    echo "exit $status: $output"
    [[ $status != 124 ]]
    [[ $(cat cursor) == 1000 ]]
}

@test "-c: killed with SIGKILL again and again, none is left out" {
    start_hub
    local round i=0 last=0 first before
    : >all
    for round in 1 2 3; do
        before=$(cat cursor 2>/dev/null) || before=''
        start_sub "out$round" -c ./cursor --from first
        # Publishes until the cursor has moved: it does so within a second or two.
        SECONDS=0
        while [[ $(cat cursor) == "$before" || $(cat cursor) == 1 ]] && ((SECONDS < 10)); do
            i=$((i + 1))
            evpub n "$i"
        done
        kill -KILL "$SUB_PID"
        wait_for_exit "$SUB_PID" || true
        [[ $(cat cursor) =~ ^[0-9]+$ ]]
        # In order without a gap, and from no later than what was printed before.
        first=$(head -n 1 "out$round")
        ((first <= last + 1))
        last=$(tail -n 1 "out$round")
        seq "$first" "$last" | cmp - "out$round"
        (($(cat cursor) <= last + 1))
    done
    sub -c ./cursor -e >rest
    first=$(head -n 1 rest)
    [[ -z $first ]] || { ((first <= last + 1)) && seq "$first" "$i" | cmp - rest; }
    [[ -n $first || $last == "$i" ]]
    assert_equal "$(echo cursor*)" 'cursor cursor.lock'
}

@test "SIGTERM under load: 143, whole lines, and the cursor is exactly after the last one" {
    start_hub
    seq 300000 | evpub n
    start_sub out -c ./cursor --from first
    wait_for_lines out 1000
    local status=0
    kill -TERM "$SUB_PID"
    wait_for_exit "$SUB_PID" || status=$?
    [[ $status == 143 ]]
    seq "$(wc -l <out)" | cmp - out
    [[ $(cat cursor) == $(($(wc -l <out) + 1)) ]]
    sub -c ./cursor -e >>out
    seq 300000 | cmp - out
}

@test "SIGTERM and SIGINT when idle: all is written, 143 and 130" {
    start_hub
    local sig status
    for sig in TERM INT; do
        start_sub "$sig" --from first
        evpub a "$sig"
        wait_for_text "$sig" "$sig"
        status=0
        kill -"$sig" "$SUB_PID"
        # SIGINT is ignored by what a script starts in the background, unless evsub takes it.
        wait_for_exit "$SUB_PID" || status=$?
        [[ $status == $((128 + $(kill -l "$sig"))) ]] || { echo "$sig: exit $status"; return 1; }
        [[ ! -s $sig.err ]]
    done
}

# ---- the seam, pipes ----

@test "the seam: evsub --from first started while 200,000 lines stream in sees all once and in order" {
    start_hub
    seq 200000 >lines
    mkfifo in
    : >seqs
    start bash -c 'exec evpub -p n <in >seqs'
    local pub=$PID pids=() i
    start bash -c 'exec cat lines >in'
    for i in 1 20000 60000; do
        wait_for_lines seqs "$i"
        start_sub "out$i" --from first -n 200000
        pids+=("$SUB_PID")
    done
    wait_for_exit "$pub"
    for i in "${pids[@]}"; do
        wait_for_exit "$i"
    done
    for i in 1 20000 60000; do
        cmp lines "out$i"
        [[ ! -s out$i.err ]]
    done
}

@test "ready-fd: a newline and the end of it; what is published then comes" {
    start_hub
    local i
    for i in 1 2 3 4 5; do
        start_sub "out$i" -n 1
        evpub a "$i"
        wait_for_exit "$SUB_PID"
        [[ $(cat "out$i") == "$i" ]]
    done
    mkfifo ready
    start bash -c 'exec evsub --ready-fd 8 8>ready'
    run -0 timeout 10 cat ready
    [[ $output == '' ]]
}

@test "-v: subscribed, caught up, the hub is gone, reconnected" {
    start_hub
    five_events
    start_sub out -v --from first --timeout 20 -n 6
    wait_for_text out.err '^evsub: subscribed'
    wait_for_text out.err '^evsub: caught up at seq 5'
    stop_hub
    wait_for_text out.err '^evsub: the hub is gone'
    start_hub
    wait_for_text out.err '^evsub: reconnected'
    evpub a six
    wait_for_exit "$SUB_PID"
    [[ $(wc -l <out) == 6 ]]
}

@test "-v -e: caught up" {
    start_hub
    five_events
    run -0 --separate-stderr timeout 10 evsub -v -e --from first a
    # shellcheck disable=SC2154 # set by run --separate-stderr
    assert_equal "$stderr" 'evsub: caught up at seq 5'
    run -0 timeout 10 evsub -v -e a
    assert_output 'evsub: caught up at seq 5'
}

@test "evsub | head -1 ends at once, without another event" {
    start_hub
    five_events
    # shellcheck disable=SC2016
    run -0 timeout 10 bash -c 'evsub --from first | head -n 1; echo "${PIPESTATUS[0]}"'
    assert_line -n 0 one
    assert_line -n 1 141
    # And when it is the live event that the reader was waiting for.
    mkfifo pipe
    exec 8<>pipe
    # 8>&-: the only reader is this shell.
    start bash -c 'exec evsub --from last >pipe 2>pipe.err 8>&-'
    SUB_PID=$PID
    local line status=0
    read -r -t 10 line <&8
    [[ $line == five ]]
    evpub a six
    read -r -t 10 line <&8
    [[ $line == six ]]
    exec 8<&-
    wait_for_exit "$SUB_PID" || status=$?
    [[ $status == 141 ]] || { echo "exit $status"; return 1; }
    [[ ! -s pipe.err ]]
}

@test "a pipe shows each event at once" {
    start_hub
    mkfifo pipe
    exec 8<>pipe
    start_sub pipe
    local i line
    for i in 1 2 3; do
        evpub a "$i"
        read -r -t 10 line <&8
        [[ $line == "$i" ]]
    done
    exec 8<&-
}

@test "a closed or full stdout is 74, and the cursor does not move" {
    start_hub
    five_events
    assert_sub '' -c ./mine --from now -n 0
    evpub a six
    run -74 bash -c 'timeout 10 evsub -c ./mine -e >&-'
    [[ ${#lines[@]} == 1 ]]
    run -74 bash -c 'timeout 10 evsub -c ./mine -e >/dev/full'
    [[ ${#lines[@]} == 1 ]]
    assert_sub 'six\n' -c ./mine -e
}

@test "a reader that is slow loses nothing and does not stop the publisher" {
    start_hub
    mkfifo pipe
    exec 8<>pipe
    start_sub pipe -n 150000
    seq 150000 | timeout 20 evpub n
    head -n 150000 <&8 >out
    exec 8<&-
    seq 150000 | cmp - out
    wait_for_exit "$SUB_PID"
}

# ---- retention ----

# A journal that has lost its beginning. $FIRST and $LAST, the seqs that are left.
start_retained_hub() {
    start_hub --segment 64K --retain 256K
    seq -f '%0999.0f' 2000 | evpub --timeout 60 n
    # The hub looks after its journal now and then: publish until it has.
    SECONDS=0 FIRST=1 LAST=2000
    while ((FIRST == 1 && SECONDS < 15)); do
        LAST=$(evpub -p n x)
        FIRST=$(sub --from first -n 1 -F %s)
    done
    ((FIRST > 1))
    # It may still be at work: from here on nothing goes.
    stop_hub
    start_hub --segment 64K --retain 0
    FIRST=$(sub --from first -n 1 -F %s)
}

@test "a seq that retention has removed: 1, naming the first left; --allow-gap goes on there" {
    start_retained_hub
    run -1 sub --from 1 -e
    [[ ${#lines[@]} == 1 && $output == evsub:\ *"$FIRST"* ]]
    run -1 sub --from "$((FIRST - 1))" -e
    run --separate-stderr -0 sub --from 1 -e --allow-gap -F '%s\n'
    [[ ${lines[0]} == "$FIRST" && ${lines[-1]} == "$LAST" && ${#lines[@]} == $((LAST + 1 - FIRST)) ]]
    [[ $stderr == evsub:\ *"$((FIRST - 1))"* ]]
    run -0 sub --from "$FIRST" -n 1 -F %s
    assert_output "$FIRST"
    # Whole lists and times begin at what is left.
    run --separate-stderr -0 sub --from 1h -n 1 -F %s
    assert_output "$FIRST"
    run --separate-stderr -0 sub --from -1000000 -n 1 -F %s
    assert_output "$FIRST"
}

@test "a cursor in what retention has removed: 1 and it stays; --allow-gap moves it" {
    start_retained_hub
    echo 2 >cursor
    run -1 sub -c ./cursor -e
    [[ $(cat cursor) == 2 ]]
    run -0 sub -c ./cursor -e --allow-gap
    [[ $(cat cursor) == $((LAST + 1)) ]]
}

@test "no hub was ever there: 69 at once; a hub that has gone: 69 after --timeout" {
    run -69 sub -e
    start_hub
    stop_hub
    run -69 sub -e --timeout 200ms
    [[ ${#lines[@]} == 1 ]]
}

@test "--help and --version go to stdout, exit 0" {
    run --separate-stderr -0 evsub --help
    assert_output --partial 'Usage: evsub'
    [[ -z $stderr ]]
    run --separate-stderr -0 evsub --version
    assert_output --regexp '^evsub.* [0-9]'
}

@test "a wildcard beside other characters of its token is said as that" {
    run -65 evsub 'order*'
    assert_output "evsub: order*: not a pattern: '*' and '#' stand for whole tokens, alone between dots"
    run -65 evsub 'order.#x'
    run -65 evpub 'order.*' x
    assert_output "evpub: order.*: not a topic: it has a '*' or '#'"
}
