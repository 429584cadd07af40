# What the programs of one node share: its settings, its secrets, and how it asks the Sentinels.
# Sourced. All tools are those of redis:7-alpine, whose shell is busybox.
# shellcheck shell=sh disable=SC2034,SC2154
#
# NODE            its name, which ends in its ordinal       (the host name)
# PEERS           the hosts of all nodes, in order          (required)
# SENTINELS       the hosts of all Sentinels                (PEERS)
# ANNOUNCE        the host by which the others know it      (its place in PEERS)
# LOCAL           where this node is asked by itself        (127.0.0.1)
# REDIS_PORT      6379        SENTINEL_PORT  26379          BIND  * -::*
# MASTER_NAME     <%= plan.master %>             QUORUM  <%= plan.quorum %>
# CONFIG          templates                                 (/mnt/config)
# DATA            what outlives the container               (/data)
# SECRETS         one file for each secret                  (/run/secrets/redis)
# TLS             the directory of tls.crt, tls.key and ca.crt (/run/tls where that has one); empty: none
# PRIMARY_WAIT    seconds that a replica waits for the primary to start, if it has data (60)
# BOOTSTRAP_WAIT  seconds to listen before the first node calls it the first start (10)
#
# Users and the secret of each. NAME-other is accepted beside NAME while that file is there and not
# empty, so that passwords change without anybody being refused: first it holds the new one, until
# every server knows it, then the old one, until everybody uses the new.
#   default   applications           password; at the Sentinels sentinel-password
#   replica   servers at servers     internal-password
#   sentinel  Sentinels everywhere   internal-password
#   operator  doctor, failover       operator-password
#   monitor   the exporter           monitor-password (may be absent: then there is no such user)

PEERS=${PEERS:?hosts of all nodes, in order}
SENTINELS=${SENTINELS:-$PEERS}
NODE=${NODE:-$(hostname)}
REDIS_PORT=${REDIS_PORT:-6379}
SENTINEL_PORT=${SENTINEL_PORT:-26379}
LOCAL=${LOCAL:-127.0.0.1}
BIND=${BIND:-* -::*}
MASTER_NAME=${MASTER_NAME:-<%= plan.master %>}
QUORUM=${QUORUM:-<%= plan.quorum %>}
CONFIG=${CONFIG:-/mnt/config}
DATA=${DATA:-/data}
SECRETS=${SECRETS:-/run/secrets/redis}
[ -n "${TLS+set}" ] || [ ! -e /run/tls/tls.crt ] || TLS=/run/tls
TLS=${TLS:-}
BOOTSTRAP_WAIT=${BOOTSTRAP_WAIT:-10}
ASK_SECONDS=2

say() { printf '%s start: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
refuse() {
    say "refused: $*"
    exit 78 # EX_CONFIG of sysexits.h
}

nth() {
    number=$1
    shift
    [ "$number" -lt "$#" ] || return 0
    shift "$number"
    printf '%s' "$1"
}
# Which of the nodes this is, and so by which name the others know it.
find_place() {
    ordinal=${NODE##*-}
    case $ordinal in '' | *[!0-9]*) refuse "NODE is $NODE, which does not end in a number" ;; esac
    # shellcheck disable=SC2086 # the hosts are words
    ANNOUNCE=${ANNOUNCE:-$(nth "$ordinal" $PEERS)}
    [ -n "$ANNOUNCE" ] || refuse "PEERS has no host for $NODE"
}
# shellcheck disable=SC2086
FIRST=$(nth 0 $PEERS)
# A majority: fewer may all have slept through a failover.
AGREE=$(($(printf '%s\n' "$SENTINELS" | wc -w) / 2 + 1))

# shellcheck disable=SC2016 # it looks for what nobody has expanded
secret() {
    [ -r "$SECRETS/$1" ] || refuse "$SECRETS/$1 cannot be read"
    value=$(cat "$SECRETS/$1")
    case $value in
    '') refuse "$SECRETS/$1 is empty" ;;
    *'${'* | *'$('*) refuse "$SECRETS/$1 holds a variable that nobody has replaced" ;;
    *[[:cntrl:]]*) refuse "$SECRETS/$1 holds a control character" ;;
    esac
    printf '%s' "$value"
}

quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }

# redis-cli, which never waits for ever and never has a password among its arguments.
cli() {
    if [ -n "$TLS" ]; then
        set -- --tls --cacert "$TLS/ca.crt" --cert "$TLS/tls.crt" --key "$TLS/tls.key" "$@"
    fi
    timeout "$ASK_SECONDS" redis-cli --no-auth-warning "$@"
}

# Whether a server answers at all: one that loads or wants a password does.
answers() {
    case $(cli -h "$1" -p "$2" PING 2>&1 | tr -d '\r') in
    PONG | NOAUTH* | LOADING* | MASTERDOWN* | BUSY* | NOPERM*) return 0 ;;
    esac
    return 1
}

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

# Have one Sentinel, the first that will, replace the primary.
ask_for_failover() {
    for peer in $SENTINELS; do
        ! ask_sentinel "$peer" FAILOVER "$MASTER_NAME" | grep -q '^OK' || return 0
    done
}
