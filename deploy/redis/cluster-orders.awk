# What one node of a Redis Cluster has to do about its place: arguments of CLUSTER, a line each; `open`,
# where replicas may copy from it; `say`, what it waits for. It only decides, from what all nodes say, and
# so does the same again until it is done. Reads the rows of cluster.sh, with
#
#   seat        the place of this node in `peers`, from 0
#   peers       the hosts of all nodes, in order
#   primaries   how many of them, the first ones, share the slots at first
#   patient     whether it has not been long since the start of this node

function last(ends) { return (ends[2] == "" ? ends[1] : ends[2]) + 0 }

function overlaps(slots, from, to,    part, i, ends) {
    for (i = split(slots, part, ","); i; i--) {
        split(part[i], ends, "-")
        if (ends[1] + 0 <= to && last(ends) >= from) return 1
    }
    return 0
}

function size(slots,    part, i, ends, found) {
    for (i = split(slots, part, ","); i; i--) {
        split(part[i], ends, "-")
        found += last(ends) - ends[1] + 1
    }
    return found
}

# Whether two nodes name different holders of a slot, as those of different clusters do.
function at_odds(one, other,    i, j, part, k, ends) {
    for (i = 1; i <= claims; i++) {
        for (j = 1; by[i] == one && j <= claims; j++) {
            if (by[j] != other || of[i] == of[j]) continue
            for (k = split(held[i], part, ","); k; k--) {
                split(part[k], ends, "-")
                if (overlaps(held[j], ends[1] + 0, last(ends))) return 1
            }
        }
    }
    return 0
}

function seat_of(node,    i) {
    for (i = 0; i < seats && host[i] != named[seat, node]; i++) continue
    return i
}

function apart(one, other) {
    return !(one in machine) || !(other in machine) || machine[one] != machine[other]
}

# Give a replica a primary on another machine, moving those that have one already.
function match_up(replica,    i, primary) {
    for (i = 0; i < primaries; i++) {
        primary = (replica + i) % primaries
        if (tried[primary] || !apart(replica, primary)) continue
        tried[primary] = 1
        if (!(primary in given) || match_up(given[primary])) {
            given[primary] = replica
            return 1
        }
    }
    return 0
}

function take_share(from, to) {
    if (heard < seats) {
        print "say waiting: nobody is known to hold its slots, but not all nodes are there"
        return
    }
    # Distinct epochs spare the nodes the settling of who of two equals is the older.
    if (rows[seat] == 1) print "SET-CONFIG-EPOCH", seat + 1
    print "ADDSLOTSRANGE", from, to
}

function meet(other,    them) {
    them = id[other]
    if (living[seat, them] && place[seat, them] == place[other, them]) return
    if (named[other, them] != host[other])
        print "say not met: who answers at " host[other] " calls itself " named[other, them]
    else if (!((seat, them) in flags) && !((other, me) in flags) && at_odds(seat, other))
        print "say not met: " host[other] " belongs to another cluster, which holds slots that are held here"
    else print "MEET", place[other, them]
}

# Follow the primary with the fewest replicas; of several, one on another machine.
function follow(    i, j, node, rank, least, best, holder) {
    for (i = 1; i <= rows[seat]; i++) {
        node = row[seat, i]
        if (slots[seat, node] == "-" || !living[seat, node]) continue
        j = seat_of(node)
        holder[j] = node
        rank = (followers[seat, node] * 2 + !apart(seat, j)) * seats + (j - seat + seats * primaries) % primaries
        if (best == "" || rank < least) { best = node; least = rank }
    }
    for (i = primaries; i < 2 * primaries; i++) { split("", tried); match_up(i) }
    for (i = 0; i < primaries; i++)
        if (given[i] == seat && (i in holder) && !followers[seat, holder[i]]) best = holder[i]
    if (founded < 16384 || unseen) print "say waiting: not all slots have a holder that this node knows"
    else if (replacing) print "say waiting: a primary is being replaced"
    # All must know the same to choose different ones.
    else if (patient && (seat in machine) && machines < seats)
        print "say waiting: not all nodes say on which machine they are"
    else if (best != "") print "REPLICATE", best
}

