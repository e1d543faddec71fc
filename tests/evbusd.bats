# evbusd.bats: the hub's options, its configuration, its end and its next start.
load helper

free_port() { # a port of which the next one is free, too
    $PYTHON - <<'P'
import socket
while True:
    a, b = socket.socket(), socket.socket()
    a.bind(("127.0.0.1", 0))
    try:
        b.bind(("127.0.0.1", a.getsockname()[1] + 1))
    except OSError:
        continue
    print(a.getsockname()[1])
    break
P
}

@test "a --ready-fd that nobody has handed over is refused: what the hub opens may have that number" {
    # bats has some of its own
    for fd in 2 77 99999999999; do
        run -64 timeout -k 1 20 evbusd -u "$EVBUS_URL" -d "$JOURNAL" --ready-fd "$fd"
        assert_output 'evbusd: --ready-fd: not an open descriptor above 2'
    done
    run -64 bash -c 'exec 3>&- 8>&-; for fd in 3 8; do timeout 20 evbusd -u "$1" -d "$2" --ready-fd "$fd" || s=$?; done; exit "$s"' \
        - "$EVBUS_URL" "$JOURNAL"
}

@test "ipc and tcp together, over one journal" {
    local port
    port=$(free_port)
    start_hub -u "tcp://127.0.0.1:$port"
    evpub a one
    evpub -u "tcp://localhost:$port" a two
    run -0 evsub -u "tcp://127.0.0.1:$port" --from first -e
    assert_output $'one\ntwo'
    start_sub live -u "tcp://127.0.0.1:$port" -n 1
    evpub a three
    wait_for_exit "$SUB_PID"
    assert_equal "$(cat live)" three
}

@test "tcp beyond this machine is refused: 64" {
    run -64 timeout 5 evbusd -u tcp://0.0.0.0:7000 --memory
    assert_output --partial "this machine only"
    run -64 timeout 5 evbusd -u 'tcp://*:7000' --memory
    run -64 timeout 5 evbusd -u udp://127.0.0.1:7000 --memory
}

@test "every sync mode stores, and a clean end keeps all" {
    local mode
    for mode in always 20 none; do
        start_hub -d "$PWD/j-$mode" --sync "$mode"
        seq 1000 | evpub a
        stop_hub
        start_hub -d "$PWD/j-$mode" --sync "$mode"
        evsub --from first -e >out
        cmp out <(seq 1000)
        run -0 evpub -p a next
        assert_output 1001
        stop_hub
    done
}

@test "bad options: 64, named" {
    local bad
    for bad in --sync=often --sync=0 --retain=much --segment=1 --max-payload=0 --live=a..b --nonsense; do
        run -64 timeout 5 evbusd --memory "$bad"
    done
    run -64 timeout 5 evbusd --memory operand
}

@test "a configuration file: its keys are the options, the command line is on top" {
    printf 'dir = %s\nsync = none\nsegment = 64K\nlive = trace.#\nmax-payload = 1K\n' "$JOURNAL" >conf
    start_ready hub.out hub.err evbusd -u "$EVBUS_URL" -c conf --max-payload 2K
    HUB_PID=$PID
    evpub trace.x gone
    head -c 1500 /dev/zero | evpub -s a
    run -65 evpub -s a < <(head -c 3000 /dev/zero)
    assert_output --partial "max-payload"
    run -0 evsub --from first -e -F '%t %s\n'
    assert_output 'a 1'
    stop_hub
}

@test "a bad configuration: 78, with file and line" {
    printf 'sync = none\nnonsense = 1\n' >conf
    run -78 timeout 5 evbusd -c conf --memory
    assert_output --partial "conf:2: "
    printf 'sync = none\n\nno equals sign\n' >conf
    run -78 timeout 5 evbusd -c conf --memory
    assert_output --partial "conf:3"
    printf '[section]\nsync = none\n' >conf
    run -78 timeout 5 evbusd -c conf --memory
    run -78 timeout 5 evbusd -c missing --memory
    local line
    for line in 'sync = often' 'retain = soon' 'segment = 1K' 'max-payload = 1G' 'live = a b' 'url = nowhere' 'help = yes'; do
        printf '; options\n%s\nmemory = yes\n' "$line" >conf
        run -78 timeout 5 evbusd -c conf
        assert_output --partial "conf:2: "
    done
    # What is wrong on the command line is not the file's fault.
    printf 'sync = none\n' >conf
    run -64 timeout 5 evbusd -c conf --sync often --memory
    refute_output --partial conf
}

