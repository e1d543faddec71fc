# evpub.bats: every form of input, what is refused and how it is said, and that exit 0 means stored.
bats_require_minimum_version 1.5.0
load helper

# What is stored: the payloads, or as ARGs say.
replay() { # ARG…
    timeout 30 evsub --from first -e "$@"
}

# A string of COUNT bytes.
bytes() { # COUNT
    head -c "$1" /dev/zero | tr '\0' x
}

# Fails unless what is stored prints as EXPECTED (a printf format), topics before payloads.
assert_stored() { # EXPECTED
    # shellcheck disable=SC2059 # a format is what is wanted
    printf "$1" >expected
    replay -t >actual
    diff -a expected actual
}

# Runs evpub ARG… on stdin made by printf INPUT; it has to exit with STATUS and say TEXT.
refuses() { # STATUS TEXT INPUT ARG…
    local status=0
    # shellcheck disable=SC2059 # a format is what is wanted
    printf "$3" | timeout 20 evpub "${@:4}" >refused.out 2>refused.err || status=$?
    [[ $status == "$1" ]] || { echo "evpub ${*:4}, input $3: exit $status, not $1: $(cat refused.err)"; return 1; }
    grep -qF -- "$2" refused.err || { echo "evpub ${*:4}, input $3: not said: $2: $(cat refused.err)"; return 1; }
    [[ $(wc -l <refused.err) == 1 ]] || { echo "not one line:"; cat refused.err; return 1; }
    grep -q '^evpub: ' refused.err
}

@test "an argument is one event, to the byte, also empty and with newlines" {
    start_hub
    evpub a one
    evpub a ''
    evpub a $'two\nlines\r\n'
    evpub a -- -x
    evpub -- a -y
    replay -0 >actual
    printf 'one\0\0two\nlines\r\n\0-x\0-y\0' | cmp - actual
}

@test "lines: empty input is no event" {
    start_hub
    run -0 evpub -p a </dev/null
    assert_output ''
    run -0 evpub -0 a </dev/null
    run -0 evpub -T </dev/null
    run -0 evpub -J </dev/null
    assert_stored ''
}

@test "lines: the last one without a newline, empty ones, CRLF and NULs are kept" {
    start_hub
    printf 'one\n\n\ntwo\r\nth\0ree\nlast' | evpub a
    replay -r -F '[%p]' >actual
    printf '[one][][][two\r][th\0ree][last]' | cmp - actual
}

@test "a newline alone is one empty event" {
    start_hub
    echo | evpub a
    assert_stored 'a\t\n'
}

@test "-0: events end with NUL, newlines are bytes, the last NUL may be missing" {
    start_hub
    printf 'one\ntwo\0\0three\n' | evpub -0 a
    replay -0 >actual
    printf 'one\ntwo\0\0three\n\0' | cmp - actual
}

@test "-0 holds with -T and -J" {
    start_hub
    printf 'a\tone\ntwo\0b\tthree' | evpub -0 -T
    printf '{"topic":"c",\n"payload":"four"}\0' | evpub -0 -J
    replay -t -0 >actual
    printf 'a\tone\ntwo\0b\tthree\0c\tfour\0' | cmp - actual
}

@test "-s and -f: all is one event, to the byte, also nothing" {
    start_hub
    printf 'a\n\0b\r\n\n' >file
    evpub -s a <file
    evpub -f file a </dev/null
    evpub -f - a <file
    evpub -s a </dev/null
    replay -F '[%p]' >actual
    { for _ in 1 2 3; do printf '['; cat file; printf ']'; done; printf '[]'; } | cmp - actual
}

@test "-f: no such file, a directory" {
    start_hub
    refuses 65 missing '' -f missing a
    refuses 74 directory '' -f . a
    assert_stored ''
}

@test "-T: a topic, a TAB and the payload; further TABs and empty payloads are the payload's" {
    start_hub
    printf 'a\tone\nb\t\na\ttwo\tthree\nc.d\tlast' | evpub -T
    assert_stored 'a\tone\nb\t\na\ttwo\tthree\nc.d\tlast\n'
}

