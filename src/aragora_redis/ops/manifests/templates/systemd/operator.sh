#!/bin/sh
# Run a command of aragora-redis with the rights of an operator, against the site of this host.
#
#   operator.sh status | doctor | failover | audit | ...
set -eu

set -a
# shellcheck source=/dev/null
. /etc/aragora-redis/gateway.env
set +a
# For doctor, where a gateway of this host has one.
outbox=/var/lib/aragora-gateway/outbox
[ -n "${ARAGORA_TOKENS_OUTBOX:-}" ] || [ ! -d "$outbox" ] || export ARAGORA_TOKENS_OUTBOX="$outbox"
export SECRETS=/etc/aragora-redis/secrets
export ARAGORA_REDIS_USERNAME=operator ARAGORA_REDIS_PASSWORD_FILE=$SECRETS/operator-password
export ARAGORA_REDIS_SENTINEL_USERNAME=operator
exec sh /usr/local/lib/aragora-redis/with-secrets.sh \
    ARAGORA_REDIS_SENTINEL_PASSWORD=operator-password ARAGORA_DIGEST_KEY=digest-key \
    -- /opt/aragora-redis/bin/aragora-redis "$@"
