# How a node asks the Sentinels, and who may do what there. Sourced after node.sh and, where users are
# made, users.sh.
# shellcheck shell=sh disable=SC2034,SC2154
#
# SENTINELS       the hosts of all Sentinels                (PEERS)
# SENTINEL_PORT   26379
# MASTER_NAME     aragora-master             QUORUM  2
# PRIMARY_WAIT    seconds that a replica waits for the primary to start, if it has data (60)
# SINGLE          host and port of a Redis that is followed, and that these nodes are to replace: the first
#                 primary (none: the first of PEERS is)
# BOOTSTRAP_WAIT  seconds to listen before the first node calls it the first start (10)

SENTINELS=${SENTINELS:-$PEERS}
SENTINEL_PORT=${SENTINEL_PORT:-26379}
MASTER_NAME=${MASTER_NAME:-aragora-master}
SINGLE=${SINGLE:-}
QUORUM=${QUORUM:-2}
BOOTSTRAP_WAIT=${BOOTSTRAP_WAIT:-10}
# shellcheck disable=SC2086 # the hosts are words
FIRST=$(nth 0 $PEERS)
# A majority: fewer may all have slept through a failover.
AGREE=$(($(printf '%s\n' "$SENTINELS" | wc -w) / 2 + 1))

# What one Sentinel answers; nothing where it does not.
ask_sentinel() {
    host=$1
    shift
    REDISCLI_AUTH=$internal_password cli --user sentinel -h "$host" -p "$SENTINEL_PORT" \
        SENTINEL "$@" 2>/dev/null || true
}

# What each Sentinel that answers holds of the primary, a line each:
# config-epoch host port flags replicas down-after
# To the flags of Redis comes `silent`: unheard for a third of the time after which it is down.
survey() {
    for peer in $SENTINELS; do
        ask_sentinel "$peer" MASTER "$MASTER_NAME" | tr -d '\r' | awk '
            NR % 2 { key = $0; next }
            { held[key] = $0 }
            END {
                if (!("config-epoch" in held)) exit
                if (held["last-ok-ping-reply"] * 3 > held["down-after-milliseconds"] + 0)
                    held["flags"] = held["flags"] ",silent"
                print held["config-epoch"], held["ip"], held["port"], held["flags"], \
                    held["num-slaves"], held["down-after-milliseconds"]
            }'
    done
}

# The primary, as "host port", of a survey that a majority has answered; else nothing. As among the
# Sentinels themselves the newest configuration counts, be it that of one: who elected it may have
# stopped before they heard the outcome.
chosen() {
    sort -k 1,1nr | awk -v need="$AGREE" '
        NR == 1 { newest = $1 }
        $1 == newest { votes[$2 " " $3]++ }
        END {
            for (name in votes) {
                if (votes[name] == most) tied = 1
                if (votes[name] > most) { most = votes[name]; primary = name; tied = 0 }
            }
            if (NR >= need && !tied) print primary
        }'
}

agreed() { survey | chosen; }

# The replicas that the Sentinels know, a "host port" each, but for the server that they call primary.
known_beside() {
    for peer in $SENTINELS; do
        ask_sentinel "$peer" REPLICAS "$MASTER_NAME" | tr -d '\r' | awk '
            NR % 2 { key = $0; next }
            key == "ip" { host = $0 }
            key == "port" { print host, $0 }'
    done | sort -u | awk -v primary="$1" '$0 != primary'
}

# Have one Sentinel, the first that will, replace the primary.
ask_for_failover() {
    for peer in $SENTINELS; do
        ! ask_sentinel "$peer" FAILOVER "$MASTER_NAME" | grep -q '^OK' || return 0
    done
}

sentinel_at_redis() {
    cat <<END
user sentinel reset on $internal &* +multi +exec +slaveof +ping +subscribe +publish +role +info \
+config|rewrite +client|setname +client|kill +script|kill
END
}

read_sentinel_secrets() {
    read_secrets
    sentinel_password=$(digests_of sentinel-password)
}

sentinel_users() {
    asking="&* +@connection -@admin -@dangerous +info +role +subscribe +unsubscribe +psubscribe \
+punsubscribe +sentinel|get-master-addr-by-name +sentinel|master +sentinel|masters \
+sentinel|replicas +sentinel|slaves +sentinel|sentinels +sentinel|ckquorum +sentinel|myid"
    cat <<END
user default reset on $sentinel_password $asking
user sentinel reset on $internal &* +@all
user operator reset on $operator &* +@all
END
    [ -z "$monitor" ] || printf 'user monitor reset on %s %s\n' "$monitor" "$asking"
}
