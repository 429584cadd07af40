# What every server starts with. Sourced after node.sh.
# shellcheck shell=sh disable=SC2154

check_templates() {
    for name; do
        [ -r "$CONFIG/$name" ] || refuse "$CONFIG/$name cannot be read"
        # Redis reads such a text as it is: the password would be the name of a variable.
        # shellcheck disable=SC2016
        if grep -v '^[[:space:]]*#' "$CONFIG/$name" | grep -q '\${'; then
            refuse "$CONFIG/$name holds a literal \${, which Redis does not replace"
        fi
    done
}

# Where a server listens. Without TLS it listens in plain, with it in nothing else.
listening() {
    printf 'bind %s\ndir %s\n' "$BIND" "$(quoted "$DATA")"
    if [ -z "$TLS" ]; then
        printf 'port %s\n' "$1"
    else
        printf 'port 0\ntls-port %s\ntls-replication yes\ntls-auth-clients no\n' "$1"
        printf 'tls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\n' \
            "$(quoted "$TLS/tls.crt")" "$(quoted "$TLS/tls.key")" "$(quoted "$TLS/ca.crt")"
    fi
}

has_data() { [ -e "$DATA/appendonlydir" ] || [ -e "$DATA/appendonly.aof" ] || [ -e "$DATA/dump.rdb" ]; }

check_volume() {
    mkdir -p "$DATA" 2>/dev/null || true
    [ -d "$DATA" ] && [ -w "$DATA" ] || refuse "$DATA cannot be written"
}