# Where two nodes chose the same primary at once, another has nobody: one of them goes there.
function even_out(    i, node, orphan, mover) {
    if (followers[seat, primary[seat, me]] < 2 || replacing) return
    for (i = 1; i <= rows[seat]; i++) {
        node = row[seat, i]
        if (slots[seat, node] != "-" && living[seat, node] && !followers[seat, node])
            if (orphan == "" || node < orphan) orphan = node
    }
    if (orphan == "") return
    for (i = 1; i <= rows[seat]; i++) {
        node = row[seat, i]
        if (primary[seat, node] != primary[seat, me] || !living[seat, node]) continue
        node = apart(seat_of(node), seat_of(orphan)) node
        if (node > mover) mover = node
    }
    if (substr(mover, 2) == me) print "REPLICATE", orphan
}

# A primary that has lost its name has lost its data, and no vote replaces it while another node answers at
# its address: so its replica asks for one.
function succeed(    theirs, j) {
    theirs = primary[seat, me]
    if (theirs == "-" || living[seat, theirs]) return
    for (j = 0; j < seats; j++)
        if ((j in id) && host[j] == named[seat, theirs] && id[j] != theirs) print "FAILOVER FORCE"
}

# A replica goes by its primary's address, whoever is there now: it would copy the wrong data in place of
# its own. So none is let in while one may be mistaken.
function let_in(    j, theirs) {
    for (j = 0; j < seats; j++) {
        if (j == seat || !(j in id) || (theirs = primary[j, id[j]]) == "-" || theirs == me) continue
        if (named[j, theirs] == host[seat] || place[j, theirs] == place[seat, me]) return
        if (patient && !living[j, theirs]) return
    }
    print "open"
}

# Who came back under another name has left the old one behind.
function forget(    i, node, back) {
    for (i = 1; i <= rows[seat]; i++) if (living[seat, row[seat, i]]) back[named[seat, row[seat, i]]]
    for (i = 1; i <= rows[seat]; i++) {
        node = row[seat, i]
        if (flags[seat, node] ~ /fail(,|$)|noaddr/ && slots[seat, node] == "-" && \
            named[seat, node] != "-" && named[seat, node] in back && primary[seat, me] != node)
            print "FORGET", node
    }
}

BEGIN {
    seats = split(peers, word, " ")
    for (i = 0; i < seats; i++) host[i] = word[i + 1]
}
$2 == "machine" { machine[$1] = $3; machines++; next }
{
    row[$1, ++rows[$1]] = $2
    place[$1, $2] = $3 " " $4 " " $5
    named[$1, $2] = $6
    flags[$1, $2] = $7
    primary[$1, $2] = $8
    slots[$1, $2] = $10
    living[$1, $2] = $7 ~ /myself/ || ($9 == "connected" && $7 !~ /fail|noaddr|handshake/)
    if (living[$1, $2] && $8 != "-") followers[$1, $8]++
    if ($10 != "-") { by[++claims] = $1; of[claims] = $2; held[claims] = $10; sum[$1] += size($10) }
    if (sum[$1] > founded) founded = sum[$1]
    if ($7 ~ /myself/) { id[$1] = $2; if ($6 == host[$1]) heard++ }
}
END {
    if (!(seat in id)) exit
    me = id[seat]
    from = int(16384 * seat / primaries + 0.5)
    to = int(16384 * (seat + 1) / primaries + 0.5) - 1
    placed = flags[seat, me] ~ /slave/ || slots[seat, me] != "-"
    share = seat < primaries
    for (i = 1; i <= claims; i++) {
        if (overlaps(held[i], from, to)) {
            share = 0
            lost = of[i]
            if (living[by[i], of[i]] || followers[by[i], of[i]]) kept = 1
        }
        if (!living[by[i], of[i]] && followers[by[i], of[i]]) replacing = 1
        if (living[by[i], of[i]] && !(living[seat, of[i]] && slots[seat, of[i]] != "-")) unseen = 1
    }
    if (!placed && share) take_share(from, to)
    for (other = 0; other < seats; other++) if (other != seat && other in id) meet(other)
    if (!placed && !share && lost && !kept)
        print "say waiting: its slots are held by " lost ", which is gone with all its replicas; what it held is lost, " \
            "if it does not come back, and CLUSTER FORGET " lost " at every node has this one take them anew"
    else if (!placed && !share) follow()
    if (flags[seat, me] ~ /slave/) { succeed(); even_out() }
    if (placed) let_in()
    forget()
}
