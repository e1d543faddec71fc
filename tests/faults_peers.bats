# faults_peers.bats: peers that send garbage, too much, or never read: the hub lives and serves the others.
bats_require_minimum_version 1.5.0
load helper

raw() { timeout 50 "$PYTHON" "$ROOT/tests/peers/raw.py" "$@"; }

# Starts a peer that holds what it has until descriptor 7 is written to, and waits until it has said PATTERN.
hold_raw() { # PATTERN WHAT ARG…
    [[ -e held ]] || mkfifo held
    exec 7<>held
    start timeout 50 "$PYTHON" "$ROOT/tests/peers/raw.py" "${@:2}" <held >held.out 2>held.err
    wait_for_text held.out "$1" || { cat held.err; return 1; }
}

rss_anon() { # PID: in KiB
    awk '/^RssAnon/ { print $2 }' "/proc/$1/status"
}

# The same hub still stores, replays and delivers live.
assert_hub_serves() {
    kill -0 "$HUB_PID" || fail "the hub has died: $(cat hub.err)"
    local seq
    start_sub alive -n 1 alive.x
    seq=$(timeout 10 evpub -p alive.x "still here") || return
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat alive)" "still here"
    assert_equal "$(timeout 10 evsub --from "$seq" -n 1 alive.x)" "still here"
}

@test "bytes that are not ZMTP, on both sockets" {
    start_hub
    for _ in 1 2 3; do
        raw garbage_bytes hub
        raw garbage_bytes feed
    done
    assert_hub_serves
    stop_hub
}

@test "requests of every wrong shape, msgpack bombs and records with a wrong byte" {
    start_hub
    timeout 5 evpub load.x one
    raw garbage_frames
    (($(rss_anon "$HUB_PID") < 100 * 1024))
    assert_hub_serves
    timeout 5 evsub --from first -n 1 load.x
    stop_hub
    run -0 timeout 10 evctl -d "$JOURNAL" verify
    start_hub
    assert_hub_serves
}

@test "frames that are too large: the connection is closed" {
    start_hub
    run -0 raw oversized 8000000
    assert_output closed
    assert_hub_serves
    (($(rss_anon "$HUB_PID") < 100 * 1024))
    stop_hub
}

