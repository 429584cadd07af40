#!/bin/sh
# Let the running Redis and Sentinel of this node know the secrets as they are now, each beside its
# NAME-other. Nobody is disconnected; run again it changes nothing.
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=users.sh
. "$(dirname -- "$0")/users.sh"

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

read_secrets
{
    redis_users | sed 's/^user /ACL SETUSER /'
    printf 'CONFIG SET masterauth %s\n' "$(quoted "$internal_password")"
} | command_all "$REDIS_PORT"
{
    sentinel_users | sed 's/^user /ACL SETUSER /'
    printf 'SENTINEL SET %s auth-pass %s\n' "$MASTER_NAME" "$(quoted "$internal_password")"
    printf 'SENTINEL CONFIG SET sentinel-pass %s\n' "$(quoted "$internal_password")"
} | command_all "$SENTINEL_PORT"
say "this node accepts the secrets as they are now"
