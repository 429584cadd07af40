# Who may do what at a server, as ACL rules. Sourced after node.sh; what Sentinels and the nodes of a
# cluster may besides is where they are.
# shellcheck shell=sh disable=SC2034,SC2154

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
    operator=$(digests_of operator-password)
    monitor=
    [ ! -s "$SECRETS/monitor-password" ] || monitor=$(digests_of monitor-password)
}

redis_users() {
    cat <<END
user default reset on $password ~* &* +@all -@admin -@dangerous +info +role
user replica reset on $internal +psync +sync +replconf +ping
user operator reset on $operator ~* &* +@all
END
    [ -z "$monitor" ] || cat <<END
user monitor reset on $monitor +@connection -@admin -@dangerous +info +role +time +config|get \
+slowlog|len +slowlog|get +latency|latest +latency|histogram +client|list +cluster|info
END
}