@test "frames of 64 KiB with MORE and no end: the hub's memory stays bounded" {
    skip_if_sanitized
    start_hub
    start_sub live -n 2 load.x
    timeout 5 evpub load.x one
    run -0 raw endless hub 65536 3000 "$HUB_PID"
    echo "$output"
    ((${output##* } < 1536))
    assert_hub_serves
    timeout 10 evpub load.x two
    wait_for_exit "${STARTED[1]}"
    assert_equal "$(cat live)" $'one\ntwo'
    stop_hub
}

@test "tiny frames with MORE and no end, on both sockets" {
    skip_if_sanitized
    start_hub
    run -0 raw endless hub 1 60 "$HUB_PID"
    echo "$output"
    ((${output##* } < 1536))
    assert_hub_serves
    run -0 raw endless feed 1 30 "$HUB_PID"
    echo "$output"
    ((${output##* } < 1536))
    assert_hub_serves
    stop_hub
}

@test "a peer that asks for 20,000 MiB and never reads" {
    skip_if_sanitized
    start_hub
    seq -f '%0999.0f' 5000 | timeout 10 evpub load.x
    hold_raw '^asked' never_reads 20000
    assert_hub_serves
    (($(rss_anon "$HUB_PID") < 512 * 1024))
    echo >&7
    assert_hub_serves
    stop_hub
}

@test "a peer that subscribes to 100,000 prefixes, and oddly" {
    start_hub
    hold_raw '^subscribed' subscribes 100000
    assert_hub_serves
    seq 1000 | timeout 10 evpub many.77
    echo >&7
    assert_hub_serves
    (($(rss_anon "$HUB_PID") < 200 * 1024))
    stop_hub
}

@test "no descriptors left: the hub lives, does not spin, and serves again when they are free" {
    limited() { ulimit -n 100 && exec "$EVB_BIN/evbusd" "$@"; }
    evbusd() { (limited "$@"); }
    start_hub
    unset -f evbusd
    HUB_PID=$(cat "$JOURNAL/lock")
    STARTED+=("$HUB_PID")
    assert_equal "$(awk '/^Max open files/ { print $5 }' "/proc/$HUB_PID/limits")" 100
    hold_raw '^connections' connections 300 "$HUB_PID"
    cat held.out
    # Three seconds: 300 ticks would be a spin.
    (($(awk '{ print $4 }' held.out) < 100))
    kill -0 "$HUB_PID"
    echo >&7
    wait_for_exit "$PID"
    assert_hub_serves
    grep -qi 'connection\|descriptor' <(grep -v ready hub.err)
}

@test "a subscriber that is stopped while 300 MB pass: the hub stays under 40 MiB, and it prints every line in order" {
    skip_if_sanitized
    start_hub
    start_sub slow -n 300000 --timeout 30 load.x
    timeout 5 evpub load.other x
    kill -STOP "$SUB_PID"
    for part in 0 1 2; do
        seq -f '%0999.0f' $((part * 100000 + 1)) $((part * 100000 + 100000)) | timeout 120 evpub --timeout 60 load.x
        echo "$part: $(rss_anon "$HUB_PID") KiB"
        (($(rss_anon "$HUB_PID") < 40 * 1024))
    done
    kill -CONT "$SUB_PID"
    wait_for_exit "$SUB_PID" 40
    (($(rss_anon "$HUB_PID") < 40 * 1024))
    cmp slow <(seq -f '%0999.0f' 300000)
}

@test "20 subscribers with patterns of their own, a fast stream over mixed topics: each sees exactly its events, in order" {
    local patterns=('s.#' '#' 's.0.x' 's.1.y' 's.2.z' 's.3.x' 's.4.y' 's.*.x' 's.*.y' 's.*.z' 's.0.*' 's.1.*' 's.2.*' 's.3.*'
        's.4.*' 's.0.#' 's.4.#' 's.0.x s.4.z' 's.*.x s.1.*' 's.rare.q') pids=() regex n=0
    # Topics change with each line, with long runs of one in between; one is rare.
    awk 'BEGIN { split("x y z", l, " "); for (i = 1; i <= 150000; i++) {
        k = int(i / 20000) % 2 ? int(i / 3000) : i
        t = i % 9973 == 0 ? "s.rare.q" : "s." (k * 7 % 5) "." l[k % 3 + 1]
        printf "%s\t%060d\n", t, i } }' >lines
    start_hub
    for pattern in "${patterns[@]}"; do
        regex=$(sed 's/\./\\./g; s/\*/[^.\t]*/g; s/#/[^\t]*/g; s/ /|/g' <<<"$pattern")
        grep -P "^($regex)\t" lines >"expect.$n"
        # shellcheck disable=SC2086 # several patterns
        start_sub "got.$n" --timeout 30 -v -t -n "$(wc -l <"expect.$n")" $pattern
        pids+=("$SUB_PID")
        n=$((n + 1))
    done
    timeout 30 evpub --timeout 20 -T <lines
    for n in "${!patterns[@]}"; do
        wait_for_exit "${pids[n]}" 30 || fail "${patterns[n]}: $(wc -l <"got.$n") of $(wc -l <"expect.$n")"
        cmp "expect.$n" "got.$n"
    done
    grep -c fetched got.*.err || true
}

@test "replies come in the order of the requests, also while events are stored" {
    local flood
    start_hub
    echo first | evpub load.y
    start bash -c 'exec evpub load.y < <(exec yes)' # which ends with it
    flood=$PID
    timeout 60 "$PYTHON" "$ROOT/tests/peers/in_order.py" 1000
    kill -KILL "$flood"
}

@test "requests of every kind, most of them senseless: each is answered, and groups work on" {
    local seed
    start_hub
    seq 300 | awk '{ print "t." $1 % 5 "\t" $1 }' | evpub -T
    for seed in 1 2 3; do
        timeout 60 "$PYTHON" "$ROOT/tests/peers/requests.py" "$seed" 2000
    done
    kill_hub
    start_hub
    timeout 60 "$PYTHON" "$ROOT/tests/peers/requests.py" 4 2000
    evsub -g after --from 1 -n 0 't.#'
    timeout 20 evsub -g after -e | sort -n | cmp - <(seq 300)
    stop_hub
}
