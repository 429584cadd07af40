#!/bin/sh
# Before this node ends: if it is the primary, let a replica take over that has everything.
#
# Its death would cost the time until the Sentinels miss it, and what the replicas lack by then. So
# writers are held, the replicas catch up, and only then it is replaced. Where that fails, writers are
# let go again, but not once the Sentinels were asked: they may still do it. Exit 0, the node may end.
#
# HANDOVER_SECONDS  the longest that all of it may take (20)
set -eu
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

find_place
HANDOVER_SECONDS=${HANDOVER_SECONDS:-20}
internal_password=$(secret internal-password)
operator_password=$(secret operator-password)
# Its own Sentinel ends with it, perhaps amidst the failover that it leads.
# shellcheck disable=SC2086 # the hosts are words
SENTINELS=$(printf '%s\n' $SENTINELS | grep -vxF "$ANNOUNCE")
FAILOVER_SECONDS=5
deadline=$(($(date +%s) + HANDOVER_SECONDS))

server() {
    REDISCLI_AUTH=$operator_password cli --user operator -h "$LOCAL" -p "$REDIS_PORT" "$@" 2>&1 |
        tr -d '\r'
}

# Wait until a condition holds, at most until the deadline.
await() {
    until "$@"; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# Whether every replica that is linked has what the primary had when writers were held.
caught_up() {
    server INFO replication | awk -F '[=,]' -v want="$held_at" '
        /^slave[0-9]+:/ {
            linked++
            for (i = 1; i < NF; i++) if ($i == "offset" && $(i + 1) + 0 >= want + 0) has++
        }
        END { exit !(linked > 0 && has == linked) }'
}

replaced() {
    primary=$(agreed)
    [ -n "$primary" ] && [ "$primary" != "$ANNOUNCE $REDIS_PORT" ]
}

give_up() {
    server CLIENT UNPAUSE >/dev/null || true
    say "not handed over: $1; the Sentinels will replace this node when it ends"
    exit 0
}

role=$(server ROLE | head -n 1)
case $role in
master) ;;
slave) exit 0 ;;
*)
    say "not handed over: $role"
    exit 0
    ;;
esac
[ "$(server CLIENT PAUSE "$((HANDOVER_SECONDS * 1000))" WRITE)" = OK ] || give_up "writers cannot be held"
held_at=$(server INFO replication | sed -n 's/^master_repl_offset://p')
[ -n "$held_at" ] || give_up "it does not say what it has"
await caught_up || give_up "no replica has everything"
[ $((deadline - $(date +%s))) -ge "$FAILOVER_SECONDS" ] || give_up "the replicas took too long"
# Until the node has ended.
[ "$(server CLIENT PAUSE 60000 WRITE)" = OK ] || give_up "writers cannot be held"
ask_for_failover
if ! await replaced; then
    say "the Sentinels were asked and name no other primary yet; writers stay held"
    exit 0
fi
# While writers are held the Sentinels cannot reach this server either, to make it a replica.
server REPLICAOF "${primary% *}" "${primary#* }" >/dev/null || true
server CLIENT UNPAUSE >/dev/null || true
server CLIENT KILL TYPE normal SKIPME yes >/dev/null || true
say "handed over to $primary"
