#!/usr/bin/env bats
# spool.bats: evpub --spool: events that wait on disk for a hub, and come there once, in order.

load helper

# The spool's file.
spool_file() { ls "$EVBUS_SPOOL" | grep -vE '\.(lock|refused|damaged)$' | sed "s|^|$EVBUS_SPOOL/|"; }

payloads() { evsub --from first -e "$@"; }

# Without a hub, keeps each argument as an event of topic job.
keep() { # PAYLOAD…
    printf '%s\n' "$@" | evpub --spool --timeout 0.1 job 2>>keep.err
}

@test "without a hub evpub --spool keeps events, says where, and exits 0" {
    run --separate-stderr evpub --spool job started
    assert_success
    assert_output ''
    [[ $stderr == "evpub: no hub at $EVBUS_URL: "*"; 1 event kept in $(spool_file), for the next evpub --spool" ]]
    assert_equal "$(stat -c %a "$(spool_file)") $(stat -c %a "$EVBUS_SPOOL")" '600 700'
    run ! evpub job plain
    assert_equal "$(stat -c %s "$(spool_file)")" "$(($(stat -c %s "$(spool_file)")))"
}

@test "evpub --spool alone delivers what waits, once, in order and with its own times" {
    local before after
    before=$(date -u +%FT%T.%NZ)
    keep one two
    evpub --spool -T 2>>keep.err <<<"job.a${TAB}three"
    evpub --spool -H k=v --id id-4 job four 2>>keep.err
    after=$(date -u +%FT%T.%NZ)
    run -69 evpub --spool
    assert_output --partial 'wait 4 events, the oldest of '
    start_hub
    run evpub --spool
    assert_success
    assert_output 'evpub: 4 spooled events delivered'
    run evpub --spool
    assert_success
    assert_output ''
    assert_equal "$(payloads | tr '\n' ' ')" 'one two three four '
    run jq -rs --arg a "$before" --arg b "$after" '[.[].headers.time] | . == sort and .[0] > $a and .[-1] < $b' \
        <(payloads -J)
    assert_output true
    assert_equal "$(payloads -J | jq -c 'select(.id == "id-4") | .headers.k')" '"v"'
    assert_equal "$(stat -c %s "$(spool_file)")" 0
}

@test "evpub --spool with nothing that waits needs no hub" {
    run evpub --spool
    assert_success
    assert_output ''
    assert_not_exists "$EVBUS_SPOOL"
}

@test "what waits is delivered before new events" {
    keep old older
    start_hub
    evpub --spool job new
    assert_equal "$(payloads | tr '\n' ' ')" 'old older new '
    assert_equal "$(payloads -J | jq -c .headers | tail -n 1)" '{}'
}

@test "an event keeps a time that it has, and its bytes" {
    local payload
    evpub --spool -H time=noon job x 2>>keep.err
    printf 'a\nb\0c\377' | evpub --spool -s job 2>>keep.err
    printf 'p\nq\0\0r' | evpub --spool -0 job 2>>keep.err
    head -c 1048576 /dev/urandom >big
    evpub --spool -f big job 2>>keep.err
    jq -nc '{topic: "job", payload_base64: "/w==", headers: {h: "1"}}' | evpub --spool -J 2>>keep.err
    start_hub
    evpub --spool 2>>keep.err
    assert_equal "$(evsub --from first -n 1 -F '%h{time}\n')" noon
    evsub --from first -e -r >all
    { printf 'xa\nb\0c\377p\nqr' && cat big && printf '\377'; } >expected
    cmp all expected
}

@test "options that make no sense with --spool are usage errors" {
    local option
    for option in --live '--expect 0' '--in 1s' '--at now' -p; do
        # shellcheck disable=SC2086
        run -64 evpub --spool $option job x
        assert_output --partial -- '--spool keeps what has no seq'
    done
    run -64 evpub --spool -s
    run -65 evpub --spool 'bad topic' x
    run -65 evpub --spool -H "$(printf 'a\001=b')" job x
    assert_not_exists "$EVBUS_SPOOL"
}