@test "-T: a line without TAB or with a bad topic is named by number; what came before is stored" {
    start_hub
    refuses 65 'line 3' 'a\tone\na\ttwo\nbad\na\tfour\n' -T
    refuses 65 'line 2' 'a\tthree\n\tempty\n' -T
    refuses 65 'line 2' 'a\tfour\na*\tx\n' -T
    refuses 65 'line 1' "$(bytes 256)"'\tx\n' -T
    refuses 65 'line 2' 'a\tfive\n\n' -T
    assert_stored 'a\tone\na\ttwo\na\tthree\na\tfour\na\tfive\n'
}

@test "-J: what evsub -J prints is taken; unknown names are passed over" {
    start_hub
    printf '%s\n' '{"topic":"a","payload":"one","seq":99,"version":7,"time":"x","more":[1,{"a":null}]}' \
        '  {"headers":{"h":"v","k":""},"payload_base64":"AP8=","topic":"b","id":"mine"}  ' \
        '{"topic":"c"}' '{"topic":"d","payload":"\u0000\u00e4\ud83d\ude00\n"}' | evpub -J
    replay -F '%t|%p|%h{h}|%h{k}|\n' >actual
    printf 'a|one|||\nb|\0\377|v||\nc||||\nd|\0\303\244\360\237\230\200\n|||\n' >expected
    cmp expected actual
    run -0 evsub --from 2 -n 1 -F '%i\n'
    assert_output mine
}

