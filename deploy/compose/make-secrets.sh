#!/bin/sh
# Make the secrets that are missing; those that are there stay.
#
#   make-secrets.sh [DIRECTORY]      (./secrets)
#
# A NAME-other that is empty says that NAME is not being changed; it is there, because whoever
# mounts a file needs one.
#
# The directory is closed, and its files are open: a file that is mounted into a container keeps its
# mode, and belongs to nobody there.
set -eu
umask 022

directory=${1:-secrets}
mkdir -p "$directory"
chmod 700 "$directory"
for name in password sentinel-password internal-password operator-password monitor-password; do
    [ -e "$directory/$name-other" ] || : >"$directory/$name-other"
done
for name in password sentinel-password internal-password operator-password monitor-password \
    gateway-token admin-token digest-key; do
    [ ! -s "$directory/$name" ] || continue
    od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$directory/$name"
    printf 'made %s\n' "$directory/$name"
done
