#!/bin/sh
# Copy the data set of a replica into an RDB file, check it, and remove the oldest copies.
#
# BACKUPS         where to                                  (/backup)
# KEEP            how many copies stay                      (7)
# BACKUP_SECONDS  the longest that a copy may take          (600)
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

BACKUPS=${BACKUPS:-/backup}
KEEP=${KEEP:-7}
[ -d "$BACKUPS" ] && [ -w "$BACKUPS" ] || refuse "$BACKUPS cannot be written"
internal_password=$(secret internal-password)
REDISCLI_AUTH=$internal_password
export REDISCLI_AUTH

# A replica that is linked, else the primary, which a copy costs memory and time.
source_of_copy() {
    for peer in $PEERS; do
        case $(cli --user sentinel -h "$peer" -p "$REDIS_PORT" ROLE 2>/dev/null | tr '\n' ' ') in
        slave*' connected '*) printf '%s' "$peer" && return ;;
        esac
    done
    agreed | cut -d ' ' -f 1
}

host=$(source_of_copy)
[ -n "$host" ] || { say "no server can be copied from: none is a linked replica, and no majority of \
the Sentinels names a primary" && exit 1; }
new=$BACKUPS/.new.rdb
rm -f "$new"
(
    ASK_SECONDS=${BACKUP_SECONDS:-600}
    cli --user replica -h "$host" -p "$REDIS_PORT" --rdb "$new"
) >/dev/null || { say "$host gave no copy" && exit 1; }
redis-check-rdb "$new" >/dev/null || { say "the copy of $host is damaged: $new" && exit 1; }
copy=$BACKUPS/redis-$(date -u +%Y%m%dT%H%M%SZ).rdb
mv "$new" "$copy"
say "copied $host to $copy"
# The names sort by time.
find "$BACKUPS" -name 'redis-*.rdb' | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
    rm -f "$old"
    say "removed $old"
done
