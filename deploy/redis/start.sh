#!/bin/sh
# Start one Redis, or its Sentinel, in the place that the Sentinels have for it.
#
#   start.sh redis | sentinel
#
# A server that starts as primary because of its name, or because it once was, takes writes that are
# lost when the others correct it. So it asks: a majority of the Sentinels must agree on who is
# primary. Without it, it waits; only where nobody remembers anything is the first node the primary.
set -eu
umask 077
# Process 1 would be deaf to signals while it waits.
trap 'exit 143' TERM INT
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=users.sh
. "$(dirname -- "$0")/users.sh"
# shellcheck source=server.sh
. "$(dirname -- "$0")/server.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

# Whether a line of the survey has such flags, or replicas.
flagged() { printf '%s\n' "$held" | awk -v flag="$1" 'index($4, flag) { found = 1 } END { exit !found }'; }
known_replicas() { printf '%s\n' "$held" | awk '$5 > 0 { found = 1 } END { exit !found }'; }

# Seconds in which the Sentinels replace a primary that they miss, if they can.
time_to_replace() { printf '%s\n' "$held" | awk 'NR == 1 { print int($6 / 1000) + 7 }'; }

# Whether the Sentinels may make this server the primary. One that is to replace a single Redis they may
# not before electable.sh was run on its node, or they have left that Redis for another.
may_be_elected() { [ -z "$SINGLE" ] || [ -e "$DATA/electable" ]; }

# It follows the single Redis before there are Sentinels. Once it may have been primary, nobody but they
# can tell it whom to follow: what it has may be all there is.
heed_single() {
    case $primary in
    "$SINGLE") ;;
    '') [ -n "$held" ] || primary=$SINGLE ;;
    *) touch "$DATA/electable" ;;
    esac
}

start_redis() {
    check_templates redis-master.conf redis-replica.conf
    read_sentinel_secrets
    told=
    # What one turn of the loop takes is a second, or more.
    patience=
    primary_wait=${PRIMARY_WAIT:-60}
    until_asked=10
    while :; do
        held=$(survey)
        primary=$(printf '%s\n' "$held" | chosen)
        may_be_elected || heed_single
        if [ -z "$primary" ]; then
            why="no majority of the Sentinels says who is primary"
        elif flagged failover_in_progress; then
            why="the Sentinels are replacing the primary"
        elif [ "$primary" = "$ANNOUNCE $REDIS_PORT" ] && ! has_data && known_replicas; then
            # Its replicas would copy that nothing. The Sentinels replace it by themselves unless
            # they tried before the replicas were there: then they would wait for twice the
            # failover-timeout. Asked at once, two of them might replace it at the same time.
            until_asked=$((until_asked - 1))
            [ "$until_asked" -gt 0 ] || { ask_for_failover && until_asked=10; }
            why="this server is named primary, its volume is empty, and a replica must take over; \
where none has data either, SENTINEL RESET $MASTER_NAME on every Sentinel begins anew"
        elif [ "$primary" = "$ANNOUNCE $REDIS_PORT" ] && known_replicas &&
            { flagged silent || flagged down; } && [ "${patience:=$(time_to_replace)}" -gt 0 ]; then
            # They miss this very server, and may call it down although it is back: they look once a
            # second. Who comes back just as another is promoted takes writes that are lost. Whom
            # they have not replaced by then they cannot.
            patience=$((patience - 1))
            why="the Sentinels may be about to replace this server"
        elif [ "$primary" != "$ANNOUNCE $REDIS_PORT" ] && ! answers "${primary% *}" "${primary#* }" &&
            { ! has_data || [ "$primary_wait" -gt 0 ]; }; then
            # Replicas that have never been linked look alike to the Sentinels, the empty and the
            # stale too: promoted, one of those would wipe what the primary and the others have.
            primary_wait=$((primary_wait - 1))
            why="the primary, $primary, has not started yet"
        else
            break
        fi
        [ "$why" = "$told" ] || say "waiting: $why"
        told=$why
        sleep 1
    done
    if [ "$primary" = "$ANNOUNCE $REDIS_PORT" ]; then
        say "starting as primary: the Sentinels name this server"
        cat "$CONFIG/redis-master.conf"
    else
        say "starting as a replica of $primary"
        cat "$CONFIG/redis-replica.conf"
        printf 'replicaof %s\n' "$primary"
    fi >"$DATA/redis.conf.new"
    {
        listening "$REDIS_PORT"
        printf 'masteruser %s\n' "${SERVER_USER:-replica}"
        printf 'masterauth %s\n' "$(quoted "$server_password")"
        printf 'replica-announce-ip %s\nreplica-announce-port %s\n' "$ANNOUNCE" "$REDIS_PORT"
        redis_users
        sentinel_at_redis
        may_be_elected || printf 'replica-priority 0\n'
    } >>"$DATA/redis.conf.new"
    mv "$DATA/redis.conf.new" "$DATA/redis.conf"
    touch "$DATA/started"
    exec redis-server "$DATA/redis.conf"
}

