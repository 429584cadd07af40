#!/bin/sh
# Start one node of a Redis Cluster, and keep it in its place among the others (cluster-join.sh).
#
# Who a node is outlives it in nodes.conf, beside its data. One that has lost its data loses its name
# too: as itself it would lead, and its replica would copy that nothing. Under a new name it follows.
set -eu
umask 077
# Process 1 would be deaf to signals while it waits.
trap 'exit 143' TERM INT
here=$(dirname -- "$0")
# shellcheck source=node.sh
. "$here/node.sh"
# shellcheck source=users.sh
. "$here/users.sh"
# shellcheck source=server.sh
. "$here/server.sh"
# shellcheck source=cluster.sh
. "$here/cluster.sh"

NODES=$DATA/nodes.conf
kept() { [ ! -f "$NODES" ] || rows kept <"$NODES"; }

# Replicas of this node, where most primaries are there to elect one, as places in PEERS.
heirs() { # ID
    ask_others view_of | awk -v me="$1" '
        $2 == me && ($10 == "-" || $7 ~ /slave/) { replaced = 1 }
        $7 ~ /myself/ && $7 ~ /slave/ && $8 == me { heir[$1] }
        $7 ~ /myself/ && $7 ~ /master/ && $10 != "-" { votes++ }
        $7 ~ /master/ && $10 != "-" && !(($2) in holder) { holder[$2]; holders++ }
        END { if (!replaced && votes * 2 > holders) for (place in heir) print place }'
}

# Whether a replica is about to replace this node, which was primary when it ended. It may hold what
# this one never wrote to its disk: one that comes back in time would have it thrown away. Who has not
# been linked since it started itself is not elected.
may_be_replaced() { # ID
    for place in $(heirs "$1"); do
        # shellcheck disable=SC2086 # the hosts are words
        as_node "$(nth "$place" $PEERS)" "$REDIS_PORT" INFO replication |
            grep -q -e '^master_link_status:up' -e '^master_link_down_since_seconds:[0-9]' && return 0
    done
    return 1
}

await_replacement() {
    me=$(kept | awk '$7 ~ /myself/ && $7 ~ /master/ && $10 != "-" { print $2 }')
    [ -n "$me" ] && kept | awk -v me="$me" '$8 == me { found = 1 } END { exit !found }' || return 0
    # What one turn of the loop takes is a second, or more. A vote that fails is held again after
    # twice the timeout.
    patience=$(awk '$1 == "cluster-node-timeout" { print int($2 * 4 / 1000) + 3 }' "$CONFIG/redis-cluster.conf")
    while [ "$patience" -gt 0 ] && may_be_replaced "$me"; do
        [ -n "${told-}" ] || say "waiting: a replica may be about to replace this node"
        told=yes
        patience=$((patience - 1))
        sleep 1
    done
}

# A replica copies from whoever is at its primary's address. So it learns it anew, from the primary.
forget_address() {
    theirs=$(kept | awk '$7 ~ /myself/ && $8 != "-" { print $8 }')
    [ -n "$theirs" ] || return 0
    awk -v theirs="$theirs" '
        $1 == theirs {
            sub(/^[^,]*/, ":0@0", $2)
            if ($3 !~ /noaddr/) $3 = $3 ",noaddr"
        }
        { print }' "$NODES" >"$NODES.new"
    mv "$NODES.new" "$NODES"
}

find_place
[ -n "$ADDRESS" ] || refuse "ADDRESS is empty, and the others could not reach this node"
check_volume
check_templates redis-cluster.conf
read_secrets
if ! has_data; then
    rm -f "$NODES"
elif [ ! -f "$NODES" ]; then
    refuse "$DATA has data and no nodes.conf: it would claim the slots of its keys; put the file back, \
or move the data away, and the node follows another"
fi
await_replacement
forget_address
{
    cat "$CONFIG/redis-cluster.conf"
    listening "$REDIS_PORT"
    [ -z "$TLS" ] || printf 'tls-cluster yes\ncluster-preferred-endpoint-type hostname\n'
    # A pod that comes back has another address than nodes.conf says.
    printf 'cluster-announce-ip %s\n' "$ADDRESS"
    printf 'cluster-announce-hostname %s\n' "$ANNOUNCE"
    # The one text of a server that others can read and that means nothing to it.
    [ -z "$MACHINE" ] || printf 'syslog-ident %s\n' "$(quoted "$MACHINE")"
    printf 'masteruser replica\nmasterauth %s\n' "$(quoted "$internal_password")"
    # Until cluster-join.sh lets replicas in.
    redis_users | sed 's/^user replica reset on/user replica reset off/'
    node_user
} >"$DATA/redis.conf.new"
mv "$DATA/redis.conf.new" "$DATA/redis.conf"
rm -f "$DATA/open"
touch "$DATA/started"
say "starting as $(kept | awk '$7 ~ /myself/ { print ($7 ~ /slave/ ? "a replica, " : "a primary, ") $2; known = 1 }
    END { if (!known) print "a new node" }')"
sh "$here/cluster-join.sh" "$$" &
exec redis-server "$DATA/redis.conf"
