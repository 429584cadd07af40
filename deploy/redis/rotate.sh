#!/bin/sh
# Let the running Redis and Sentinel of this node know the secrets as they are now, each beside its
# NAME-other. Nobody is disconnected; run again it changes nothing.
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=users.sh
. "$(dirname -- "$0")/users.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

read_sentinel_secrets
{
    { redis_users && sentinel_at_redis; } | sed 's/^user /ACL SETUSER /'
    printf 'CONFIG SET masterauth %s\n' "$(quoted "$server_password")"
} | command_all "$REDIS_PORT"
{
    sentinel_users | sed 's/^user /ACL SETUSER /'
    printf 'SENTINEL SET %s auth-pass %s\n' "$MASTER_NAME" "$(quoted "$server_password")"
    printf 'SENTINEL CONFIG SET sentinel-pass %s\n' "$(quoted "$internal_password")"
} | command_all "$SENTINEL_PORT"
say "this node accepts the secrets as they are now"
