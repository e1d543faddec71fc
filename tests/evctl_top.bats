# evctl_top.bats: the live screen, on a terminal that a Python program plays (tests/peers/screen.py).
bats_require_minimum_version 1.5.0
load helper

# Runs evctl top on a screen of SIZE and does what is told on stdin.
on_screen() { # SIZE
    timeout 120 env LC_ALL="${LOCALE:-C.UTF-8}" TERM="${TERMINAL:-linux}" \
        "$PYTHON" "$ROOT/tests/peers/screen.py" "$1" evctl top
}

# Publishes until it is killed, paced by a clock: about 50 events a second on TOPIC.
keep_publishing() { # TOPIC…
    mkfifo clock
    # shellcheck disable=SC2016 # expanded by the inner shell
    start bash -c '
        exec 8<>clock
        while :; do
            for topic; do printf "%s\tx\n" "$topic"; done
            read -r -t 0.02 <&8
        done | evpub -T' keep_publishing "$@"
}

# The CPU ticks that processes have used.
ticks() { # PID…
    local pid
    for pid; do cat "/proc/$pid/stat"; done | awk '{ sum += $14 + $15 } END { print sum }'
}

@test "topics with their rates and sparklines; sorted by keys, the same key again reverses" {
    start_hub
    evpub quiet.one 1
    seq 20 | evpub quiet.two
    keep_publishing busy.topic
    run on_screen 100x12 <<'DO'
see ^evbus .*head \d+ +[1-9][\d.]*/s
see ^busy\.topic +[1-9][\d.]* .*[▁▂▃▄▅▆▇█]
see busy.topic[^\n]*\nquiet.one[^\n]*\nquiet.two
see ^quiet\.two +0 +20
keys n
see busy.topic[^\n]*\nquiet.one[^\n]*\nquiet.two
keys n
see quiet.two[^\n]*\nquiet.one[^\n]*\nbusy
keys e
see (busy.topic[^\n]*\nquiet.two|quiet.two[^\n]*\nbusy.topic)[^\n]*\nquiet.one
keys b
see quiet.one[^\n]*$
keys t
see TOPIC.*\nbusy
keys q
exit 0
DO
    assert_success
}

@test "groups and clients: Tab and digits change the view; help and back; pause" {
    start_hub
    evsub -g workers -n 0 --from first 'order.#'
    seq 7 | evpub order.new
    evsub -g idle -n 0 --from now '#'
    start_sub seen 'order.*' 'other.#'
    run on_screen 110x12 <<'DO'
see order.new
keys \t
see GROUP +LAG
see ^workers +7 +0 +0
see workers.*\nidle
see workers .*no members: order\.#
keys n
see idle.*\nworkers
keys 3
see CLIENT +PID
see ^evsub +\d+ .*order\.\* other\.#
keys 1
see ^TOPIC
keys ?
see any key goes back
keys x
see ^TOPIC
keys p
see PAUSED
keys p
gone PAUSED
keys \t\t\t
see ^TOPIC
keys q
exit 0
DO
    assert_success
}

@test "only the topics that match the patterns" {
    start_hub
    evpub order.one 1
    evpub other.one 1
    timeout 60 env LC_ALL=C.UTF-8 TERM=linux "$PYTHON" "$ROOT/tests/peers/screen.py" 80x10 evctl top 'order.*' <<'DO'
see order.one
see 1 Topics 1 
gone other.one
keys q
exit 0
DO
    run evctl top a..b </dev/null
    assert_failure 65
}

