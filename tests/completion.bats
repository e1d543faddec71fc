# completion.bats: what bash is given to complete a line with.
bats_require_minimum_version 1.5.0
load helper

# Prints the words with which bash would complete the last WORD, sorted; first "default" where it may go on with files.
completed() { # PROGRAM WORD…
    timeout 10 bash -c '
        compopt() { printf "%s\n" "$2"; }
        . "$1/$2" || exit
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        "_$1"
        ((${#COMPREPLY[@]} == 0)) || printf "%s\n" "${COMPREPLY[@]}"' - "$EVB_BUILD/share/bash-completion/completions" "$@" | sort -u
}

@test "options and their values" {
    run completed evpub --sp
    assert_output '--spool'
    run completed evsub --from = l
    assert_output 'last'
    run completed evctl gro
    assert_output $'group\ngroups'
}

@test "behind -- a command, and then whatever bash completes by itself" {
    mkdir bin
    printf '#!/bin/sh\n' >bin/only-here-to-be-found
    chmod +x bin/only-here-to-be-found
    PATH=$PWD/bin:$PATH
    local line
    for line in 'evrun --lock --' 'evsub -g g # --' 'evcmd --serve sum --'; do
        # shellcheck disable=SC2086 # words
        run completed $line only-here-to
        assert_output $'default\nonly-here-to-be-found'
        # shellcheck disable=SC2086
        run completed $line only-here-to-be-found --from
        assert_output 'default'
    done
}

@test "a directory of files to listen by is gone into" {
    mkdir shop.d
    run completed evlisten sho
    assert_output $'filenames\nshop.d'
}
