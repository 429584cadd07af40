# What the probes share. Sourced after node.sh.
# shellcheck shell=sh disable=SC2154

tell() {
    printf '%s\n' "$1"
    exit "$2"
}
# For who restarts it: one node after the other, five minutes apart.
has_old_certificate() {
    [ -n "$TLS" ] || return 1
    find_place
    [ -n "$(find -L "$TLS/tls.crt" -newer "$DATA/started" -mmin "+$((ordinal * 5))" 2>/dev/null)" ]
}
answer() { # PORT COMMAND...
    at=$1
    shift
    cli -h "$LOCAL" -p "$at" "$@" 2>&1 | tr -d '\r' || true
}

tell_live() { # PORT START_PROGRAM
    ! has_old_certificate || tell "its certificate was renewed, and is read at the start alone" 1
    # One that loads, wants a password or has lost its primary lives: to kill it would cost more.
    ! answers "$LOCAL" "$1" || tell "alive" 0
    ! tr '\0' ' ' <"/proc/${MAIN_PID:-1}/cmdline" 2>/dev/null | grep -q "$2" ||
        tell "waiting to start" 0
    tell "no answer" 1
}
