#!/bin/sh
# Whether a server of this node lives, or may be counted on.
#
#   probe.sh redis | sentinel live     it answers at all, or start.sh waits; not with a certificate that
#                                      has been renewed since
#   probe.sh redis ready               it is the primary, or a replica that is linked to it
#   probe.sh sentinel ready            enough Sentinels know each other to replace the primary
#
# redis-cli exits 0 whatever the server says, so what it says is read. MAIN_PID: the container's (1)
set -eu
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"

case ${1-} in
redis) port=$REDIS_PORT secret=password ;;
sentinel) port=$SENTINEL_PORT secret=sentinel-password ;;
*) refuse "say what to probe: probe.sh redis | sentinel live | ready" ;;
esac

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
answer() { cli -h "$LOCAL" -p "$port" "$@" 2>&1 | tr -d '\r' || true; }

case $1-${2-} in
*-live)
    ! has_old_certificate || tell "its certificate was renewed, and is read at the start alone" 1
    # One that loads, wants a password or has lost its primary lives: to kill it would cost more.
    ! answers "$LOCAL" "$port" || tell "alive" 0
    ! tr '\0' ' ' <"/proc/${MAIN_PID:-1}/cmdline" 2>/dev/null | grep -q 'start\.sh' ||
        tell "waiting to start" 0
    tell "no answer" 1
    ;;
redis-ready)
    REDISCLI_AUTH=$(secret "$secret")
    export REDISCLI_AUTH
    role=$(answer ROLE | awk '{ print $NF }')
    case $role in
    master*) tell "primary" 0 ;;
    slave*connected*) tell "replica" 0 ;;
    *) tell "neither primary nor a linked replica: $(printf '%s' "$role" | head -n 1)" 1 ;;
    esac
    ;;
sentinel-ready)
    REDISCLI_AUTH=$(secret "$secret")
    export REDISCLI_AUTH
    said=$(answer SENTINEL CKQUORUM "$MASTER_NAME")
    case $said in
    OK*) tell "quorum" 0 ;;
    *) tell "$said" 1 ;;
    esac
    ;;
*) refuse "say what to probe: probe.sh redis | sentinel live | ready" ;;
esac
