# faults_short.bats: the short form of make faults.
bats_require_minimum_version 1.5.0
load helper

@test "nothing is lost, doubled or out of order: kills, power failures, bad disks, damage, cut connections, clocks, descriptors" {
    skip_if_sanitized
    B=$EVB_BUILD timeout 200 "$ROOT/scripts/faults" --short --seed 7
}
