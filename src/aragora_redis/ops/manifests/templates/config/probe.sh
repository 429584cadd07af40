#!/bin/sh
# Whether a server of this node lives, or may be counted on.
#
#   probe.sh redis | sentinel live     it answers at all, or start.sh waits; not with a certificate that
#                                      has been renewed since
#   probe.sh redis ready               it is the primary, or a replica that is linked to it
#   probe.sh sentinel ready            enough Sentinels know each other to replace the primary
#
# redis-cli exits 0 whatever the server says, so what it says is read. MAIN_PID: the container's (1)
set -eu
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=sentinels.sh
. "$(dirname -- "$0")/sentinels.sh"
# shellcheck source=probing.sh
. "$(dirname -- "$0")/probing.sh"

case ${1-} in
redis) port=$REDIS_PORT secret=password ;;
sentinel) port=$SENTINEL_PORT secret=sentinel-password ;;
*) refuse "say what to probe: probe.sh redis | sentinel live | ready" ;;
esac

case $1-${2-} in
*-live) tell_live "$port" 'start\.sh' ;;
redis-ready)
    REDISCLI_AUTH=$(secret "$secret")
    export REDISCLI_AUTH
    role=$(answer "$port" ROLE | awk '{ print $NF }')
    case $role in
    master*) tell "primary" 0 ;;
    slave*connected*) tell "replica" 0 ;;
    *) tell "neither primary nor a linked replica: $(printf '%s' "$role" | head -n 1)" 1 ;;
    esac
    ;;
sentinel-ready)
    REDISCLI_AUTH=$(secret "$secret")
    export REDISCLI_AUTH
    said=$(answer "$port" SENTINEL CKQUORUM "$MASTER_NAME")
    case $said in
    OK*) tell "quorum" 0 ;;
    *) tell "$said" 1 ;;
    esac
    ;;
*) refuse "say what to probe: probe.sh redis | sentinel live | ready" ;;
esac
