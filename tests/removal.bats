# removal.bats: what goes before the rest: trim, purge, patterns with an age of their own, and who reads behind it.
load helper

ask() { "$PYTHON" "$ROOT/tests/peers/ask.py" "$@"; }

@test "trim: what is before is gone, at once and after a crash" {
    start_hub --segment 64K
    seq 1000 | evpub a
    run -0 ask trim 501
    assert_output '["ok", 501]'
    run -0 evsub --from first -e a
    assert_equal "${lines[0]}" 501
    run -1 evsub --from 400 -e a
    assert_output --partial 'before seq 501 are gone'
    run -0 --separate-stderr evsub --from 400 --allow-gap -e a
    assert_equal "${#lines[@]}" 500
    kill_hub
    start_hub --segment 64K
    run -0 evpub -p a more
    assert_output 1001
    run -0 ask trim 99999
    assert_output '["ok", 1002]'
    run -0 evsub --from first -e a
    assert_output ''
    run -0 evpub --expect 1001 --print-version a next
    assert_output 1002
    run -0 ask trim 1
    assert_output '["ok", 1002]'
}

@test "purge: what matches is gone, versions go on, the rest stays" {
    start_hub
    printf 'order.1\tone\norder.2\ttwo\nother\tthree\norder.1\tfour\nother\tfive\n' | evpub -T
    run -0 ask purge '["order.*"]'
    assert_output '["ok", 3, 5]'
    run -0 ask purge '["order.*"]'
    assert_output '["ok", 0, 5]'
    run -0 evsub --from first -e
    assert_equal "${lines[*]}" 'three five'
    run -0 ask topics '"", 10, []'
    assert_output --regexp '"order.1", 0, 2, 2, [0-9]+, [0-9]+\], \["order.2", 0, 1, 1, .*"other", 5, 2, 2,'
    run -1 evpub --expect 0 order.1 x
    assert_output 'evpub: order.1: expected version 0, is 2'
    run -0 evpub --expect 2 -p order.1 six
    assert_output 6
    run -0 evsub -J --from first -e order.1
    assert_output --partial '"seq":6,"version":3,'
    assert_equal "${#lines[@]}" 1
    stop_hub
    rm "$JOURNAL/catalog.mdb"
    start_hub
    run -0 evpub --expect 1 --print-version order.2 seven
    assert_output 2
    run -0 evsub --from first -e
    assert_equal "${lines[*]}" 'three five six seven'
}

@test "the newest N of a topic of which fewer are left" {
    start_hub
    seq 5 | evpub a
    evpub b 1
    evctl purge a
    evpub a 6
    run -0 evsub --from=-3 -e a
    assert_output 6
    run -0 evsub --from=-3 -e a b
    assert_output $'1\n6'
}

@test "purge: who reads behind it is told the first seq from which all is there" {
    start_hub
    printf 'a\t1\nb\t2\na\t3\nb\t4\na\t5\n' | evpub -T
    ask purge '["b"]'
    run -1 evsub --from 1 -e
    assert_output --partial 'events before seq 5 are gone'
    run -1 evsub --from 2 -e b
    assert_output --partial 'events before seq 5 are gone'
    run -0 evsub --from 2 -e a
    assert_equal "${lines[*]}" '3 5'
    run -0 evsub --from 5 -e
    assert_output 5
    run -0 --separate-stderr evsub --from 1 -e --allow-gap
    assert_equal "${lines[*]}" '1 3 5'
    assert [ -n "$stderr" ]
    run -0 evsub --from -2 -e a
    assert_equal "${lines[*]}" '3 5'
    run -0 evsub --from -5 -e 'b' 'a'
    assert_equal "${lines[*]}" '1 3 5'
    run -0 evsub --from last -e b
    assert_output ''
    run -0 ask fetch '1, 0, 1000, ["b"]'
    assert_output --partial '"gone"'
    assert_output --partial ', 5]'
    run -0 ask fetch '1, 0, 1000, ["b"], 1'
    assert_output '["ok", 6, 5, 1] +0'
    run -0 ask fetch '4, 4, 1000, []'
    assert_output --partial '"gone"'
    run -0 ask fetch '3, 3, 1000, []'
    assert_output --partial '["ok", 4, 5, 1] +'
}

@test "purge: everything, over kill -9, while somebody listens" {
    start_hub
    seq 100 | evpub a
    start_sub out --from first -n 102 a
    wait_for_lines out 100
    ask purge '["#"]'
    seq 101 102 | evpub a
    wait_for_exit "$SUB_PID"
    assert_equal "$(tail -n 2 out | xargs)" '101 102'
    kill_hub
    start_hub
    run -0 evsub --from first -e
    assert_equal "${lines[*]}" '101 102'
}

