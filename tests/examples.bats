# examples.bats: what README.md and the manuals show is what happens: each example is run as it stands, in the order of
# its page, with a hub on $EVBUS_URL and a fresh journal, and must print what the page says (scripts/run-examples).
bats_require_minimum_version 1.5.0
load helper

run_page() { # FILE
    start_hub
    cd "$(mktemp -d "$BATS_TEST_TMPDIR/page.XXXXXX")"
    run timeout 60 "$ROOT/scripts/run-examples" "$ROOT/$1"
    assert_success
}

# Installs the library below the test's directory, for `cc ... $(pkg-config ... evbus)`.
install_here() {
    skip_if_sanitized
    local prefix=$BATS_TEST_TMPDIR/usr
    timeout 120 make -C "$ROOT" --no-print-directory B="$EVB_BUILD" PREFIX="$prefix" install >install.log 2>&1 ||
        { cat install.log; return 1; }
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
}

@test "every manual is run here" {
    for manual in "$ROOT"/man/*.[1-8]; do
        grep -q "run_page man/${manual##*/}\$" "$BATS_TEST_FILENAME" || fail "${manual##*/}: not in examples.bats"
    done
}

@test "README.md" {
    install_here
    run_page README.md
}

@test "evbus(7)" {
    run_page man/evbus.7
}

@test "evpub(1)" {
    run_page man/evpub.1
}

@test "evsub(1)" {
    run_page man/evsub.1
}

@test "evlisten(1)" {
    run_page man/evlisten.1
}

@test "evrun(1)" {
    run_page man/evrun.1
}

@test "evcmd(1)" {
    run_page man/evcmd.1
}

@test "evfold(1)" {
    run_page man/evfold.1
}

@test "evctl(1)" {
    run_page man/evctl.1
}

@test "evbusd(8)" {
    run_page man/evbusd.8
}

@test "libevbus(3)" {
    install_here
    run_page man/libevbus.3
}

@test "evbus-journal(5)" {
    run_page man/evbus-journal.5
}

@test "evbus-protocol(7)" {
    run_page man/evbus-protocol.7
}
