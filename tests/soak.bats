# soak.bats: that scripts/soak works, and sees what it should: a few seconds of it. `make soak` is the real one.

load helper

short_soak() { # runs it; what it says in report.md and on stdout
    B=$EVB_BUILD SOAK_OUT=$PWD/soak SOAK_RATE=2000 SOAK_EVERY=1 SOAK_SECONDS=3 "$ROOT/scripts/soak"
}

@test "a few seconds of mixed work: nothing lost, nothing doubled, the journal whole" {
    run --separate-stderr short_soak
    assert_success
    assert_line --regexp '^[0-9]+ passed, 0 failed$'
    run grep -c '^| .* | yes | ' soak/report.md
    assert [ "$output" -ge 15 ]
    run head -n 2 soak/samples.csv
    assert_line --index 0 --partial seconds,hub_anon_kib
    assert_line --index 1 --regexp '^[0-9.]+,[1-9]'
}

@test "the account sees what is lost and what comes twice" {
    "$EVB_BUILD/soak/stream" make t 0 40 1 2>/dev/null | head -n 100 | cut -f 2 >lines
    run "$EVB_BUILD/soak/stream" check 60 <lines
    assert_output --regexp '^100 100 0 0 '
    sed '10d;20,21d;50p' lines >bad
    run "$EVB_BUILD/soak/stream" check 60 <bad
    assert_output --regexp '^98 100 3 1 '
}
