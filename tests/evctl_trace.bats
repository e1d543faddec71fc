# evctl_trace.bats: why it happened: the tree of what led to what, from any of its events; what is gone; what went wrong.

load helper

# Publishes to TOPIC for what SEQ's event was. $SEQ.
because() { # CAUSE CORRELATION DEPTH TOPIC PAYLOAD
    evpub -H "cause=$1" -H "correlation=$2" -H "depth=$3" -p "$4" "$5"
}

# The tree without its times.
tree() { # ARG…
    evctl trace "$@" | sed 's/ 20[-0-9T:.]*Z / /'
}

# 1 order, 2 other, 3 mail (of 1), 4 stock (of 1), 5 unrelated, 6 sent (of 3), 7 low (of 4), 8 bought (of 7)
publish_all() {
    evpub order.paid '{"total":3}'
    evpub other x
    because 1 1 1 mail.wanted 'mail'
    because 1 1 1 stock.taken $'two\nlines'
    because 2 2 1 other.child y
    because 3 1 2 mail.sent ''
    because 4 1 2 stock.low 3
    because 7 1 3 stock.bought 10
} >/dev/null

WHOLE='1 order.paid {"total":3}
  3 mail.wanted mail
    6 mail.sent
  4 stock.taken two lines
    7 stock.low 3
      8 stock.bought 10'

@test "the same tree from each of its events" {
    start_hub
    publish_all
    local seq
    for seq in 1 3 4 6 7 8; do
        assert_equal "$(tree "$seq")" "$WHOLE"
    done
    assert_equal "$(tree 5)" $'2 other x\n  5 other.child y'
    run -0 evctl trace -J 8
    assert_equal "$(jq -c '[.seq, .parent, .depth, .topic]' <<<"$output")" \
        '[1,null,0,"order.paid"]
[3,1,1,"mail.wanted"]
[4,1,1,"stock.taken"]
[6,3,2,"mail.sent"]
[7,4,2,"stock.low"]
[8,7,3,"stock.bought"]'
    assert_equal "$(jq -r 'select(.seq == 4).payload' <<<"$output")" $'two\nlines'
}

@test "an event that came of nothing and led to nothing is a tree of one" {
    start_hub
    evpub t alone
    evpub t other
    assert_equal "$(tree 1)" '1 t alone'
    assert_equal "$(evctl trace -J 1 | jq -c '[.seq, .parent, .depth]')" '[1,null,0]'
}

@test "what is not there: exit 1; what is no seq: exit 64" {
    start_hub
    evpub t x
    run -1 evctl trace 2
    assert_output 'evctl: there is no event of seq 2, or it is gone'
    run -64 evctl trace
    run -64 evctl trace x
    run -64 evctl trace 1 2
    run -64 evctl trace 0
}

@test "the first event is gone: it is said, and what is left is shown" {
    start_hub
    publish_all
    evctl trim --before 4
    run -0 --separate-stderr evctl trace 8
    assert_equal "$stderr" 'evctl: seq 1, of which seq 4 came, is gone from the journal'
    assert_equal "$(sed 's/ 20[-0-9T:.]*Z / /' <<<"$output")" $'4 stock.taken two lines\n  7 stock.low 3\n    8 stock.bought 10\n6 mail.sent'
    evctl trim --before 8
    run -0 --separate-stderr evctl trace 8
    assert_equal "$stderr" 'evctl: seq 7, of which seq 8 came, is gone from the journal'
    assert_equal "$(tree 8 2>/dev/null)" '8 stock.bought 10'
    run -1 evctl trace 7
}

@test "one in between is gone: it is said, and all that is left is shown" {
    start_hub
    publish_all
    evctl purge stock.low
    run -0 --separate-stderr evctl trace 8
    assert_equal "$stderr" 'evctl: seq 7, of which seq 8 came, is gone from the journal'
    assert_equal "$(sed 's/ 20[-0-9T:.]*Z / /' <<<"$output")" '1 order.paid {"total":3}
  3 mail.wanted mail
    6 mail.sent
  4 stock.taken two lines
8 stock.bought 10'
    evctl trim --before 4
    assert_equal "$(tree 8 2>/dev/null)" '8 stock.bought 10'
}

@test "attempts in vain, dead letters and what was edited hang below their events" {
    start_hub
    evsub -g g -n 0 t.bad
    evpub t.good root
    because 1 1 1 t.bad broken
    timeout 30 evsub -g g -e --max-deliver 2 --backoff 10ms -- sh -c 'exit 3'
    EDITOR='echo whole >' evctl dead retry --edit 5
    assert_equal "$(tree 1)" '1 t.good root
  2 t.bad broken
    3 $failed.g.2 attempt 1: exit 3
    4 $failed.g.2 attempt 2: exit 3
    5 $dead.g given up on: exit 3
    6 $retry.g whole'
    assert_equal "$(tree 5)" "$(tree 1)"
    assert_equal "$(evctl trace -J 3 | jq -c '[.seq, .parent, .depth]' | tr '\n' ' ')" '[1,null,0] [2,1,1] [3,2,2] [4,2,2] [5,2,2] [6,2,2] '
}

@test "a correlation of one's own; a cause without one; a cause that is no cause" {
    start_hub
    evpub -H correlation=ticket-7 t first
    because 1 ticket-7 1 t second
    evpub -H cause=2 t third
    evpub -H cause=9 t future
    evpub -H cause=no t none
    assert_equal "$(tree 3)" $'1 t first\n  2 t second\n    3 t third'
    assert_equal "$(tree 4)" '4 t future'
    assert_equal "$(tree 5)" '5 t none'
}

@test "a chain of 2000 events; what a payload has does no harm to a terminal" {
    start_hub
    for ((i = 1; i <= 2000; i++)); do
        printf '{"topic":"t","payload":"\\u001b[2J%s","headers":{"cause":"%s","correlation":"1"}}\n' "$i" "$((i - 1))"
    done | evpub -J
    run -0 evctl trace 2000
    assert_equal "${#lines[@]}" 2000
    refute_output --partial $'\033'
    assert_equal "$(evctl trace -J 1000 | tail -n 1 | jq -c '[.seq, .parent, .depth]')" '[2000,1999,1999]'
}

@test "among many other events, in bounded memory" {
    skip_if_sanitized
    start_hub
    evpub t root
    seq 300000 | evpub noise
    because 1 1 1 t leaf
    run -0 bash -c 'ulimit -v 400000; evctl trace 1'
    assert_equal "${#lines[@]}" 2
    assert_line --index 1 --regexp '^  300002 .* t leaf$'
}
