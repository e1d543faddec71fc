# library.bats: an installed copy is enough for a C program, shared and static.
load helper

install_copy() {
    skip_if_sanitized
    make -s -C "$ROOT" install B="$EVB_BUILD" DESTDIR="$PWD/root" PREFIX=/usr >install.log 2>&1
    export PKG_CONFIG_SYSROOT_DIR=$PWD/root
    PKG_CONFIG_PATH=$(dirname "$(find root -name evbus.pc)")
    export PKG_CONFIG_PATH
    LIBRARIES=$(dirname "$(find "$PWD/root" -name libevbus.a)")
}

# Builds tests/library/PROGRAM.c with an installed copy.
build_with_copy() { # PROGRAM
    install_copy
    # shellcheck disable=SC2046 # words
    cc -Wall -Werror -o "$1" "$ROOT/tests/library/$1.c" $(pkg-config --cflags --libs evbus)
}

@test "an asynchronous publisher and a subscriber, against an installed copy" {
    build_with_copy async
    start_hub
    LD_LIBRARY_PATH=$LIBRARIES timeout 30 ./async "$EVBUS_URL" 100000
    evsub --from first -e | cmp - <(seq 100000)
}

@test "the same, static" {
    install_copy
    # shellcheck disable=SC2046 # words
    cc -Wall -Werror -o async "$ROOT/tests/library/async.c" $(pkg-config --cflags evbus) "$LIBRARIES/libevbus.a" \
        $(pkg-config --static --libs-only-l evbus | sed 's/-levbus//')
    start_hub
    timeout 30 ./async "$EVBUS_URL" 1000
    evsub --from first -e | cmp - <(seq 1000)
}

@test "the header is C++ too" {
    command -v c++ >/dev/null || skip "no C++ compiler"
    echo '#include <evbus.h>' >t.cc
    c++ -Wall -Werror -fsyntax-only -I"$ROOT/lib" t.cc
}

@test "a member of a group that acknowledges, fails and rejects, in any order" {
    build_with_copy group
    start_hub
    evsub -g g -n 0 t
    printf '%s\n' a later b never c d | evpub t
    run -0 env LD_LIBRARY_PATH="$LIBRARIES" timeout 30 ./group "$EVBUS_URL"
    assert_equal "$(sort <<<"$output")" $'a 1\nb 1\nc 1\nd 1\nlater 1\nlater 2\nnever 1'
    assert_equal "$(evctl dead list -J | jq -r '[.topic, .reason, .deliveries] | join(" ")')" 't of no use 1'
    run -0 timeout 20 evsub -g g -e
    assert_output ''
}

@test "a member that works for long on what it took at once does not take the hub to be silent" {
    build_with_copy slow
    start_hub
    evsub -g g -n 0 t
    seq 3000 | evpub t
    LD_LIBRARY_PATH=$LIBRARIES timeout 30 ./slow "$EVBUS_URL"
}

@test "attempts in vain that do not fit into one request are all kept" {
    build_with_copy attempts
    start_hub
    evsub -g g -n 0 t
    seq 100 | evpub t
    run -0 env LD_LIBRARY_PATH="$LIBRARIES" timeout 30 ./attempts "$EVBUS_URL"
    assert_equal "$(evctl groups -J | jq -c '[.dead, .pending]')" '[100,0]'
    assert_equal "$(timeout 20 evsub --from first -e -F '%h{signal} %p\n' '$failed.#' | sort | uniq -c | awk '{ print $1, $2, length($3) }')" \
        '100 9 16384'
}
