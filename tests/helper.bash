# helper.bash: what every .bats file loads first, with `load helper`.
#
# Each test has a directory ($BATS_TEST_TMPDIR, where it starts), a URL ($EVBUS_URL, an ipc path in it) and a journal
# ($JOURNAL) of its own, and the programs built are first in PATH. Nothing here sleeps or polls: what starts is waited
# for on --ready-fd, what ends with wait, what grows with tail -f; every wait has a bound ($PATIENCE seconds). What a
# test has started in the background is killed after it, by its pid.
#
# The functions that start something set variables and keep lists: call them directly, not with `run`.
# shellcheck disable=SC2034 # what is set here is for the tests

PATIENCE=${PATIENCE:-20}
ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
EVB_BUILD=${EVB_BUILD:-$ROOT/build}
EVB_BIN=${EVB_BIN:-$EVB_BUILD/bin}
PYTHON=/usr/bin/python3 # the one that has Debian's modules

bats_require_minimum_version 1.5.0
for library in bats-support bats-assert bats-file; do
    load "/usr/lib/bats/$library/load.bash"
done

setup() { evb_setup; }
teardown() { evb_teardown; }

# What setup and teardown do; a file with its own calls these in them.
evb_setup() {
    cd "$BATS_TEST_TMPDIR" || return
    PATH=$EVB_BIN:$PATH
    TAB=$'\t'
    export EVBUS_URL=ipc://$BATS_TEST_TMPDIR/bus
    # Nothing of the user's own is read or written.
    export HOME=$BATS_TEST_TMPDIR XDG_STATE_HOME=$BATS_TEST_TMPDIR/state XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
    export EVBUS_SPOOL=$BATS_TEST_TMPDIR/spool
    mkdir -m 700 run
    JOURNAL=$BATS_TEST_TMPDIR/journal
    STARTED=()
    HUB_PID='' SUB_PID=''
    umask 022
}

