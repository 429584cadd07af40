#!/bin/sh
# Run a program with secrets from files in its environment, where neither `docker inspect` nor
# `systemctl show` tells them.
#
#   with-secrets.sh VARIABLE=FILE... -- PROGRAM [ARGUMENT...]
#
# SECRETS   where the files are   (/run/secrets)
set -eu

SECRETS=${SECRETS:-/run/secrets}
while [ "${1---}" != -- ]; do
    value=$(cat "$SECRETS/${1#*=}")
    export "${1%%=*}=$value"
    shift
done
shift
exec "$@"