@test "-J: a bad line is named by number and why, and what came before is stored" {
    start_hub
    local bad i=0
    while IFS= read -r bad; do
        i=$((i + 1))
        local status=0
        printf '{"topic":"ok","payload":"%s"}\n%s\n{"topic":"late"}\n' "$i" "$bad" |
            evpub -J 2>err || status=$?
        [[ $status == 65 ]] || { echo "exit $status with: $bad"; cat err; return 1; }
        grep -q '^evpub: .*line 2' err || { echo "not named: $bad"; cat err; return 1; }
        grep -q '1 event stored' err || { echo "not counted: $bad"; cat err; return 1; }
    done <<'BAD'
foo

[]
"a"
{}
{"topic":"a"
{"topic":"a"} x
{"topic":1}
{"topic":""}
{"topic":"a b"}
{"topic":"$own"}
{"topic":"a","payload":1}
{"topic":"a","payload":{"x":1}}
{"topic":"a","payload_base64":"A"}
{"topic":"a","payload_base64":"AP8"}
{"topic":"a","payload_base64":"!!!!"}
{"topic":"a","payload_base64":7}
{"topic":"a","headers":[]}
{"topic":"a","headers":{"h":1}}
{"topic":"a","headers":{"":"x"}}
{"topic":"a","id":7}
{"topic":"a","payload":"\ud800"}
BAD
    [[ $(replay ok | wc -l) == "$i" ]]
    run -0 replay late
    assert_output ''
}

@test "-J: bytes that are not UTF-8 are refused, not changed" {
    start_hub
    refuses 65 'line 1' '{"topic":"a","payload":"\377"}\n' -J
    assert_stored ''
}

@test "-H: headers round trip, with = in the value, empty and not ASCII" {
    start_hub
    evpub -H a=1 -H b= -H 'c=x=y z' --header 'dä=ö' t one
    printf 'two\nthree\n' | evpub -H a=2 t
    printf 'u\tfour\n' | evpub -H a=3 -T
    run -0 replay -J
    local json=$output
    run -0 jq -c .headers <<<"$json"
    assert_line -n 0 '{"a":"1","b":"","c":"x=y z","dä":"ö"}'
    assert_line -n 1 '{"a":"2"}'
    assert_line -n 2 '{"a":"2"}'
    assert_line -n 3 '{"a":"3"}'
}

@test "-H: 64 headers are taken, 65 are not" {
    start_hub
    local args=() i
    for i in {1..64}; do args+=(-H "h$i=$i"); done
    evpub "${args[@]}" a x
    run -0 replay -F '%h{h1} %h{h64}'
    assert_output '1 64'
    refuses 64 -- '' "${args[@]}" -H h65=65 a y
}

@test "-p prints the seq of each: 10,000 lines, ascending without gaps" {
    start_hub
    seq 10000 | evpub -p a >seqs
    seq 10000 | cmp - seqs
    run -0 evpub -p a x
    assert_output 10001
    run -0 evpub -p -s a </dev/null
    assert_output 10002
    run -0 evpub -p -T <<<"b${TAB}x"
    assert_output 10003
    run -0 evpub -p -J <<<'{"topic":"c"}'
    assert_output 10004
}

@test "-p prints a seq as soon as it is stored, with stdin still open" {
    start_hub
    mkfifo in
    exec 8<>in
    start_
    local i
    for i in 1 2 3; do
        echo "line $i" >&8
        wait_for_lines seqs "$i"
    done
    printf 'last' >&8
    exec 8>&-
    wait_for_exit "$PID"
    [[ $(wc -l <seqs) == 4 ]]
}

# evpub -p a, reading the fifo in, which it opens itself.
start_() {
    : >seqs
    start bash -c 'exec evpub -p a <in >seqs 8>&-'
}

@test "-p: a closed stdout loses no event" {
    start_hub
    seq 50000 | { evpub -p a || echo "exit $?" >status; } | head -n 1 >first
    assert_not_exist status
    local status=0
    seq 10 | evpub -p b >&- || status=$? # where to print was never there: that may be said
    [[ $status == 0 || $status == 74 ]]
    replay a >actual
    seq 50000 | cmp - actual
    run -0 replay b
    assert_line -n 9 10
}

@test "-p on a full disk: what is stored is not lost for it" {
    start_hub
    local status=0
    seq 1000 | evpub -p a >/dev/full 2>err || status=$?
    [[ $status == 0 || $status == 74 ]]
    [[ $status == 0 ]] || assert_equal "$(<err)" 'evpub: stdout: No space left on device; 1000 events stored'
    replay >actual
    seq 1000 | cmp - actual
}

@test "a payload of 1 MiB is taken in every form, one byte more is refused (65)" {
    start_hub
    bytes 1048576 >mib
    { cat mib; printf x; } >more
    evpub -f mib file
    evpub -s stdin <mib
    evpub line <mib
    { printf 'topic\t'; cat mib; } | evpub -T
    { printf '{"topic":"json","payload":"'; cat mib; printf '"}'; } | evpub -J
    local t
    for t in file stdin line topic json; do
        replay -r "$t" | cmp - mib
    done
    run -65 evpub -f more file
    assert_output --regexp '^evpub: file: .*1048577 bytes.*: over the hub.s limit of 1048576 \(evbusd --max-payload\)$'
    run -65 evpub -s stdin <more
    run -65 evpub line < <(echo before; cat more)
    assert_output --partial 'line 2'
    assert_output --partial '1 event stored'
    run -65 evpub -T < <(printf 'topic\t'; cat more)
    assert_output --partial 'line 1'
    run -65 evpub -J < <(printf '{"topic":"json","payload":"'; cat more; printf '"}')
    assert_output --partial 'line 1'
    [[ $(replay -F '%s\n' | wc -l) == 6 ]]
}

@test "a line without an end is refused in bounded memory" {
    skip_if_sanitized
    start_hub
    run -65 bash -c 'ulimit -v 400000; head -c 1G /dev/zero | timeout 20 evpub a'
    assert_output --partial 'line 1'
    run -65 bash -c 'ulimit -v 400000; head -c 1G /dev/zero | timeout 20 evpub -s a'
    assert_output --regexp ': [0-9]+ bytes or more: over the hub.s limit of 1048576 '
    assert_stored ''
}

@test "a topic of 255 bytes and of 16 tokens is taken, more is refused" {
    start_hub
    evpub "$(bytes 255)" x
    evpub 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16 x
    evpub ä.ö.€ x
    refuses 65 topic '' "$(bytes 256)" x
    refuses 65 topic '' 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17 x
    [[ $(replay | wc -l) == 3 ]]
}

@test "bad topics are refused and named, before stdin is read" {
    start_hub
    local topic
    for topic in '' . a. .a a..b 'a b' 'a*' '*' a.# '#' $'a\tb' $'a\nb' $'a\177' $'\377' '$sys' 'a.$b' ' '; do
        refuses 65 topic '' "$topic" payload
        mkfifo never
        exec 8<>never
        run -65 timeout 10 evpub "$topic" <&8
        exec 8<&-
        rm never
    done
    assert_stored ''
}

@test "usage errors are 64, one line, and nothing is published" {
    start_hub
    refuses 64 TOPIC ''
    refuses 64 '' '' a b c
    refuses 64 '' '' --nonsense a b
    refuses 64 'a: given twice' '' -H a=1 -H b=1 -H a=2 t x
    refuses 64 '' '' -H a b
    refuses 64 '' '' -H =v a b
    refuses 64 '' '' -H novalue a b
    refuses 64 '' '' -H k=1 -H k=2 a b
    refuses 64 '' '' -T a
    refuses 64 '' '' -J a
    refuses 64 '' '' -T -J
    refuses 64 '' '' -J -H a=b
    refuses 64 '' '' -s -f file a
    refuses 64 '' '' -s a payload
    refuses 64 '' '' -f file a payload
    refuses 64 '' '' -0 a payload
    refuses 64 '' '' -s -0 a
    refuses 64 '' '' -s -T
    refuses 64 '' '' --live -p a b
    refuses 64 "--expect: '-1': not a whole number of 0 or more" '' --expect -1 a b
    refuses 64 "--at: 'bla': not a time, such as" '' --at bla a b
    refuses 65 "line 1: not a JSON object: column 0: '{' expected" '\n' -J
    refuses 64 '' '' --timeout x a b
    refuses 64 '' '' --timeout -1 a b
    refuses 64 '' '' -u nonsense a b
    refuses 64 '' '' -u ipc://relative a b
    refuses 64 '' '' -u tcp://localhost:0 a b
    refuses 64 '' '' -u tcp://localhost:99999 a b
    refuses 64 '' '' -p=1 a b
    assert_stored ''
}

@test "a payload that begins with - goes behind --, and who forgets that is told" {
    start_hub
    evpub a -- -v
    evpub -- b -5
    evpub c -- --
    run -0 evsub --from first -e
    assert_output $'-v\n-5\n--'
    refuses 64 '-5: no such option; a payload that begins with - goes behind --; try' '' a -5
    refuses 64 "--temp: no such option; a payload that begins with - goes behind --; try" '' -v a --temp
    run -64 evpub -H a=b -5
    assert_output "evpub: -5: no such option; try 'evpub --help'"
}

@test "--help and --version go to stdout, exit 0, without a hub" {
    run --separate-stderr -0 evpub --help
    assert_output --partial 'Usage: evpub'
    [[ -z $stderr ]]
    run --separate-stderr -0 evpub --version
    assert_output --regexp '^evpub.* [0-9]'
    [[ -z $stderr ]]
    run -74 bash -c 'evpub --help >/dev/full'
}

@test "PAYLOAD never touches stdin: a while read loop keeps its lines" {
    start_hub
    seq 20 | while read -r line; do
        evpub a "$line"
    done
    replay >actual
    seq 20 | cmp - actual
    evpub a closed <&-
}

@test "-f never touches stdin" {
    start_hub
    echo file >file
    seq 3 | { evpub -f file a; cat; } >rest
    seq 3 | cmp - rest
}

@test "-T through a file descriptor serves a bash script" {
    start_hub
    # shellcheck disable=SC2016
    run -0 bash -c '
        exec 3> >(evpub -T)
        pid=$!
        for i in {1..100}; do
            printf "job.%s\tline %s\n" "$((i % 3))" "$i" >&3
        done
        exec 3>&-
        wait $pid' 3>&-
    replay >actual
    seq -f 'line %g' 100 | cmp - actual
}

@test "-T through a fifo serves a dash script, each line at once" {
    start_hub
    start_sub live -n 2 -t
    # shellcheck disable=SC2016
    run -0 timeout 20 dash -c '
        mkfifo events
        evpub -T <events &
        exec 3>events
        printf "job.started\t%s\n" one >&3
        timeout 10 evsub --from 1 -n 1 -W 9 || exit 9
        printf "job.ended\t%s\n" two >&3
        exec 3>&-
        wait $!' 3>&-
    assert_output one
    wait_for_exit "$SUB_PID"
    printf 'job.started\tone\njob.ended\ttwo\n' | cmp - live
}

@test "SIGINT in mid-stream: ends by it, says how many are stored, and so many are in the journal" {
    start_hub
    mkfifo in
    : >seqs
    start bash -c 'exec yes "a line of a stream" >in'
    start bash -c 'exec env --default-signal=INT evpub -p a <in >seqs 2>err'
    local pid=$PID status=0 said
    wait_for_lines seqs 2000
    kill -INT "$pid"
    wait_for_exit "$pid" || status=$?
    [[ $status == 130 ]] || { echo "exit $status"; cat err; return 1; }
    said=$(sed -nE 's/.* ([0-9]+) events? (is |are )?stored.*/\1/p' err)
    echo "said: $(cat err)"
    [[ -n $said && $said == "$(wc -l <seqs)" && $said == "$(replay | wc -l)" ]]
}

@test "SIGTERM while stdin is silent: 143, the count is said" {
    start_hub
    mkfifo in
    exec 8<>in
    start_
    printf '1\n2\n' >&8
    wait_for_lines seqs 2
    local status=0
    kill -TERM "$PID"
    wait_for_exit "$PID" || status=$?
    exec 8>&-
    [[ $status == 143 && $(replay | wc -l) == 2 ]]
}

@test "SIGINT while no hub answers: ends at once" {
    start_hub
    stop_hub
    # timeout is the clock here: it sends the signal and waits.
    run -130 timeout --preserve-status -k 5 -s INT 0.3 evpub --timeout 0 a x
    run -143 timeout --preserve-status -k 5 -s TERM 0.3 evpub --timeout 0 a < <(seq 10)
}

@test "1,000 one-shot publishers: each one's event is stored" {
    start_hub
    seq 1000 | xargs -P 4 -n 1 evpub one
    replay | sort -n >actual
    seq 1000 | cmp - actual
}

@test "--live: who listens sees it, in place among the stored ones; a replay does not" {
    start_hub
    start_sub live -n 4
    evpub a stored
    evpub --live a live
    printf 'l1\nl2\n' | evpub --live -H k=v b
    wait_for_exit "$SUB_PID"
    printf 'stored\nlive\nl1\nl2\n' | cmp - live
    [[ ! -s live.err ]]
    assert_stored 'a\tstored\n'
    run -0 evpub -p a next
    assert_output 2
}

@test "--live: every form of input, headers, and seq 0 with -J" {
    start_hub
    start_sub live -n 4 -J
    evpub --live -H k=v a one
    printf 'two' | evpub --live -s a
    printf 'a\tthree\n' | evpub --live -T
    printf '{"topic":"a","payload":"four","headers":{"k":"w"},"id":"mine"}\n' | evpub --live -J
    wait_for_exit "$SUB_PID"
    run -0 jq -rc '[.seq, .live, .payload, .headers.k] | tostring' live
    assert_line -n 0 '[0,true,"one","v"]'
    assert_line -n 1 '[0,true,"two",null]'
    assert_line -n 2 '[0,true,"three",null]'
    assert_line -n 3 '[0,true,"four","w"]'
    assert_stored ''
}

@test "-v says how many were stored" {
    start_hub
    run -0 evpub -v a x
    assert_output --regexp '^evpub: .*1 event'
    run -0 evpub -v a < <(seq 1000)
    assert_output --regexp '^evpub: .*1000 events'
}

@test "no hub was ever there: 69 at once; one that has gone: 69 after --timeout" {
    run -69 timeout 20 evpub --timeout 60 a x
    assert_output --regexp '^evpub: .*evbusd'
    run -69 evpub -u tcp://127.0.0.1:1 --timeout 200ms a x
    start_hub
    stop_hub
    run -69 timeout 20 evpub --timeout 200ms a x
}

@test "--expect: stores only at that version, all lines or none, and says which it is" {
    start_hub
    run -0 evpub --expect 0 --print-version order.123 < <(printf 'a\nb\n')
    assert_output $'1\n2'
    run -1 --separate-stderr evpub --expect 1 order.123 < <(printf 'c\nd\n')
    assert_equal "$stderr" 'evpub: order.123: expected version 1, is 2'
    run -1 --separate-stderr evpub --expect 0 order.123 c
    assert_equal "$stderr" 'evpub: order.123: expected version 0, is 2'
    run -0 evpub --expect 2 -p order.123 c
    assert_output 3
    run -1 evpub --expect 1 order.new x
    assert_stored 'order.123\ta\norder.123\tb\norder.123\tc\n'
}

@test "--expect and --atomic: what goes wrong leaves nothing behind" {
    start_hub
    run -64 evpub --expect 0 -T </dev/null
    run -64 evpub --atomic --live a x
    run -64 evpub --print-version a x
    run -65 evpub --atomic -J < <(printf '%s\n' '{"topic":"a","payload":"1"}' '{"topic":"b","payload":"2"}')
    assert_output --partial 'line 2: '
    run -65 evpub --atomic a < <(head -c 2000000 /dev/zero | tr '\0' x | fold -w 1000)
    assert_output --partial 'limit'
    assert_stored ''
}

@test "--atomic: one batch, larger than a frame, in pieces that come late" {
    start_hub
    mkfifo in
    evpub --atomic -p big <in >seqs &
    exec {feed}>in
    seq 50000 >&"$feed"
    run -0 evpub -p other x
    assert_output 1
    seq 50001 100000 >&"$feed"
    exec {feed}>&-
    wait $!
    seq 2 100001 | cmp - seqs
    seq 100000 | cmp - <(evsub -e --from first big)
}

@test "two hundred writers race for each version: exactly one wins" {
    start_hub
    local writers=() writer won=0
    for writer in $(seq 200); do
        timeout 60 evpub --timeout 30 --expect 0 order.1 "$writer" 2>>said &
        writers+=($!)
    done
    for writer in "${writers[@]}"; do
        if wait "$writer"; then won=$((won + 1)); fi
    done
    assert_equal "$won" 1
    assert_equal "$(sort -u said)" 'evpub: order.1: expected version 0, is 1'
    assert_equal "$(evsub -e --from first order.1 | wc -l)" 1
}

@test "--id: stored once on its topic, within a hub and over its end" {
    start_hub
    run -0 --separate-stderr evpub -p -v --id A t one
    assert_output 1
    assert_equal "$stderr" 'evpub: t: 1 event stored'
    run -0 --separate-stderr evpub -p -v --id A t two
    assert_output 1
    assert_equal "$stderr" 'evpub: t: already stored as seq 1'
    run -0 evpub -p --id A other three
    assert_output 2
    run -0 evpub -p --id A -s t </dev/null
    assert_output 1
    kill_hub
    start_hub
    run -0 evpub -p --id A t four
    assert_output 1
    stop_hub
    start_hub
    run -0 evpub -p --id A t five
    assert_output 1
    stop_hub
    rm "$JOURNAL/catalog.mdb"
    start_hub
    run -0 evpub -p --id A t six
    assert_output 1
    run -0 evsub -J --from first -e t
    assert_output --partial '"id":"A"'
    assert_equal "${#lines[@]}" 1
}

@test "-J: lines with ids that are known, between others and in one batch" {
    start_hub
    evpub --id B t old
    run -0 --separate-stderr evpub -J -p -v <<'END'
{"topic":"t","payload":"x","id":"A"}
{"topic":"t","payload":"y","id":"B"}
{"topic":"t","payload":"z"}
{"topic":"t","payload":"x","id":"A"}
{"topic":"u","payload":"x","id":"A"}
END
    assert_equal "${lines[*]}" '2 1 3 2 4'
    assert_equal "$stderr" 'evpub: 3 events stored, 2 already stored'
    run -0 evsub --from first -e t
    assert_equal "${lines[*]}" 'old x z'
}

@test "--id with --expect: the same command again is no conflict" {
    start_hub
    run -0 evpub --expect 0 --print-version --id A t one
    assert_output 1
    run -0 evpub --expect 0 --print-version --id A t one
    assert_output 1
    run -1 evpub --expect 0 --id B t two
    assert_output 'evpub: t: expected version 0, is 1'
}

@test "--id-max and --id-window: when an id is forgotten" {
    start_hub --id-max 2
    evpub --id A t one
    evpub --id B t two
    run -0 evpub -p --id A t three
    assert_output 1
    evpub --id C t four
    run -0 evpub -p --id A t five
    assert_output 4
    stop_hub
    start_hub --id-window 0
    run -0 evpub -p --id A t six
    assert_output 5
    stop_hub
    start_hub --id-max 0
    run -0 evpub -p --id A t seven
    assert_output 6
}

@test "two publishers race with one id: one event is stored" {
    local i
    start_hub
    for i in {1..20}; do
        evpub -p --id "$i" race a >>a.out 3>&- &
        evpub -p --id "$i" race b >>b.out 3>&-
        wait $!
    done
    assert_equal "$(cat a.out)" "$(cat b.out)"
    run -0 evsub --from first -e race
    assert_equal "${#lines[@]}" 20
}

@test "--id: what it does not go with" {
    run -64 evpub --id A t
    assert_output --partial '--id names one event'
    run -64 evpub --id A -J
    run -64 evpub --id A --live t x
    start_hub
    run -65 evpub --id "$(printf 'x%.0s' {1..96})" t x
}