# What a Sentinel must not forget: who is primary, in which epoch, and who the others are.
memory() {
    [ ! -f "$DATA/sentinel.conf" ] ||
        grep -E '^sentinel (myid|monitor|config-epoch|leader-epoch|current-epoch|known-replica|known-slave|known-sentinel) ' \
            "$DATA/sentinel.conf" || true
}

# Whether every node is there and runs no Sentinel yet. One that comes late may have all the data.
all_are_new() {
    for peer in $SENTINELS; do
        case $(cli -h "$peer" -p "$SENTINEL_PORT" PING 2>&1) in
        *'Connection refused'*) ;;
        *) answers "$peer" "$SENTINEL_PORT" || return 1 ;;
        esac
    done
}

start_sentinel() {
    check_templates sentinel.conf
    read_sentinel_secrets
    remembered=$(memory)
    case $remembered in
    *"sentinel monitor $MASTER_NAME "*) say "starting with what this Sentinel remembers" ;;
    *)
        waited=0
        told=
        while primary=$(agreed) && [ -z "$primary" ]; do
            [ "$waited" -ne 0 ] || say "waiting: this Sentinel remembers nothing, do others?"
            if [ "$waited" -ge "$BOOTSTRAP_WAIT" ]; then
                # Of two that name different ones the right one cannot be told from here.
                known=$(survey | awk '{ print $2, $3 }' | sort -u)
                case $known in
                *"
"*) why="the others name several primaries" ;;
                '')
                    ! all_are_new || break
                    why="no other remembers anything, but not all of them are there"
                    ;;
                *) primary=$known && break ;;
                esac
                [ "$why" = "$told" ] || say "waiting: $why"
                told=$why
            fi
            waited=$((waited + 1))
            sleep 1
        done
        if [ -n "$primary" ]; then
            say "starting with the primary that the others name: $primary"
        else
            primary=${SINGLE:-$FIRST $REDIS_PORT}
            say "nobody remembers anything: the first start, with the primary $primary"
        fi
        remembered="sentinel monitor $MASTER_NAME $primary $QUORUM"
        # Without a primary that lives it would learn of no replica, and could win an election that
        # elects nobody: the next is held only after twice the failover-timeout.
        remembered="$remembered
$(known_beside "$primary" | sed "s/^/sentinel known-replica $MASTER_NAME /")"
        ;;
    esac
    {
        listening "$SENTINEL_PORT"
        printf '%s\n' "$remembered"
        cat "$CONFIG/sentinel.conf"
        printf 'sentinel auth-user %s %s\n' "$MASTER_NAME" "${SERVER_USER:-sentinel}"
        printf 'sentinel auth-pass %s %s\n' "$MASTER_NAME" "$(quoted "$server_password")"
        printf 'sentinel sentinel-user sentinel\n'
        printf 'sentinel sentinel-pass %s\n' "$(quoted "$internal_password")"
        printf 'sentinel announce-ip %s\nsentinel announce-port %s\n' "$ANNOUNCE" "$SENTINEL_PORT"
        sentinel_users
    } >"$DATA/sentinel.conf.new"
    mv "$DATA/sentinel.conf.new" "$DATA/sentinel.conf"
    touch "$DATA/started"
    exec redis-server "$DATA/sentinel.conf" --sentinel
}

find_place
check_volume
case ${1-} in
redis) start_redis ;;
sentinel) start_sentinel ;;
*) refuse "say what to start: start.sh redis | sentinel" ;;
esac
