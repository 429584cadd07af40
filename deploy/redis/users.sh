# Who may do what at the servers and at the Sentinels, as ACL rules. Sourced after node.sh.
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
    sentinel_password=$(digests_of sentinel-password)
    internal=$(digests_of internal-password)
    operator=$(digests_of operator-password)
    monitor=
    [ ! -s "$SECRETS/monitor-password" ] || monitor=$(digests_of monitor-password)
}

redis_users() {
    cat <<END
user default reset on $password ~* &* +@all -@admin -@dangerous +info +role
user replica reset on $internal +psync +sync +replconf +ping
user sentinel reset on $internal &* +multi +exec +slaveof +ping +subscribe +publish +role +info \
+config|rewrite +client|setname +client|kill +script|kill
user operator reset on $operator ~* &* +@all
END
    [ -z "$monitor" ] || cat <<END
user monitor reset on $monitor +@connection -@admin -@dangerous +info +role +time +config|get \
+slowlog|len +slowlog|get +latency|latest +latency|histogram +client|list
END
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
