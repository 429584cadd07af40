#!/bin/sh
# Before this node ends: if it is a primary, let a replica take over that has everything.
#
# CLUSTER FAILOVER, given to the replica, has the primary hold its writers until the replica has caught
# up, and lets them go again where the others do not elect it. Exit 0, the node may end.
#
# HANDOVER_SECONDS  the longest that all of it may take (20)
set -eu
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=cluster.sh
. "$(dirname -- "$0")/cluster.sh"

deadline=$(($(date +%s) + ${HANDOVER_SECONDS:-20}))
internal_password=$(secret internal-password)

in_time() { [ "$(date +%s)" -lt "$deadline" ]; }
role() { as_node "$LOCAL" "$REDIS_PORT" ROLE | head -n 1; }

# Replicas that are linked, as address and port.
heirs() {
    view_of own "$LOCAL" | awk '
        $7 ~ /myself/ && $10 != "-" { me = $2 }
        $7 ~ /slave/ && $7 !~ /fail/ && $9 == "connected" { follows[$3 " " $4] = $8 }
        END { for (place in follows) if (me && follows[place] == me) print place }'
}

# Whether this node follows, within the time that a replica has to take over (5 s).
replaced() {
    for _ in $(seq 30); do
        [ "$(role)" != slave ] || return 0
        in_time || return 1
        sleep 0.2
    done
    return 1
}

case $(role) in
master) ;;
slave) exit 0 ;;
*)
    say "not handed over: it does not say what it is"
    exit 0
    ;;
esac
why="no replica is there"
while in_time; do
    heirs=$(heirs)
    [ -n "$heirs" ] || break
    while read -r address port; do
        why=$(as_node "$address" "$port" CLUSTER FAILOVER </dev/null) || why="$address $port does not answer"
        [ "$why" = OK ] || continue
        if replaced; then
            say "handed over to $address $port"
            exit 0
        fi
        why="the others did not elect $address $port in time"
    done <<END
$heirs
END
    sleep 0.5
done
say "not handed over: $why"