evb_teardown() {
    local pid said
    for pid in "${STARTED[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    for pid in "${STARTED[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    # What the programs said is shown by bats if the test has failed.
    for said in *.err; do
        [[ ! -s $said ]] || { echo "$said:"; head -n 40 "$said"; }
    done
    [[ ${EVB_SAN:-} != 1 ]] || ! grep -H 'runtime error:' ./*.err 2>/dev/null
}

# Starts COMMAND in the background, its stdin from /dev/null unless redirected by the caller, and remembers it. $PID.
start() { # COMMAND…
    "$@" 3>&- &
    PID=$!
    STARTED+=("$PID")
}

# Forgets a pid that has been waited for.
forget() { # PID
    local pid kept=()
    for pid in "${STARTED[@]}"; do
        [[ $pid == "$1" ]] || kept+=("$pid")
    done
    STARTED=("${kept[@]}")
}

# Starts COMMAND --ready-fd 9 ARG… and waits until it is ready. Stdout goes to OUT, stderr is added to ERR. $PID.
# Returns 1 when it ends before it is ready, or takes longer than PATIENCE; its exit status is then wait_for_exit's.
start_ready() { # OUT ERR COMMAND ARG…
    local out=$1 err=$2 command=$3 fifo line
    shift 3
    fifo=$(mktemp -u "$BATS_TEST_TMPDIR/ready.XXXXXX")
    mkfifo "$fifo"
    "$command" --ready-fd 9 "$@" 9>"$fifo" >"$out" 2>>"$err" </dev/null 3>&- &
    PID=$!
    STARTED+=("$PID")
    if ! IFS= read -r -t "$PATIENCE" line <"$fifo"; then
        rm -f "$fifo"
        echo "$command did not become ready: $(cat "$err")" >&2
        return 1
    fi
    rm -f "$fifo"
}

# Starts a hub at $EVBUS_URL on $JOURNAL and waits until it is ready. ARGs come behind; -d or --memory among them
# replaces the journal. Its stderr is added to hub.err. $HUB_PID.
start_hub() { # ARG…
    local arg journal=(-d "$JOURNAL") status=0
    for arg; do
        case $arg in
        -d* | --dir* | --memory) journal=() ;;
        esac
    done
    start_ready hub.out hub.err evbusd -u "$EVBUS_URL" "${journal[@]}" "$@" || status=1
    HUB_PID=$PID
    return "$status"
}

# Ends the hub with SIGTERM; fails unless it exits 0.
stop_hub() {
    kill -TERM "$HUB_PID"
    wait_for_exit "$HUB_PID"
}

# Ends the hub with SIGKILL, as a crash would.
kill_hub() {
    kill -KILL "$HUB_PID"
    wait_for_exit "$HUB_PID" || true
}

# Stops PID with SIGSTOP, and waits until none of its threads runs any more: what is sent to it then, it has not read.
freeze() { # PID
    kill -STOP "$1"
    while grep -q '^State:[[:space:]]*[^T[:space:]]' "/proc/$1"/task/*/status; do :; done
}

# Publishes the lines of FILE with evpub ARG... while the hub is killed KILLS times and started again each time.
# Where the machine is slow a hub lives for a moment only, and a client may miss many: give those --timeout 0.
stream_with_kills() { # FILE KILLS ARG…
    local stream line count=0
    mkfifo control report
    start timeout 300 "$PYTHON" "$ROOT/tests/peers/stream.py" "$1" "$2" evpub -p "${@:3}" 2>stream.err
    stream=$PID
    exec 7<>control 8<report
    echo "$HUB_PID" >&7
    while read -r -t 300 -u 8 line; do
        wait_for_exit "$HUB_PID" || true
        start_hub || return
        count=$((count + 1))
        echo "$HUB_PID" >&7
    done
    exec 7>&- 8<&-
    wait_for_exit "$stream" || { echo "stream.py, evpub: $?, $count kills: $(cat stream.err)" >&2; return 1; }
    [[ $count == "$2" ]]
}

# Starts evsub ARG… in the background, stdout to OUT and stderr to OUT.err, and waits until it is subscribed. $SUB_PID.
start_sub() { # OUT ARG…
    local out=$1 status=0
    shift
    : >"$out.err"
    start_ready "$out" "$out.err" evsub "$@" || status=1
    SUB_PID=$PID
    return "$status"
}

# Starts a member that does what it is told (tests/peers/member.py). $MEMBER_IN and $MEMBER_OUT, descriptors; $PID.
start_member() { # GROUP PATTERN…
    local name=member.$RANDOM
    mkfifo "$name.in" "$name.out"
    # shellcheck disable=SC2016 # expanded by the inner shell, which opens the fifos
    start bash -c 'exec "${@:2}" <"$1.in" >"$1.out" 2>"$1.err"' start_member "$name" \
        "$PYTHON" "$ROOT/tests/peers/member.py" "$@"
    exec {MEMBER_IN}>"$name.in" {MEMBER_OUT}<"$name.out"
    answer "$MEMBER_OUT"
}

# Reads what a member prints, up to its "ok".
answer() { # OUT
    local line
    while IFS= read -r -t "$PATIENCE" -u "$1" line; do
        [[ $line != ok ]] || return 0
        echo "$line"
        [[ $line != error* ]] || return 1
    done
    echo "the member does not answer"
    return 1
}

# Tells the member last started.
tell() { # LINE
    echo "$1" >&"$MEMBER_IN"
    answer "$MEMBER_OUT"
}

# Waits until the background process PID has ended and returns its exit status (128 + the signal's number for one that
# was killed). After SECONDS (PATIENCE) it is killed and 124 returned.
wait_for_exit() { # PID [SECONDS]
    local pid=$1 seconds=${2:-$PATIENCE} clock status=0 watchdog
    clock=$(mktemp -u "$BATS_TEST_TMPDIR/clock.XXXXXX")
    mkfifo "$clock"
    # Nobody writes to the fifo: reading it is a clock that ends with the watchdog.
    { read -r -t "$seconds" <>"$clock" || { : >"$clock.late" && kill -KILL "$pid"; }; } 2>/dev/null 3>&- &
    watchdog=$!
    wait "$pid" || status=$?
    kill "$watchdog" 2>/dev/null || true
    wait "$watchdog" 2>/dev/null || true
    forget "$pid"
    if [[ -e $clock.late ]]; then
        echo "process $pid did not end within $seconds s" >&2
        status=124
    fi
    rm -f "$clock" "$clock.late"
    return "$status"
}

# Runs COMMAND with a SIGTERM for the program at this MOMENT (tests/peers/untimely.c).
untimely() { # MOMENT COMMAND…
    cc -D_GNU_SOURCE -shared -fPIC -Wall -Werror -o untimely.so "$ROOT/tests/peers/untimely.c"
    UNTIMELY=$1 LD_PRELOAD=$PWD/untimely.so "${@:2}"
}

# Runs FILTER on what FILE has and gets, until FILTER ends; fails after SECONDS. A FILE that is not there yet is made.
follow() { # SECONDS FILE FILTER…
    local seconds=$1 file=$2
    shift 2
    : >>"$file" # else tail would end at once, and head be content
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout "$seconds" bash -c '
        file=$1
        shift
        exec {grown}< <(exec tail -n +1 -s 0.05 -f "$file" 2>/dev/null)
        tail=$!
        status=0
        "$@" <&$grown >/dev/null || status=$?
        kill "$tail"
        exit $status' follow "$file" "$@" 3>&-
}

# Waits until FILE has at least COUNT lines.
wait_for_lines() { # FILE COUNT [SECONDS]
    follow "${3:-$PATIENCE}" "$1" head -n "$2" ||
        { echo "$1: $(wc -l <"$1") lines, not $2" >&2; return 1; }
}

# Waits until a line of FILE matches the extended regular expression PATTERN.
wait_for_text() { # FILE PATTERN [SECONDS]
    follow "${3:-$PATIENCE}" "$1" grep -qE -e "$2" || { echo "$1: no line with: $2" >&2; cat "$1" >&2; return 1; }
}

# Skips a test that measures memory or time, or links with what was built, where sanitizers are in it.
skip_if_sanitized() {
    [[ ${EVB_SAN:-} != 1 ]] || skip "not with sanitizers"
}