@test "--atomic --spool is one whole, also from the spool" {
    seq 20000 | evpub --spool --atomic job 2>>keep.err
    start_hub
    evpub --spool 2>>keep.err
    payloads | cmp - <(seq 20000)
    # one batch: its events share one time and producer batch
    assert_equal "$(payloads -J | jq -r '.id | split("-")[1]' | sort -u | wc -l)" 1
}

@test "a hub that goes away in mid-stream: all is there once, in order" {
    local i
    start_hub
    mkfifo in
    # shellcheck disable=SC2016
    start bash -c 'exec evpub --spool --timeout 0.5 job <in 2>pub.err' evpub
    local pub=$PID
    exec {feed}>in
    seq 1000 >&$feed
    evsub --from first -n 1000 job >/dev/null
    kill -STOP "$HUB_PID"
    seq 1001 3000 >&$feed
    exec {feed}>&-
    wait_for_exit "$pub"
    grep -q 'kept in' pub.err
    kill -CONT "$HUB_PID"
    evpub --spool
    payloads | cmp - <(seq 3000)
}

@test "SIGTERM while a hub that hangs takes no more: what was read is kept, to the last whole line" {
    local pub feed clock now last=0 status=0
    start_hub
    mkfifo in clock
    start bash -c 'exec evpub --spool job <in 2>pub.err' evpub
    pub=$PID
    exec {feed}<>in {clock}<>clock
    echo 0000000 >&"$feed"
    evsub --from first -n 1 job >/dev/null
    freeze "$HUB_PID"
    seq -f %07.0f 1 999999 >lines
    start dd if=lines bs=64K status=none >&"$feed"
    while now=$(awk '/^rchar/ { print $2 }' "/proc/$pub/io"); ((now < 1000000 || now != last)); do
        last=$now
        read -r -t 0.2 -u "$clock" || true # it reads until the window is full
    done
    kill -TERM "$pub"
    wait_for_exit "$pub" || status=$?
    assert_equal "$status" 143
    head -n 2 <&"$feed" >rest
    kill -CONT "$HUB_PID"
    evpub --spool
    payloads >stored
    cmp stored <(seq -f %07.0f 0 $((10#$(sed -n 2p rest) - 2)))
}

@test "SIGTERM while a hub that hangs takes no more: what came before a bad line is kept" {
    local pub feed status=0
    start_hub
    mkfifo in
    start bash -c 'exec evpub --spool -T <in 2>pub.err' evpub
    pub=$PID
    exec {feed}<>in
    printf 'job\t0\n' >&"$feed"
    evsub --from first -n 1 job >/dev/null
    freeze "$HUB_PID"
    printf '%s\n' "job${TAB}1" "job${TAB}2" bad "job${TAB}3" >&"$feed"
    while read -r -t 0 -u "$feed"; do :; done # until it has read that
    kill -TERM "$pub"
    wait_for_exit "$pub" || status=$?
    assert_equal "$status" 143
    run -0 tail -n 1 pub.err
    assert_output --partial '1 event stored, 2 kept in'
    kill -KILL "$HUB_PID"
    wait_for_exit "$HUB_PID" || true
    start_hub
    evpub --spool
    assert_equal "$(payloads)" $'0\n1\n2'
}

@test "two programs that keep events at once lose none" {
    local i pids=()
    for i in 1 2 3 4; do
        # shellcheck disable=SC2016
        start bash -c 'seq 200 | sed "s/^/job.$1\t/" | evpub --spool -T' keeper "$i" 2>>keep.err
        pids+=("$PID")
    done
    for i in "${pids[@]}"; do wait_for_exit "$i"; done
    for i in {1..20}; do
        start evpub --spool job.one "$i" 2>>keep.err
        wait_for_exit "$PID"
    done
    start_hub
    run evpub --spool
    assert_output 'evpub: 820 spooled events delivered'
    for i in 1 2 3 4; do
        payloads "job.$i" | cmp - <(seq 200)
    done
    payloads job.one | cmp - <(seq 20)
}

@test "a torn end is cut off and said, and loses nothing whole" {
    keep one two
    keep three
    local file size
    file=$(spool_file)
    size=$(stat -c %s "$file")
    truncate -s $((size - 1)) "$file"
    run evpub --spool job four
    assert_success
    assert_output --partial "$file: cut "
    assert_output --partial "they are in ${file##*/}.damaged"
    start_hub
    evpub --spool 2>>keep.err
    assert_equal "$(payloads | tr '\n' ' ')" 'one two four '
    assert_exists "$file.damaged"
}

@test "damage in the middle is said, kept aside, and what is whole behind it delivered" {
    keep one
    local file size
    file=$(spool_file)
    size=$(stat -c %s "$file")
    keep two
    keep three
    printf '\377' | dd of="$file" bs=1 seek=$((size + 100)) conv=notrunc status=none
    keep four
    start_hub
    run -1 evpub --spool
    assert_output --partial "bytes at offset $size are damaged"
    assert_output --partial '3 spooled events delivered'
    assert_equal "$(payloads | tr '\n' ' ')" 'one three four '
    assert_equal "$(stat -c %s "$file.damaged")" "$size"
    run evpub --spool
    assert_success
}

@test "a file of garbage is set aside whole" {
    keep one
    local file
    file=$(spool_file)
    head -c 5000 /dev/urandom >"$file"
    cp "$file" garbage
    run evpub --spool job two
    assert_success
    cmp garbage "$file.damaged"
    start_hub
    evpub --spool 2>>keep.err
    assert_equal "$(payloads)" two
}

@test "what the hub refuses for good is kept aside, and holds up nothing" {
    head -c 3000 /dev/zero | tr '\0' x >large
    keep one
    evpub --spool -f large job 2>>keep.err
    { echo two; cat large; echo; echo three; } | evpub --spool --timeout 0.1 job 2>>keep.err
    start_hub --max-payload 2000
    run -65 evpub --spool
    assert_output --partial 'job: 1 event refused, kept in '
    assert_output --partial '3 spooled events delivered'
    assert_equal "$(payloads | tr '\n' ' ')" 'one two three '
    assert_exists "$(spool_file).refused"
    # It is a spool as any: put in its place, and delivered to a hub that takes it.
    stop_hub
    start_hub
    mv "$(spool_file).refused" "$(spool_file)"
    run evpub --spool
    assert_output 'evpub: 2 spooled events delivered'
    assert_equal "$(payloads | wc -c)" $((14 + 2 * 3001))
}

@test "a directory that cannot be written is an error only without a hub" {
    local place=$BATS_TEST_TMPDIR/none
    echo >"$place"
    run -74 env EVBUS_SPOOL="$place/spool" evpub --spool job x
    assert_output --partial "$place"
    start_hub
    run env EVBUS_SPOOL="$place/spool" evpub --spool job x
    assert_success
    run env EVBUS_SPOOL="$place/spool" evpub --spool
    assert_success
}

@test "a full disk: status 74, and no half event stays" {
    keep one
    local file size
    file=$(spool_file)
    size=$(stat -c %s "$file")
    head -c 100000 /dev/zero >large
    # The file may grow to 8 KiB; SIGXFSZ is ignored, so that write(2) fails.
    run -74 bash -c 'trap "" XFSZ; ulimit -f 8; exec evpub --spool -f large job'
    assert_output --partial "$file: File too large"
    assert_equal "$(stat -c %s "$file")" "$size"
    start_hub
    evpub --spool 2>>keep.err
    assert_equal "$(payloads)" one
}

@test "a spool that is full refuses, and delivers still" {
    local i
    head -c 16777216 /dev/zero >large
    for i in 1 2 3; do evpub --spool -f large job 2>>keep.err; done
    run -74 evpub --spool -f large job
    assert_output --partial 'the spool is full'
    evpub --spool job last 2>>keep.err
    start_hub --max-payload 32M
    run evpub --spool
    assert_output 'evpub: 4 spooled events delivered'
}

# The hub's wall clock is so far from ours: "+1d", "+0".
set_clock() { # OFFSET
    echo "$1" >clock.new
    mv clock.new clock
}

@test "a delivery killed at any call is gone on with, and nothing is there twice" {
    skip_if_sanitized
    local step sent=0 file
    keep 0
    file=$(spool_file)
    start_hub
    evpub --spool 2>>keep.err
    for step in flock:{1..3} ftruncate:{1,2} fdatasync:{1,2} pwrite64:{1,2} sendto:{1..7..2}; do
        # Kept for a hub that is not there, and then put in place.
        EVBUS_URL=ipc://$PWD/none keep $((sent + 1)) $((sent + 2))
        EVBUS_URL=ipc://$PWD/none keep $((sent + 3))
        sent=$((sent + 3))
        evpub --spool 2>>keep.err # what the one before has left
        mv "$EVBUS_SPOOL"/*none-???????????????? "$file"
        strace -f -o /dev/null -e "inject=${step%:*}:signal=KILL:when=${step#*:}" evpub --spool 2>>killed.err || true
    done
    evpub --spool 2>>keep.err
    payloads | cmp - <(seq 0 "$sent")
    assert_equal "$(stat -c %s "$(spool_file)")" 0
}

@test "a delivery that is gone on with a day later: the hub's journal tells what is there" {
    skip_if_sanitized
    local library n file
    library=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
    [[ -n $library ]] || skip "libfaketime is not there"
    set_clock +0
    keep one two three
    evpub --spool other four 2>>keep.err
    LD_PRELOAD=$library FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 \
        FAKETIME_TIMESTAMP_FILE=$PWD/clock start_hub
    evpub job zero
    # All is stored and acknowledged; it is killed before it empties the file (the first time, its pid goes to the lock).
    run strace -f -o /dev/null -e inject=ftruncate:signal=KILL:when=2 evpub --spool
    assert_failure
    file=$(spool_file)
    ((0 < $(stat -c %s "$file")))
    # The hub forgets publishers that are silent for two times ten minutes.
    for n in 1 2 3; do
        set_clock +${n}d
        evpub other "day $n"
    done
    evpub --spool job five
    assert_equal "$(payloads | tr '\n' ' ')" 'zero one two three four day 1 day 2 day 3 five '
    assert_equal "$(stat -c %s "$file")" 0
}

@test "while one delivers, another's events go behind, and are delivered too" {
    local first file
    keep one
    file=$(spool_file)
    start_hub
    kill -STOP "$HUB_PID"
    : >"$file.lock" # which is waited for
    start evpub --spool 2>first.err
    first=$PID
    follow "$PATIENCE" "$file.lock" grep -q "$first"
    run evpub --spool job two
    assert_success
    assert_output --partial "held by another process, pid $first; 1 event kept in $file"
    kill -CONT "$HUB_PID"
    wait_for_exit "$first"
    grep -q '2 spooled events delivered' first.err
    assert_equal "$(payloads | tr '\n' ' ')" 'one two '
}

@test "cron's environment, which has HOME only, is enough" {
    skip_if_sanitized
    local as=()
    if [[ $(id -u) == 0 ]]; then # whose spool is in /var/lib: as somebody else, who may read what was built
        as=(setpriv --reuid=65534 --inh-caps=+dac_override --ambient-caps=+dac_override)
        "${as[@]}" "$EVB_BIN/evpub" --version >version || skip "cannot run it as another user"
    fi
    env -i HOME="$BATS_TEST_TMPDIR" "${as[@]}" "$EVB_BIN/evpub" -u "$EVBUS_URL" --spool job x 2>>keep.err
    assert_exists .local/state/evbus/spool
}

@test "a stream that goes on comes back to the hub" {
    local feed pub size
    keep first
    size=$(($(stat -c %s "$(spool_file)") + 1))
    mkfifo in
    start bash -c 'exec evpub --spool -v --timeout 10 job <in 2>pub.err' evpub
    pub=$PID
    exec {feed}>in
    printf '%s\n' second third >&"$feed"
    follow "$PATIENCE" "$(spool_file)" head -c "$size"
    eval "start_hub $feed>&-" # which would hold the fifo open
    evsub --from first -n 3 job >three
    assert_equal "$(tr '\n' ' ' <three)" 'first second third '
    echo fourth >&"$feed"
    assert_equal "$(evsub --from first -n 4 job | tail -n 1)" fourth
    exec {feed}>&-
    wait_for_exit "$pub"
    assert_equal "$(cat pub.err)" 'evpub: job: 3 events stored'
}

@test "a spool's place that is no absolute path is passed over, and that is said" {
    EVBUS_SPOOL=here run -0 evpub --spool job x
    assert_line --index 0 'evpub: EVBUS_SPOOL=here: passed over: not an absolute path'
    assert_line --index 1 --partial '1 event kept in'
    assert_not_exists here
}
