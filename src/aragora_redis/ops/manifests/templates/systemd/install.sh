#!/bin/sh
# Put in place what the units need. What is in /etc/aragora-redis already stays, but for the
# configurations of Redis.
#
#   install.sh
#
# DESTDIR   put before each path   (nothing)
set -eu

here=$(cd -- "$(dirname -- "$0")" && pwd -P)
etc=${DESTDIR-}/etc/aragora-redis
lib=${DESTDIR-}/usr/local/lib/aragora-redis
units=${DESTDIR-}/etc/systemd/system

keep() { # NAME TEXT
    [ -e "$etc/$1" ] || printf '%s\n' "$2" >"$etc/$1"
}

umask 022
mkdir -p "$etc" "$lib" "$units"
cp "$here"/../redis/*.sh "$here/with-secrets.sh" "$here/operator.sh" "$lib"
cp "$here"/../redis/*.conf "$etc"
cp "$here"/*.service "$units"
for file in "$here"/*.env; do
    keep "$(basename "$file")" "$(cat "$file")"
done
<% for pod in plan.pods %>
keep node-<%= loop.index0 %>.env 'BIND=127.0.0.<%= 11 + loop.index0 %>
LOCAL=127.0.0.<%= 11 + loop.index0 %>'
<% endfor %>
sh "$here/make-secrets.sh" "$etc/secrets"