@test "a screen that changes its size, down to 40x8 and below" {
    start_hub
    for n in 1 2 3 4 5 6 7 8 9; do echo "topic.number.$n${TAB}x"; done | evpub -T
    run on_screen 120x30 <<'DO'
see topic.number.9
see LAST SEQ
size 40x8
see \A.*\n.*\nTOPIC +EV/S\n(topic.*\n){4}q quit
gone LAST SEQ
keys G
see topic.number.6.*\n.*\n.*\ntopic.number.9
keys g
see topic.number.1
keys \x1b[6~
see \A.*\n.*\n.*\ntopic.number.4
size 10x3
see \Aevbus
size 5x2
size 1x1
size 200x50
see LAST SEQ
see topic.number.9
keys q
exit 0
DO
    assert_success
}

@test "the hub goes and comes back; and top may be there first" {
    touch first second third fourth fifth
    mkfifo told
    start bash -c '"${@:1}" <told >top.out 2>top.said' bash timeout 60 env LC_ALL=C.UTF-8 TERM=linux \
        "$PYTHON" "$ROOT/tests/peers/screen.py" 100x10 evctl --timeout 1 top
    screen=$PID
    exec 8>told
    echo 'see waiting for the hub' >&8
    echo 'touch first' >&8
    wait_for_text first .
    start_hub
    evpub topic.one 1
    printf '%s\n' 'see topic.one' 'gone waiting' 'touch second' >&8
    wait_for_text second .
    stop_hub
    printf '%s\n' 'see waiting for the hub' 'see topic.one' 'touch third' >&8
    wait_for_text third .
    start_hub
    evpub topic.two 1
    printf '%s\n' 'see topic.two' 'gone waiting' 'touch fourth' >&8
    wait_for_text fourth .
    # A hub that is stopped does not answer; the keys do.
    kill -STOP "$HUB_PID"
    printf '%s\n' 'see waiting for the hub: .*not answer' 'keys 2' 'see GROUP' 'touch fifth' >&8
    wait_for_text fifth .
    kill -CONT "$HUB_PID"
    printf '%s\n' 'gone waiting' 'keys q' 'exit 0' >&8
    exec 8>&-
    wait_for_exit "$screen" || { cat top.said; false; }
}

@test "signals end it, and the terminal is as it was" {
    local name
    start_hub
    for name in INT TERM HUP QUIT; do
        run on_screen 80x10 <<DO
see Topics
signal $name
exit 0
DO
        assert_success
    done
    run on_screen 80x10 <<'DO'
see Topics
keys \x03
exit 0
DO
    assert_success
    run on_screen 80x10 <<'DO' # ^S, else the screen would stand still, and the program with it
see Topics
keys \x13?
see any key goes back
signal TERM
exit 0
DO
    assert_success
}

@test "ASCII where the locale is not UTF-8, and no colours under NO_COLOR" {
    start_hub
    keep_publishing grün.topic
    LOCALE=C run on_screen 100x10 <<'DO'
see ^gr\?+n\.topic +[1-9][\d.]* .*[.:=+*#@-]
raw not [\x80-\uffff]
keys q
exit 0
DO
    assert_success
    run on_screen 100x10 <<'DO'
see ^grün\.topic +[1-9]
raw \x1b\[[0-9;]*3[0-9]
keys q
exit 0
DO
    assert_success
    NO_COLOR=1 run on_screen 100x10 <<'DO'
see ^grün\.topic +[1-9][\d.]* .*[▁▂▃▄▅▆▇█]
raw not \x1b\[[0-9;]*3[0-9]m
keys q
exit 0
DO
    assert_success
}

@test "no terminal, and a terminal that nobody knows" {
    start_hub
    run --separate-stderr evctl top </dev/null
    assert_failure 64
    [[ $stderr == *'wants a terminal'* ]]
    TERMINAL=nonsense run on_screen 80x10 <<'DO'
exit 64
DO
    assert_success
    assert_output --partial 'TERM=nonsense: nothing is known of such a terminal'
    TERMINAL=dumb run on_screen 80x10 <<'DO'
exit 64
DO
    assert_success
    assert_output --partial 'TERM=dumb: such a terminal cannot move its cursor'
}

@test "100,000 topics: shown, and cheap to leave open" {
    local before after
    skip_if_sanitized
    start_hub --sync none
    seq 100000 | sed 's/.*/topic.n&\tx/' | evpub -T
    keep_publishing topic.n77777
    mkfifo told
    touch full later
    start bash -c '"${@:1}" <told >top.out 2>top.said' bash timeout 100 env LC_ALL=C.UTF-8 TERM=linux \
        "$PYTHON" "$ROOT/tests/peers/screen.py" 100x20 evctl top
    screen=$PID
    exec 8>told
    printf '%s\n' 'see Topics 100\.0k' 'see TOPIC.*\ntopic.n77777 +[1-9]' 'touch full' >&8
    wait_for_text full . 60 # a look at so many topics is spread over seconds
    before=$(ticks "$(<full)" "$HUB_PID")
    printf '%s\n' 'pause 5' 'touch later' >&8
    wait_for_text later . 60
    after=$(ticks "$(<full)" "$HUB_PID")
    printf '%s\n' 'keys q' 'exit 0' >&8
    exec 8>&-
    wait_for_exit "$screen"
    echo "CPU ticks in 5 s: $((after - before))"
    # Of 500 ticks in 5 s: under a third of one core for the hub and the screen together.
    ((after - before < 150))
}
