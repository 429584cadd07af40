# What the programs of one node share: its settings, its secrets, and how it asks.
# Sourced. All tools are those of redis:7-alpine, whose shell is busybox.
# shellcheck shell=sh disable=SC2034,SC2154
#
# NODE            its name, which ends in its ordinal       (the host name)
# PEERS           the hosts of all nodes, in order          (required)
# ANNOUNCE        the host by which the others know it      (its place in PEERS)
# LOCAL           where this node is asked by itself        (127.0.0.1)
# REDIS_PORT      6379        BIND  * -::*
# CONFIG          templates                                 (/mnt/config)
# DATA            what outlives the container               (/data)
# SECRETS         one file for each secret                  (/run/secrets/redis)
# TLS             the directory of tls.crt, tls.key and ca.crt (/run/tls where that has one); empty: none
#
# Users and the secret of each. NAME-other is accepted beside NAME while that file is there and not
# empty, so that passwords change without anybody being refused: first it holds the new one, until
# every server knows it, then the old one, until everybody uses the new.
#   default   applications           password; at Sentinels sentinel-password
#   replica   servers at servers     internal-password
#   sentinel  Sentinels everywhere   internal-password
#   node      nodes of a cluster     internal-password
#   operator  doctor, failover       operator-password
#   monitor   the exporter           monitor-password (may be absent: then there is no such user)

PEERS=${PEERS:?hosts of all nodes, in order}
NODE=${NODE:-$(hostname)}
REDIS_PORT=${REDIS_PORT:-6379}
LOCAL=${LOCAL:-127.0.0.1}
BIND=${BIND:-* -::*}
CONFIG=${CONFIG:-/mnt/config}
DATA=${DATA:-/data}
SECRETS=${SECRETS:-/run/secrets/redis}
[ -n "${TLS+set}" ] || [ ! -e /run/tls/tls.crt ] || TLS=/run/tls
TLS=${TLS:-}
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

# Run the commands of standard input on one server of this node, as the operator; every answer must
# be OK. Through standard input, because arguments are seen by every process.
command_all() {
    commands=$(cat)
    for which in operator-password operator-password-other; do
        [ -s "$SECRETS/$which" ] || continue
        operator_password=$(secret "$which")
        answers=$(printf '%s\n' "$commands" | REDISCLI_AUTH=$operator_password cli \
            --user operator -h "$LOCAL" -p "$1" 2>&1) || continue
        printf '%s\n' "$answers" | grep -qvx OK || return 0
    done
    say "failed at port $1; what was not done can be done again"
    return 1
}
