#!/usr/bin/env bats
# evsub --where: which events hold, with every way to start, to print and to keep a place, and what is wrong with it.
bats_require_minimum_version 1.5.0
load helper

# Five events: JSON with x 1, no JSON, JSON with x 2, no text, a number.
publish_five() {
    evpub t '{"x":1}'
    evpub t.u 'not json'
    evpub -H kind=a t '{"x":2}'
    printf '\377\376' | evpub -s t
    evpub t 5
}

seqs() { # EXPR ARG…
    timeout 20 evsub --from first -e -F '%s ' --where "$@"
}

@test "topic, headers, data, place: what holds" {
    start_hub
    publish_five
    local expr wanted
    while IFS=@ read -r expr wanted; do
        run -0 --separate-stderr seqs "$expr"
        assert_equal "$expr: $output" "$expr: $wanted"
    done <<'CASES'
.topic == "t.u"@2 
.headers.kind == "a"@3 
.headers.kind@3 
.data == 5@5 
.data.x? == 2@3 
."d\u0061ta".x? == 2@3 
has("data")@1 3 5 
has("data") | not@2 4 
.payload_base64 == "//4="@4 
.seq > 2 and .version < 4@3 4 
.topic | ltrimstr("t.") == "u"@2 
empty@
false, true@
debug == 1@
CASES
}

@test "an expression without an end is ended by one SIGTERM, and the cursor stays before the event" {
    start_hub
    seq 3 | evpub t
    start evsub --from first --where 'if .seq == 2 then ("x" * 9999 | stderr) and last(repeat(1)) else true end' -c ./mine 2>said
    follow "$PATIENCE" said head -c 5000 # it is in it
    kill -TERM "$PID"
    status=0
    wait_for_exit "$PID" || status=$?
    assert_equal "$status" 143
    assert_equal "$(grep -o 'evsub: .*' said)" 'evsub: an expression comes to no end: stopped in the midst of it'
    assert [ "$(cat mine)" -le 2 ]
    start evfold t 'if $event.seq == 2 then ("x" * 9999 | stderr) and last(repeat(1)) else . end' 2>folding
    follow "$PATIENCE" folding head -c 5000
    kill -TERM "$PID"
    status=0
    wait_for_exit "$PID" || status=$?
    assert_equal "$status" 143
}

@test "-J, -F, -t, -r, -n, -c, -g and a command have only what holds" {
    start_hub
    publish_five
    run -0 timeout 20 evsub --from first -e -J --where .data.x?
    assert_equal "$(jq -c .data <<<"$output"; jq -c .seq <<<"$output")" $'null\nnull\n1\n3' # .data is not printed
    run -0 timeout 20 evsub --from first -e -t --where .data.x?
    assert_output $'t\t{"x":1}\nt\t{"x":2}'
    run -0 timeout 20 evsub --from first -n 1 --where '.data.x? == 2'
    assert_output '{"x":2}'
    # a cursor passes what does not hold, also at the end
    run -0 timeout 20 evsub -c ./mine --from first -e --where '.data.x? == 1'
    assert_output '{"x":1}'
    run -0 timeout 20 evsub -c ./mine -e
    assert_output ''
    # and a group is done with it
    run -0 timeout 20 evsub -g g --from first -e --where '.data.x? == 2' '#'
    assert_output '{"x":2}'
    run -0 timeout 20 evsub -g g -e
    assert_output ''
    run -0 timeout 20 evsub --from first -e --where '.data.x? == 2' -- cat
    assert_output '{"x":2}'
}

@test "an expression that fails for an event: it is left out, and the first is said" {
    start_hub
    publish_five
    evpub t 6
    run -0 --separate-stderr seqs '.data.x > 0'
    assert_output '1 3 '
    assert_equal "$stderr" 'evsub: --where: seq 5: Cannot index number with string "x": such events are left out'
    run -0 --separate-stderr seqs 'if .seq == 2 then halt else true end'
    assert_output '1 3 4 5 6 '
}

@test "a bad expression is a usage error with jq's own message, and needs no hub" {
    local expr wanted
    while IFS=@ read -r expr wanted; do
        run -64 seqs "$expr"
        assert_output "evsub: --where: expression: $wanted"
    done <<'CASES'
.topic ==@syntax error, unexpected $end
foo@foo/0 is not defined
$x@$x is not defined
@it is empty
# nothing@it is empty
include "a"; true@module not found: a
CASES
}
