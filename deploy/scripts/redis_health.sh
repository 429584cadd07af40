#!/bin/sh
# Is the Redis behind a Sentinel healthy? One line, and the exit code of a monitoring plugin:
# 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Needs redis-cli and nothing else.
#
#   redis_health.sh [SENTINEL_HOST:PORT] [MASTER_NAME]
#
# Environment: ARAGORA_REDIS_SENTINEL_PASSWORD and ARAGORA_REDIS_SENTINEL_USERNAME for the Sentinels,
# ARAGORA_REDIS_PASSWORD (or _PASSWORD_FILE) and ARAGORA_REDIS_USERNAME for the servers;
# ARAGORA_REDIS_SENTINEL_TLS and ARAGORA_REDIS_TLS (true) with ARAGORA_REDIS_TLS_CA; HEALTH_DEADLINE,
# the seconds that each question may take (2).
#
# redis-cli exits with 0 whatever it is answered, so only answers are looked at. Passwords travel in
# the environment, where `ps` does not show them.
set -u

sentinel=${1:-redis-0.redis:26379}
master=${2:-aragora-master}
deadline=${HEALTH_DEADLINE:-2}

say() { # STATUS TEXT
    printf '%s: %s\n' "$1" "$2"
    case $1 in OK) exit 0 ;; WARNING) exit 1 ;; CRITICAL) exit 2 ;; *) exit 3 ;; esac
}

command -v redis-cli >/dev/null || say UNKNOWN "redis-cli is not installed"

# HOST:PORT, [V6]:PORT or HOST
port=${sentinel##*:}
host=${sentinel%:*}
if [ "$host" = "$sentinel" ]; then port=26379; fi
host=${host#[} host=${host%]}

password=${ARAGORA_REDIS_PASSWORD:-}
if [ -n "${ARAGORA_REDIS_PASSWORD_FILE:-}" ]; then
    password=$(cat "$ARAGORA_REDIS_PASSWORD_FILE") ||
        say UNKNOWN "ARAGORA_REDIS_PASSWORD_FILE cannot be read"
fi

in_time() {
    if command -v timeout >/dev/null; then timeout "$deadline" "$@"; else "$@"; fi
}

# ask HOST PORT USER PASSWORD TLS COMMAND...
ask() {
    h=$1 p=$2 user=$3 secret=$4 tls=$5
    shift 5
    set -- --no-auth-warning "$@"
    if [ "$tls" = true ]; then
        set -- --tls ${ARAGORA_REDIS_TLS_CA:+--cacert "$ARAGORA_REDIS_TLS_CA"} "$@"
    fi
    if [ -n "$user" ]; then set -- --user "$user" "$@"; fi
    if [ -n "$secret" ]; then
        REDISCLI_AUTH=$secret in_time redis-cli -h "$h" -p "$p" "$@" 2>&1
    else
        in_time redis-cli -h "$h" -p "$p" "$@" 2>&1
    fi
}

ask_sentinel() {
    ask "$host" "$port" "${ARAGORA_REDIS_SENTINEL_USERNAME:-}" \
        "${ARAGORA_REDIS_SENTINEL_PASSWORD:-}" "${ARAGORA_REDIS_SENTINEL_TLS:-false}" "$@"
}

ask_primary() {
    ask "$address" "$at" "${ARAGORA_REDIS_USERNAME:-}" "$password" "${ARAGORA_REDIS_TLS:-false}" "$@"
}

# The value behind a name, in the answer to a SENTINEL command: one line each.
field() {
    awk -v name="$1" 'found { print; exit } $0 == name { found = 1 }'
}

# The value of NAME in an INFO, or in a row of one: NAME:VALUE.
info() {
    tr -d '\r' | sed -n "s/^$1://p"
}

first_line() {
    printf '%s' "$1" | tr -d '\r' | head -n 1
}

# --- the Sentinel ------------------------------------------------------------------------

pong=$(ask_sentinel ping)
[ "$pong" = PONG ] || say CRITICAL "Sentinel not responding${pong:+: $(first_line "$pong")}"

facts=$(ask_sentinel sentinel master "$master")
flags=$(printf '%s\n' "$facts" | field flags)
if [ -z "$flags" ]; then
    say CRITICAL "Sentinel knows no master named $master: $(first_line "$facts")"
fi
case ",$flags," in
*,s_down,* | *,o_down,* | *,disconnected,*) say CRITICAL "Master is down ($flags)" ;;
esac
if [ "$(ask_sentinel info sentinel | info sentinel_tilt)" = 1 ]; then
    say WARNING "Sentinel is in TILT mode and takes no part in a failover"
fi

# --- the primary, by its own word --------------------------------------------------------

# SENTINEL MASTER pairs the old address with the new epoch during a failover; this does not.
named=$(ask_sentinel sentinel get-master-addr-by-name "$master")
address=$(printf '%s\n' "$named" | sed -n 1p)
at=$(printf '%s\n' "$named" | sed -n 2p)
replication=$(ask_primary info replication)
case $replication in
*NOAUTH* | *WRONGPASS* | *NOPERM*)
    say CRITICAL "Master refuses the login: $(first_line "$replication")" ;;
esac
case $(printf '%s\n' "$replication" | info role) in
master) ;;
slave) say CRITICAL "Master is down: $address:$at, which Sentinel names, is a replica" ;;
*) say CRITICAL "Master is down: $address:$at says: $(first_line "${replication:-nothing}")" ;;
esac
if [ "$(ask_primary info persistence | info loading)" = 1 ]; then
    say CRITICAL "Master is loading its data"
fi
good=$(printf '%s\n' "$replication" | info min_slaves_good_slaves)
if [ "$good" = 0 ]; then say CRITICAL "Master refuses writes: no good replica"; fi

# --- whether a failover is possible ------------------------------------------------------

quorum=$(ask_sentinel sentinel ckquorum "$master")
case $quorum in
OK*) ;;
*) say CRITICAL "no automatic failover is possible: $(first_line "$quorum")" ;;
esac

# `num-slaves` counts the dead: a replica is good if no flag says otherwise and its link is up.
known=$(printf '%s\n' "$facts" | field num-slaves)
num_slaves=$(ask_sentinel sentinel replicas "$master" | awk '
    { if (previous == "flags") flags = $0
      if (previous == "master-link-status" && $0 == "ok" &&
          flags !~ /s_down|o_down|disconnected/) good++
      previous = $0 }
    END { print good + 0 }')
if [ -n "$good" ] && [ "$good" -lt "$num_slaves" ]; then num_slaves=$good; fi
if [ "$num_slaves" -lt 1 ]; then say WARNING "No replicas available"; fi
if [ "$num_slaves" -lt "$known" ]; then
    say WARNING "$num_slaves of $known replicas available"
fi
say OK "Redis HA healthy (master + $num_slaves replicas)"
