#!/bin/sh
# Let the running Redis of this node know the secrets as they are now, each beside its NAME-other.
# Nobody is disconnected; run again it changes nothing.
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=users.sh
. "$(dirname -- "$0")/users.sh"
# shellcheck source=cluster.sh
. "$(dirname -- "$0")/cluster.sh"

read_secrets
{
    # Whether replicas are let in yet is for cluster-join.sh to say.
    { redis_users && node_user; } |
        sed -e 's/^user replica reset on/user replica resetpass/' -e 's/^user /ACL SETUSER /'
    printf 'CONFIG SET masterauth %s\n' "$(quoted "$internal_password")"
} | command_all "$REDIS_PORT"
say "this node accepts the secrets as they are now"
