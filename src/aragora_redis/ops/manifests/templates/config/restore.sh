#!/bin/sh
# Put a copy in the place of what a node has. On every node, while all servers and Sentinels are down:
# whoever is left out, and made primary when they start, has the others throw the copy away.
#
#   restore.sh COPY
#
set -eu
umask 077
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"

copy=${1:?the RDB file}
[ -r "$copy" ] || refuse "$copy cannot be read"
redis-check-rdb "$copy" >/dev/null || refuse "$copy is no RDB file, or damaged; nothing was changed"
# A server that stands still answers nothing either: only who refuses, or has no address, is down.
check_down() {
    case $(cli -h "$1" -p "$2" PING 2>&1) in
    'Could not connect'*) ;;
    *)
        refuse "$1:$2 runs, or cannot be told to be down: stop all servers and Sentinels first, and \
leave a host that is gone out of PEERS and SENTINELS"
        ;;
    esac
}
for peer in $PEERS; do check_down "$peer" "$REDIS_PORT"; done
for peer in $SENTINELS; do check_down "$peer" "$SENTINEL_PORT"; done

# Whole before anything is moved: a disk that is full must not leave half of it.
new=$DATA/appendonlydir.new
rm -rf "$new"
mkdir "$new"
if ! cp "$copy" "$new/appendonly.aof.1.base.rdb" ||
    ! echo 'file appendonly.aof.1.base.rdb seq 1 type b' >"$new/appendonly.aof.manifest"; then
    rm -rf "$new"
    refuse "$DATA has no room for the copy; nothing was changed"
fi
sync
before=$DATA/before-$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$before"
for old in appendonlydir appendonly.aof dump.rdb; do
    [ ! -e "$DATA/$old" ] || mv "$DATA/$old" "$before/"
done
mv "$new" "$DATA/appendonlydir"
say "restored $copy; what was there is in $before. When all nodes have it, start all servers and Sentinels"
