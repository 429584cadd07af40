# Who may do what at a server, as ACL rules. Sourced after node.sh; what Sentinels and the nodes of a
# cluster may besides is where they are.
# shellcheck shell=sh disable=SC2034,SC2154
#
# SERVER_USER     whom replicas and Sentinels are at a server, with `password`, while one of the servers
#                 is a Redis that knows nobody else   (replica and sentinel, with internal-password)
SERVER_USER=${SERVER_USER:-}

digest() { printf '%s' "$1" | sha256sum | cut -d ' ' -f 1; }

# What a user may log in with, as the ACL wants it.
digests_of() {
    value=$(secret "$1") || return
    accepted="#$(digest "$value")"
    if [ -s "$SECRETS/$1-other" ]; then
        value=$(secret "$1-other") || return
        accepted="$accepted #$(digest "$value")"
    fi
    printf '%s' "$accepted"
}

read_secrets() {
    internal_password=$(secret internal-password)
    password=$(digests_of password)
    internal=$(digests_of internal-password)
    server_password=$internal_password
    [ -z "$SERVER_USER" ] || server_password=$(secret password)
    operator=$(digests_of operator-password)
    monitor=
    [ ! -s "$SECRETS/monitor-password" ] || monitor=$(digests_of monitor-password)
}

# By SCRIPT FLUSH and KILL an application would reach into the calls of others. Redis 6.2 cannot take
# subcommands away, so the whole command goes, and two come back.
redis_users() {
    [ "$SERVER_USER" = default ] || cat <<END
user default reset on $password ~* &* +@all -@admin -@dangerous +info +role \
-script +script|load +script|exists
END
    [ -z "$SERVER_USER" ] || printf 'user %s reset on %s ~* &* +@all\n' "$SERVER_USER" "$password"
    cat <<END
user replica reset on $internal +psync +sync +replconf +ping
user operator reset on $operator ~* &* +@all
END
    [ -z "$monitor" ] || cat <<END
user monitor reset on $monitor +@connection -@admin -@dangerous +info +role +time +config|get \
+slowlog|len +slowlog|get +latency|latest +latency|histogram +client|list +cluster|info
END
}
