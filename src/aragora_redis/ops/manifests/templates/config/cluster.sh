# How a node asks the others of a Redis Cluster, and who may do what for that. Sourced after node.sh.
# shellcheck shell=sh disable=SC2034,SC2154
#
# ADDRESS     the address of this node, by which the others reach it (required to start)
# MACHINE     the host that it runs on; who shares one should not be in one shard (unknown)
# PRIMARIES   how many nodes, the first ones, share the slots at first (half of PEERS)

ADDRESS=${ADDRESS:-}
MACHINE=${MACHINE:-}
# shellcheck disable=SC2086 # the hosts are words
PRIMARIES=${PRIMARIES:-$(($(printf '%s\n' $PEERS | wc -l) / 2))}

node_user() {
    cat <<END
user node reset on $internal +ping +info +role +config|get +cluster|nodes +cluster|meet \
+cluster|addslotsrange +cluster|set-config-epoch +cluster|replicate +cluster|forget +cluster|failover
END
}

as_node() { # HOST PORT COMMAND...
    host=$1 port=$2
    shift 2
    REDISCLI_AUTH=$internal_password cli --user node -h "$host" -p "$port" "$@" 2>&1
}

# Of the lines of CLUSTER NODES or nodes.conf, one for each node:
# from id address port bus-port name flags primary link slots
# `from` says who speaks; slots on the move are left out.
rows() { # FROM
    awk -v from="$1" '
        length($1) == 40 && NF >= 8 {
            place = $2
            name = "-"
            if (comma = index(place, ",")) {
                name = substr(place, comma + 1)
                sub(/,.*/, "", name)
                place = substr(place, 1, comma - 1)
            }
            bus = place
            sub(/.*@/, "", bus)
            sub(/@.*/, "", place)
            port = place
            sub(/.*:/, "", port)
            address = substr(place, 1, length(place) - length(port) - 1)
            slots = ""
            for (i = 9; i <= NF; i++) if ($i !~ /^\[/) slots = slots (slots == "" ? "" : ",") $i
            print from, $1, (address == "" ? "-" : address), port, bus, (name == "" ? "-" : name), \
                $3, $4, $8, (slots == "" ? "-" : slots)
        }'
}

# What the node at a host says of all; nothing where it does not answer.
view_of() { # FROM HOST
    as_node "$2" "$REDIS_PORT" CLUSTER NODES | rows "$1" || true
}

# The machine that it runs on, as `from machine NAME`; nothing where it does not say.
machine_of() { # FROM HOST
    as_node "$2" "$REDIS_PORT" CONFIG GET syslog-ident |
        awk -v from="$1" 'NR == 2 && $1 != "redis" { print from, "machine", $1 }'
}

# Ask all others, by their places in PEERS. The answers take one time limit, not one each.
ask_others() { # QUESTION
    # Nothing else can be written.
    views=$DATA/views
    rm -rf "$views"
    mkdir "$views"
    place=0
    for peer in $PEERS; do
        [ "$place" = "$ordinal" ] || "$1" "$place" "$peer" >"$views/$place" &
        place=$((place + 1))
    done
    wait
    cat "$views"/*
    rm -rf "$views"
}