@test "SIGHUP takes a good file, and goes on as before with a bad one" {
    printf 'live = one.#\n' >conf
    start_hub -c "$PWD/conf"
    evpub two.x kept
    printf 'live = two.#\n' >conf
    kill -HUP "$HUB_PID"
    wait_for_text hub.err 'read the configuration again'
    evpub two.x not-kept
    printf 'live = two.#\nbad\n' >conf
    kill -HUP "$HUB_PID"
    wait_for_text hub.err 'conf:2'
    evpub one.x kept-too
    run -0 evsub --from first -e
    assert_output $'kept\nkept-too'
    stop_hub
}

@test "retention by size drops the oldest segments; seqs and versions go on" {
    start_hub --segment 64K --retain 200K
    yes 'a line of some length to fill segments with' | head -n 20000 | evpub --timeout 60 a
    start_sub tail -n 1 never # a second or so, in which the journal is tended
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 20 bash -c 'until (($(du -ck "$1"/*.evj | tail -n 1 | cut -f 1) <= 300)); do evsub -W 0.2 never; done' - "$JOURNAL"
    (($(evctl -J status | sed 's/.*"first":\([0-9]*\).*/\1/') > 1))
    [[ $(evpub -p a next) == 20001 ]]
    [[ $(evsub --from last -e -F %v) == 20001 ]]
    run -1 evsub --from 1 -e
    assert_output --partial "gone"
    [[ $(evsub --from 1 -e --allow-gap | tail -n 1) == next ]]
    stop_hub
    (($(du -sk "$JOURNAL"/*.evj | awk '{n += $1} END {print n}') <= 300))
}

@test "--memory leaves nothing on disk and replays while it lives" {
    start_hub --memory
    seq 100 | evpub a
    evsub --from first -e | cmp - <(seq 100)
    stop_hub
    assert_not_exist "$JOURNAL"
    assert_not_exist state/evbus
}

@test "a directory that others may enter is refused: 77" {
    mkdir -m 755 open
    run -77 timeout 5 evbusd -u "ipc://$PWD/open" --memory
    assert_output --partial "chmod 700"
}

@test "systemd is told when the hub is ready" {
    $PYTHON - >notified 3>&- <<'P' &
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify")
open("bound", "w").close()
s.settimeout(15)
print(s.recv(100).decode())
P
    local listener=$!
    STARTED+=("$listener")
    wait_for_text <(while [[ ! -e bound ]]; do :; done; echo bound) bound
    NOTIFY_SOCKET=$PWD/notify start_hub
    wait_for_exit "$listener"
    assert_equal "$(cat notified)" READY=1
}

@test "cron's bare environment is enough" {
    run -0 timeout 20 env -i PATH="$PATH" HOME="$HOME" sh -c "evbusd --help && evpub -u '$EVBUS_URL' --help" </dev/null
    start_hub
    run -0 env -i PATH="$PATH" HOME="$HOME" evpub -u "$EVBUS_URL" -p cron.job done </dev/null
    assert_output 1
}

@test "with descriptors closed no message goes into the lock or the journal" {
    mkfifo ready
    start bash -c 'exec evbusd -d "$1" --ready-fd 9 9>ready <&- >&- 2>&-' - "$JOURNAL"
    IFS= read -r -t "$PATIENCE" _ <ready
    evpub t x
    run -0 cat "$JOURNAL/lock"
    assert_output "$PID"
    kill -TERM "$PID"
    wait_for_exit "$PID"
    run -0 evctl -d "$JOURNAL" verify
}