@test "a group goes on behind what is trimmed and purged, and says what it has lost" {
    start_hub
    evsub -g G --from first -n 0 '#'
    printf 'a\t1\nb\t2\na\t3\nb\t4\na\t5\n' | evpub -T
    ask purge '["b"]'
    run -0 --separate-stderr evsub -g G -n 2 '#'
    assert_equal "${lines[*]}" '1 3'
    ask trim 5
    run -0 --separate-stderr evsub -g G -n 1 '#'
    assert_output 5
    run -0 ask groups '' '"lag": 0'
}

@test "trim and purge: what is asked wrongly" {
    start_hub
    for wrong in 'trim' 'trim 0' 'trim "x"' 'purge' 'purge []' 'purge ["a..b"]' 'purge "a"'; do
        run -0 ask ${wrong%% *} "${wrong#"${wrong%% *}"}"
        assert_output --regexp '"(usage|data)"'
    done
    run -0 ask fetch '1, 0, 1000, [], "x"'
    assert_output --partial '"usage"'
}

@test "[retain]: a pattern has an age of its own; the disk gets its room back, and others keep their events" {
    printf '%s\n' 'segment = 64K' '[retain "metrics.#"]' 'age = 1h' >hub.ini
    start_hub -c hub.ini
    seq 100 | evpub order.1
    yes 'a metric, of which there are many, so that it fills segments' | head -n 5000 | evpub --timeout 60 metrics.cpu
    seq 101 200 | evpub order.1
    before=$(du -sb "$JOURNAL" --exclude=catalog.mdb | cut -f 1)
    sed -i 's/age = 1h/age = 1s/' hub.ini
    kill -HUP "$HUB_PID"
    wait_for_text hub.err 'read the configuration again'
    run -0 ask topics '"", 10, ["metrics.#"]' '"metrics.cpu", 0, 5000'
    run -0 ask status '' ''
    run -1 evsub --from 1 -e
    assert_output --partial 'events before seq 5101 are gone'
    run -0 evsub --from 1 -e 'order.*'
    assert_equal "${#lines[@]}" 200
    run -0 evsub --from first -e
    assert_equal "${#lines[@]}" 200
    run -0 evpub --expect 5000 --print-version metrics.cpu next
    assert_output 5001
    run -0 ask status '' '"first": 1,'
    stop_hub
    after=$(du -sb "$JOURNAL" --exclude=catalog.mdb | cut -f 1)
    assert [ "$after" -lt $((before / 2)) ]
    run -0 evctl verify -d "$JOURNAL"
    rm "$JOURNAL/catalog.mdb"
    start_hub -c hub.ini
    run -0 evsub --from first -e 'order.#'
    assert_equal "${#lines[@]}" 200
}

@test "[live]: topics that are fed and never stored" {
    printf '[live "trace.#"]\n\n[live "debug"] ; too\n' >hub.ini
    start_hub -c hub.ini
    start_sub out -n 2 '#'
    evpub trace.x one
    evpub debug two
    wait_for_exit "$SUB_PID"
    assert_equal "$(xargs <out)" 'one two'
    run -0 evsub --from first -e
    assert_output ''
}

@test "sections: what is wrong with them is said with its line" {
    config() { printf '%s\n' "$@" >bad.ini; run -78 evbusd -c bad.ini --memory; }
    config '[retain "a.#"]' 'age = never'
    assert_output --partial 'bad.ini:2: age: never'
    config '[retain "a.#"]' 'size = 1G'
    assert_output --partial 'bad.ini:2: size: [retain] has one key, age'
    config '[retain "a.#"]'
    assert_output --partial 'bad.ini: [retain "a.#"]: age is missing'
    config '[retain "a..b"]' 'age = 1h'
    assert_output --partial 'bad.ini:1: '
    config '[retain "a"]' 'age = 1h' '[retain "a"]' 'age = 2h'
    assert_output --partial 'bad.ini:3: [retain "a"]: it is there twice'
    config '[live "a"]' 'age = 1h'
    assert_output --partial 'bad.ini:2: age: [live] has no keys'
    config 'sync = none' '[other "a"]'
    assert_output --partial 'bad.ini:2: [other]: no such section'
    config '[retain a]' 'age = 1h'
    assert_output --partial 'bad.ini:1: a section is'
}

@test "SIGHUP takes the sections anew" {
    printf '[live "x"]\n' >hub.ini
    start_hub -c hub.ini
    printf '[live "y"]\n[retain "z"]\nage = 1h\n' >hub.ini
    kill -HUP "$HUB_PID"
    wait_for_text hub.err 'read the configuration again'
    evpub x stored
    evpub y fed
    run -0 evsub --from first -e
    assert_output stored
    stop_hub
}
