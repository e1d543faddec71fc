# faults_disk.bats: a disk that is full, files that are torn or damaged, two hubs on one journal or URL, stale sockets.
bats_require_minimum_version 1.5.0
load helper

teardown() {
    evb_teardown
    [[ ! -e mounted ]] || umount "$BATS_TEST_TMPDIR/small"
}

# 100 bytes each with the newline.
numbered_lines() { # COUNT
    seq -f "%099.0f" "$1"
}

# Publishes COUNT events one by one, so that each is a record, on a hub that is then killed. $SEGMENT.
journal_of() { # COUNT
    local i
    start_hub
    for ((i = 1; i <= $1; i++)); do
        timeout 20 evpub load.x "event number $i" || return
    done
    kill_hub
    SEGMENT=$JOURNAL/00000000000000000001.evj
}

flip() { # FILE OFFSET
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\x$(printf %x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "a full disk: evpub exits 74 and says how many are stored; readers go on; with room, so does publishing" {
    local status=0 said
    mkdir small
    mount -t tmpfs -o size=16m tmpfs small 2>mount.err || skip "cannot mount a tmpfs: $(cat mount.err)"
    : >mounted
    head -c 8M /dev/zero >small/filler
    JOURNAL=$BATS_TEST_TMPDIR/small/journal
    start_hub
    start_sub live --timeout 20 load.x
    numbered_lines 200000 >lines
    timeout 30 evpub load.x <lines 2>pub.err || status=$?
    cat pub.err
    assert_equal "$status" 74
    grep -qiE 'disk full|no space' pub.err
    said=$(grep -oE '[0-9]+ events? stored' pub.err | grep -oE '^[0-9]+')
    ((said > 10000))
    # Everything that was acknowledged is there, before and after; nothing else is torn.
    timeout 10 evsub --from first -e load.x >replay
    ((said <= $(wc -l <replay)))
    cmp replay <(head -n "$(wc -l <replay)" lines)
    wait_for_lines live "$said"
    # It stays refused, as 74, for one event too.
    run -74 timeout 10 evpub load.x "$(head -c 100000 lines)"
    run -0 timeout 10 evctl status
    rm small/filler
    run -0 timeout 10 evpub load.x "room again"
    numbered_lines 10000 | timeout 10 evpub load.y
    assert_equal "$(timeout 10 evsub --from -1 -e load.x)" "room again"
    cmp <(timeout 10 evsub --from first -e load.y) <(numbered_lines 10000)
    wait_for_text live 'room again'
    stop_hub
    run -0 timeout 10 evctl -d "$JOURNAL" verify
    assert_output --partial ": 0 damaged places, 0 seqs lost"
    start_hub
    assert_equal "$(timeout 10 evsub --from -1 -e load.x)" "room again"
}

@test "a command that is done on a full disk: the answer comes, the hub says that it is not stored, and nothing is done twice" {
    mkdir small
    mount -t tmpfs -o size=16m tmpfs small 2>mount.err || skip "cannot mount a tmpfs: $(cat mount.err)"
    : >mounted
    JOURNAL=$BATS_TEST_TMPDIR/small/journal
    start_hub
    mkfifo running gate
    exec 7<>running 8<>gate
    # A page that is begun may still take a small one.
    start_ready handler.out handler.err evcmd --serve t -- \
        sh -c 'echo run >>ran; echo x >running; head -c 1 gate; head -c 300000 /dev/zero'
    start timeout 20 evcmd --id one t x >answer
    local asker=$PID
    read -r -t "$PATIENCE" _ <&7
    head -c 32M /dev/zero >small/filler 2>/dev/null || true
    printf g >&8
    wait_for_exit "$asker"
    assert_equal "$(wc -c <answer)" 300001
    wait_for_text hub.err 'command 1: cannot store that it was done'
    run -74 timeout 20 evcmd t < <(head -c 300000 /dev/zero)
    rm small/filler
    run -75 timeout 20 evcmd --id one t x
    assert_output --partial 'outcome unknown'
    assert_equal "$(cat ran)" run
}

@test "a disk that is full to the last byte: the same, and the journal is whole afterwards" {
    mkdir small
    mount -t tmpfs -o size=16m tmpfs small 2>mount.err || skip "cannot mount a tmpfs: $(cat mount.err)"
    : >mounted
    JOURNAL=$BATS_TEST_TMPDIR/small/journal
    start_hub
    timeout 20 evpub load.x before
    head -c 32M /dev/zero >small/filler 2>/dev/null || true
    # What is left of a page may still take a small one; this cannot fit, and must be cut off again.
    head -c 300000 /dev/zero | tr '\0' x >during
    run -74 timeout 10 evpub -f during load.x
    assert_output --partial "load.x"
    assert_equal "$(timeout 10 evsub --from first -e load.x)" before
    # A hub that starts on a full disk serves readers too.
    kill_hub
    start_hub
    assert_equal "$(timeout 10 evsub --from first -e load.x)" before
    run -74 timeout 10 evpub -f during load.x
    rm small/filler
    run -0 timeout 10 evpub load.x after
    assert_equal "$(timeout 10 evsub --from first -e load.x)" $'before\nafter'
    stop_hub
    run -0 timeout 10 evctl -d "$JOURNAL" verify
}

@test "a torn tail of many lengths is cut off at the start and said; what is before it stays" {
    local record size cut
    journal_of 2
    size=$(stat -c %s "$SEGMENT")
    record=$((size / 2))
    cp -r "$JOURNAL" whole
    for cut in 1 2 7 8 19 20 39 40 41 "$((record - 41))" "$((record - 40))" "$((record - 39))" "$((record - 8))" \
        "$((record - 2))" "$((record - 1))"; do
        rm -rf "$JOURNAL" hub.err
        cp -r whole "$JOURNAL"
        truncate -s -"$cut" "$SEGMENT"
        run -0 timeout 20 evctl -d "$JOURNAL" verify
        start_hub
        grep -q "00000000000000000001.evj: cut off a torn tail of $((record - cut)) bytes at offset $record " hub.err ||
            fail "$cut bytes: not said: $(cat hub.err)"
        assert_equal "$(timeout 20 evsub --from first -e load.x)" "event number 1"
        run -0 timeout 20 evpub -p load.x again
        assert_output 2
        assert_equal "$(timeout 20 evsub --from first -e load.x)" $'event number 1\nagain'
        kill_hub
    done
}

@test "damage to the last event of a hub that has ended is no torn tail: refused, verified, repaired" {
    journal_of 3
    start_hub
    stop_hub
    flip "$SEGMENT" "$(($(stat -c %s "$SEGMENT") - 3))"
    run -1 start_hub
    grep -q '00000000000000000001.evj: offset .* all up to seq 3 was on disk, says the catalog: run evctl repair' hub.err
    run -1 timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial 'seqs 3 to 3 cannot be read'
    run -0 timeout 20 evctl -d "$JOURNAL" repair
    start_hub
    assert_equal "$(timeout 20 evsub --from first -e -F '%s %p\n' load.x)" $'1 event number 1\n2 event number 2'
    assert_equal "$(timeout 20 evpub -p load.x again)" 4
}

@test "a catalog that is cut short anywhere is built anew" {
    local size at
    journal_of 3
    start_hub
    stop_hub
    size=$(stat -c %s "$JOURNAL/catalog.mdb")
    ((size >= 16384))
    cp -r "$JOURNAL" whole
    for ((at = 100; at < size; at += 3000)); do
        rm -rf "$JOURNAL" hub.err
        cp -r whole "$JOURNAL"
        truncate -s "$at" "$JOURNAL/catalog.mdb"
        start_hub || fail "$at bytes: $(cat hub.err)"
        grep -q 'catalog.mdb: MDB_.*; building it anew from the journal' hub.err || fail "$at bytes: not said"
        assert_equal "$(timeout 20 evpub -p load.x again)" 4
        kill_hub
    done
}

@test "a torn tail without the catalog, and an empty last segment" {
    journal_of 3
    truncate -s -5 "$SEGMENT"
    rm "$JOURNAL/catalog.mdb"
    start_hub
    assert_equal "$(timeout 20 evsub --from first -e -F '%v %p\n' load.x)" $'1 event number 1\n2 event number 2'
    assert_equal "$(timeout 20 evpub -p load.x again)" 3
    kill_hub
    truncate -s 0 "$SEGMENT"
    start_hub
    assert_equal "$(timeout 20 evsub --from first -e load.x)" ""
    run -0 timeout 20 evpub load.x new
}

@test "a torn tail of garbage and of zeros is cut off too" {
    local kind
    journal_of 2
    for kind in urandom zero; do
        head -c 5000 "/dev/$kind" >>"$SEGMENT"
        : >hub.err
        start_hub
        grep -q 'cut off' hub.err
        assert_equal "$(timeout 20 evsub --from first -e load.x)" $'event number 1\nevent number 2'
        kill_hub
    done
}

@test "a flipped bit in the middle: refused and named, verify finds it, repair says what is lost, and the rest is there" {
    local status=0
    journal_of 9
    size=$(stat -c %s "$SEGMENT")
    flip "$SEGMENT" "$((size / 2))"
    start_hub 2>/dev/null && fail "the hub has started"
    wait_for_exit "$HUB_PID" || status=$?
    assert_equal "$status" 1
    grep -qE '00000000000000000001.evj: offset [0-9]+' hub.err
    run -1 --separate-stderr timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial "8 events in 8 batches"
    assert_output --partial "1 damaged place, 1 seq lost"
    # shellcheck disable=SC2154 # set by run --separate-stderr
    [[ $stderr =~ 00000000000000000001.evj:\ offset\ [0-9]+ ]]
    run -0 --separate-stderr timeout 20 evctl -d "$JOURNAL" repair
    [[ $stderr =~ 00000000000000000001.evj ]]
    [[ $stderr =~ lost ]]
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    start_hub
    timeout 20 evsub --from first -e -F '%s %t %p\n' >replay
    cat replay
    assert_equal "$(grep -c ' load.x event number ' replay)" 8
    assert_equal "$(grep ' load.x ' replay)" "$(seq 9 | sed '5d; s/.*/& load.x event number &/')"
    grep -q '^5 \$hub.lost .*5' replay
    timeout 20 evsub --from 1 -e load.x >rest
    assert_equal "$(wc -l <rest)" 8
    assert_equal "$(timeout 20 evpub -p load.x next)" 10
    # A live reader that joins from before the loss is not held up by it.
    timeout 20 evsub --from 3 -n 7 -F '%s\n' load.x >joined
    cmp joined <(printf '%s\n' 3 4 6 7 8 9 10)
}

@test "evctl verify finds damage in the files beside the segments, says what it means, and takes no torn end for it" {
    local file at
    local -A remedy=([gone.log]='start a hub' [groups.log]='start a hub' [scheduled.log]='or move it away')
    start_hub
    seq 9 | evpub load.x
    evsub -g crew --from first -n 4 load.x >/dev/null
    evpub --in 1h load.later once
    evpub load.gone away
    evctl purge load.gone
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    stop_hub
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    for file in gone groups scheduled; do
        file=$JOURNAL/$file.log
        cp "$file" whole
        for at in 0 9 12 17 "$(($(stat -c %s whole) / 2))"; do
            cp whole "$file"
            flip "$file" "$at"
            run -1 --separate-stderr timeout 20 evctl -d "$JOURNAL" verify
            assert_output --partial "1 damaged place, 0 seqs lost"
            # shellcheck disable=SC2154 # set by run --separate-stderr
            [[ $stderr =~ ${file##*/}:\ damaged\ at\ byte\ [0-9]+:\ .*start ]]
            [[ $stderr == *'beside them is not; '*"${remedy[${file##*/}]}"* ]]
        done
        cp whole "$file"
        printf torn >>"$file"
        run -0 timeout 20 evctl -d "$JOURNAL" verify
    done
    # What it says to do helps; repair, which leaves these files alone, does not.
    for file in gone groups scheduled; do
        flip "$JOURNAL/$file.log" 9
    done
    run -0 timeout 20 evctl -d "$JOURNAL" repair
    run -1 timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial 'beside them is not; bring back a good scheduled.log, or move it away'
    run -1 timeout 20 evbusd -d "$JOURNAL"
    mv "$JOURNAL/scheduled.log" .
    start_hub
    stop_hub
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    assert_exists "$JOURNAL/gone.damaged"
    assert_exists "$JOURNAL/groups.damaged"
}

@test "damage in every field of a record's header, and in topic and payload, is found" {
    local record offset
    journal_of 3
    record=$(($(stat -c %s "$SEGMENT") / 3))
    cp "$SEGMENT" whole
    for offset in 0 4 5 6 8 11 12 15 16 23 24 32 39 40 46 47 50 100 "$((record - 1))"; do
        cp whole "$SEGMENT"
        flip "$SEGMENT" "$((record + offset))"
        run -1 timeout 20 evctl -d "$JOURNAL" verify
        assert_output --partial "offset $record"
        run -1 timeout 20 evbusd -d "$JOURNAL"
        assert_output --partial "offset $record"
    done
}

@test "damage in a sealed segment: the hub starts, the request fails with the place, the others are served" {
    start_hub --segment 64K
    numbered_lines 5000 >lines
    split -l 250 lines part.
    for part in part.*; do
        timeout 20 evpub load.x <"$part"
    done
    kill_hub
    segments=("$JOURNAL"/*.evj)
    ((${#segments[@]} > 4))
    flip "${segments[1]}" 20000
    start_hub --segment 64K
    run timeout 10 evsub --from first -e load.x
    assert_failure
    refute [ "$status" = 124 ]
    assert_output --partial "$(basename "${segments[1]}"): offset "
    last=$(basename "${segments[-1]}" .evj)
    run -0 timeout 10 evsub --from "$((10#$last))" -e load.x
    run -0 timeout 10 evpub load.x more
    run -75 timeout 20 evctl -d "$JOURNAL" repair
    stop_hub
    run -0 timeout 20 evctl -d "$JOURNAL" repair
    start_hub --segment 64K
    timeout 10 evsub --from first -e load.x >replay
    timeout 10 evsub --from first -e -F '%p\n' '$hub.lost' >lost
    assert_equal "$(wc -l <lost)" 1
    # What is left is in order, and is what was published.
    cmp <(sort -u replay) replay <(sed '$d' replay) 2>/dev/null || [[ $(sed '$d' replay) == "$(sed '$d' replay | sort -u)" ]]
    assert_equal "$(comm -13 lines <(sed '$d' replay) | wc -l)" 0
}

@test "two hubs on one journal: the second is refused with 75 and names the first one's pid" {
    start_hub
    run -75 timeout 20 evbusd -u "ipc://$BATS_TEST_TMPDIR/other" -d "$JOURNAL"
    assert_output --partial "$HUB_PID"
    run -0 timeout 20 evpub load.x "the first goes on"
    stop_hub
}

@test "two hubs on one URL: the second is refused with 75 and names the first one's pid, which goes on" {
    start_hub
    run -75 timeout 20 evbusd -u "$EVBUS_URL" -d "$BATS_TEST_TMPDIR/journal2"
    assert_output --partial "$HUB_PID"
    run -0 timeout 20 evpub load.x "the first goes on"
    run -0 timeout 20 evsub --from first -e load.x
    assert_output "the first goes on"
    stop_hub
}

@test "the sockets and locks that a killed hub has left are taken over" {
    start_hub
    kill_hub
    [[ -S bus/hub && -S bus/feed && -e bus/lock ]]
    start_hub
    run -0 timeout 20 evpub load.x one
    stop_hub
    start_hub
    run -0 timeout 20 evsub --from first -e load.x
    assert_output one
}

@test "evctl verify beside a hub that is being written to finds no damage" {
    start_hub
    mkfifo pipe
    start timeout 100 bash -c 'exec evpub load.x <pipe'
    local pub=$PID
    start timeout 100 bash -c 'seq -f "%099.0f" 1000000 >pipe'
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        run -0 timeout 20 evctl -d "$JOURNAL" verify
    done
    wait_for_exit "$pub" 60
    run -0 timeout 20 evctl -d "$JOURNAL" verify
    assert_output --partial "1000000 events in"
}

@test "each sync takes 0.2 s: a reader from the first event gets on faster than one piece a sync" {
    skip_if_sanitized
    local flood
    start_hub
    seq -f '%099.0f' 200000 | timeout 20 evpub load.x
    stop_hub
    start strace -D -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:delay_enter=200000 \
        evbusd -u "$EVBUS_URL" -d "$JOURNAL"
    evsub -e --from last load.x >/dev/null # it is there
    # shellcheck disable=SC2016 # expanded by the inner shell
    start bash -c 'exec evpub load.y < <(exec yes "$1")' flood "$(printf '%099d' 0)"
    flood=$PID
    # 30 MiB, 512 KiB a sync: 12 s and more
    timeout 8 evsub --from first -n 200000 load.x >got
    cmp got <(seq -f '%099.0f' 200000)
    kill -KILL "$flood"
}
