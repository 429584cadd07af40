#!/bin/sh
# Let the Sentinels elect this replica of the single Redis (SINGLE), and have that Redis follow whom they elect.
#
# Once it has everything. What the other Redis is told is gone when it restarts: put masteruser and
# masterauth into its own configuration too, where it is to last.
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=users.sh
. "$(dirname -- "$0")/users.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

[ -n "$SINGLE" ] || refuse "SINGLE names no Redis that this node is to replace"
read_secrets
operator_password=$(secret operator-password)

# What INFO replication says of this node.
of_this_node() {
    REDISCLI_AUTH=$operator_password cli --user operator -h "$LOCAL" -p "$REDIS_PORT" INFO replication |
        tr -d '\r' | sed -n "s/^$1://p"
}
[ "$(of_this_node master_link_status)" = up ] ||
    refuse "this node is no replica that has everything (master_link_status:up); nothing was changed"

# Without a name of its own it would be known by an address that its next pod has not.
said=$(printf 'CONFIG SET %s\n' \
    "masteruser ${SERVER_USER:-replica}" \
    "masterauth $(quoted "$server_password")" \
    "replica-announce-ip ${SINGLE% *}" \
    "replica-announce-port ${SINGLE#* }" |
    REDISCLI_AUTH=$server_password cli --user "${SERVER_USER:-replica}" \
        -h "${SINGLE% *}" -p "${SINGLE#* }" 2>&1 | tr -d '\r')
[ "$(printf '%s\n' "$said" | sort -u)" = OK ] ||
    # The first word: what follows may be the password.
    refuse "$SINGLE takes no settings ($(printf '%s\n' "$said" | grep -vx OK | head -n 1 | cut -d ' ' -f 1)); \
nobody was made electable"

touch "$DATA/electable"
printf 'CONFIG SET replica-priority 100\n' | command_all "$REDIS_PORT" || exit 1
say "this node may be elected; the Sentinels have heard of it within ten seconds"
