#!/bin/sh
# Keep this node in its place: known to the others under the address that it has now, with slots of
# its own or a primary that it follows. Each node does this for itself, so nobody makes the cluster,
# and whatever was interrupted is gone on with.
#
#   cluster-join.sh PID      until that process, the server, has ended
#
# Slots are taken once: by one of the first nodes, for its own share, while every node answers and none
# knows of anybody who holds any of it. A node that has neither share nor slots follows the primary that
# has fewest replicas. Replicas are let in when that is done: cluster-orders.awk decides.
set -eu
here=$(dirname -- "$0")
# shellcheck source=node.sh
. "$here/node.sh"
# shellcheck source=cluster.sh
. "$here/cluster.sh"

find_place
server=$1
told=
# Seconds in which it looks again at once: where all have moved, they are there one by one.
hurry=60

has_place() {
    printf '%s\n' "$own" | awk '$7 ~ /myself/ && ($7 ~ /slave/ || $10 != "-") { found = 1 } END { exit !found }'
}

# Whether everybody is there, by what this node itself says.
all_there() {
    printf '%s\n' "$own" | awk -v peers="$PEERS" '
        $7 ~ /myself/ || ($9 == "connected" && $7 !~ /fail|noaddr|handshake/) { there[$6]; next }
        { odd = 1 }
        END {
            for (i = split(peers, host, " "); i; i--) if (!(host[i] in there)) odd = 1
            exit odd
        }'
}

# Whether a primary has several replicas, and another none.
uneven() {
    printf '%s\n' "$own" | awk '
        $8 != "-" { replicas[$8]++ }
        $10 != "-" { holder[$2] }
        END {
            for (id in holder) { if (replicas[id] > 1) rich = 1; if (!replicas[id]) poor = 1 }
            exit !(rich && poor)
        }'
}

# What all say, and on which machines they are where this node may have to choose one.
survey() {
    printf '%s\n' "$own"
    ask_others view_of
    if [ -n "$MACHINE" ] && { ! has_place || uneven; }; then
        printf '%s machine %s\n' "$ordinal" "$MACHINE"
        ask_others machine_of
    fi
}

orders() {
    awk -v seat="$ordinal" -v peers="$PEERS" -v primaries="$PRIMARIES" -v patient="$((hurry > 0))" \
        -f "$here/cluster-orders.awk"
}

let_replicas_in() { printf 'ACL SETUSER replica on\n' | command_all "$REDIS_PORT" && touch "$DATA/open"; }

carry_out() {
    while read -r line; do
        case $line in
        say*) printf '%s\n' "${line#say }" ;;
        open) let_replicas_in </dev/null || true ;;
        *)
            # shellcheck disable=SC2086 # the arguments are words
            answer=$(as_node "$LOCAL" "$REDIS_PORT" CLUSTER $line </dev/null) || answer="no answer"
            case $line in
            MEET* | SET-CONFIG-EPOCH*) ;;
            *) say "CLUSTER $line: $answer" ;;
            esac
            ;;
        esac
    done
}

while kill -0 "$server" 2>/dev/null; do
    pause=2
    internal_password=$(secret internal-password)
    own=$(view_of "$ordinal" "$LOCAL")
    if [ ! -e "$DATA/open" ] || ! has_place || ! all_there || uneven; then
        # What fails is tried again by the next look.
        waiting=$(survey | orders | carry_out) || true
        [ -z "$waiting" ] || [ "$waiting" = "$told" ] || say "$waiting"
        told=$waiting
        hurry=$((hurry - 1))
        [ "$hurry" -gt 0 ] && pause=1 || pause=5
    fi
    sleep "$pause"
done
