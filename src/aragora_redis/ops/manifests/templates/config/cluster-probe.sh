#!/bin/sh
# Whether the node lives, or may be counted on.
#
#   cluster-probe.sh live    it answers at all, or cluster-start.sh waits; not with a certificate that
#                            has been renewed since
#   cluster-probe.sh ready   it is a primary with slots or a replica that is linked, in a cluster that works
#
# redis-cli exits 0 whatever the server says, so what it says is read. MAIN_PID: the container's (1)
set -eu
# shellcheck source=node.sh
. "$(dirname -- "$0")/node.sh"
# shellcheck source=probing.sh
. "$(dirname -- "$0")/probing.sh"

case ${1-} in
live) tell_live "$REDIS_PORT" 'cluster-start\.sh' ;;
ready)
    REDISCLI_AUTH=$(secret password)
    export REDISCLI_AUTH
    role=$(answer "$REDIS_PORT" ROLE | awk '{ print $NF }')
    state=$(answer "$REDIS_PORT" CLUSTER INFO | sed -n 's/^cluster_state://p')
    slots=$(answer "$REDIS_PORT" CLUSTER NODES | awk '$3 ~ /myself/ { print (NF > 8) }')
    case $state-$role-$slots in
    ok-master*-1) tell "primary" 0 ;;
    ok-slave*connected*) tell "replica" 0 ;;
    ok-master*) tell "a primary without slots" 1 ;;
    ok-slave*) tell "a replica without a link" 1 ;;
    *) tell "in a cluster that does not work: ${state:-$(printf '%s' "$role" | head -n 1)}" 1 ;;
    esac
    ;;
*) refuse "say what to probe: cluster-probe.sh live | ready" ;;
esac
