-- Join revocations into one shard: keep the greater score of each member, and number what changed,
-- so that every instance can follow without a hole. See docs/protocol.md, "Revocations".
--
-- KEYS: 1 the shard's head (hash: nonce, rid, era, seq, opened, end:<era> = "rid seq")
--       2 its digests (hash: c:<day> count, x:<day> 64-bit sum in hex)
--       3 its feed (stream), whose name is also the channel
--       then for each day of this call two keys: its members (sorted set), its notes (hash)
-- ARGV: 1 not_after (server microseconds, 0 for never)
--       2 nonce to use where the shard has none; the time is appended, so that two are never equal
--       3 "1" to write even where nothing changes, so that WAIT has something to wait for
--       4 number of days, then each day (days since 1970)
--       then for each entry: index of its day from 1, member (8 bytes, or 16 of a pardon), score,
--       note (may be empty)
-- Reply: {nonce, rid, era, seq, number of entries that changed something, now in microseconds}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then return redis.error_reply('LATE ' .. int(now)) end

local head, digests, feed = KEYS[1], KEYS[2], KEYS[3]
local replication = redis.pcall('INFO', 'replication')
if type(replication) ~= 'string' then replication = '' end  -- some managed services forbid it
-- Without an id every history looks like one; whoever follows compares digests instead.
local rid = string.match(replication, 'master_replid:(%x+)') or '0'
-- Early releases of Redis 6.2 do not hold scripts to min-replicas-to-write.
local alone = string.match(replication, 'min_slaves_good_slaves:0') and
  redis.error_reply('NOREPLICAS Not enough good replicas to write.')
local old = redis.call('HMGET', head, 'nonce', 'rid', 'era', 'seq')
local nonce, era, seq = old[1], tonumber(old[3] or 0), tonumber(old[4] or 0)

-- A key of another type would end the script half done, with members in no digest and no feed.
for i = 4, #KEYS, 2 do
  for _, reply in ipairs({redis.pcall('ZSCORE', KEYS[i], ''), redis.pcall('HMGET', KEYS[i + 1], '')}) do
    if type(reply) == 'table' and reply.err then return reply end
  end
end
local kept = redis.pcall('HMGET', digests, '')
if kept.err then return kept end

-- A server at maxmemory refuses what adds to it, but lets a script go on that has written anything. A
-- revocation comes before all that can wait, which is refused: so the first write is one that adds
-- nothing, and changes nothing.
local function before_room()
  redis.pcall('HDEL', head, '')
end

if not nonce or old[2] ~= rid then
  if alone then return alone end
  before_room()
  local fields = {'rid', rid, 'era', int(era + 1), 'seq', '0', 'opened', int(now)}
  if not nonce then
    nonce = ARGV[2] .. '-' .. int(now)
    fields[#fields + 1], fields[#fields + 2] = 'nonce', nonce
  else
    fields[#fields + 1], fields[#fields + 2] = 'end:' .. int(era), old[2] .. ' ' .. int(seq)
  end
  local set = redis.pcall('HSET', head, unpack(fields))
  if type(set) == 'table' and set.err then return set end
  -- Nobody can still be at a position 64 histories ago; it would take a full sync anyway.
  redis.call('HDEL', head, 'end:' .. int(era - 64))
  era, seq = era + 1, 0
end

local days, first = {}, 5 + tonumber(ARGV[4])
for i = 1, tonumber(ARGV[4]) do days[i] = tonumber(ARGV[4 + i]) end

-- What a member adds to the sum of its day: its last 8 bytes times 2 * score + 1, modulo 2^64, as two
-- words. The sum does not depend on the order of joins. Every step stays below 2^53, so it is exact.
local floor, WORD = math.floor, 4294967296
local function part(member, score)
  local high, low = struct.unpack('>I4I4', string.sub(member, -8))
  local factor = 2 * score + 1
  local first, second = factor % 65536, floor(factor / 65536) % 65536
  local middle = low * second
  local sum = low * first + middle % 65536 * 65536
  local carry = floor(sum / WORD) + floor(middle / 65536)
  return (high * first + high * second % 65536 * 65536 + low * floor(factor / WORD) + carry) % WORD,
    sum % WORD
end
local function add(into, sign, high, low)
  local sum = into.low + sign * low
  into.low = sum % WORD
  into.high = (into.high + sign * high + floor(sum / WORD)) % WORD
end

-- A day's digest goes a month after its members have, looked for when a new day begins, so once a day.
-- Those that went because the clock was days ahead leave it behind, and a set that is not what its
-- digest says is noticed: without that a starter would find nothing to compare, and be ready, empty.
local function forget_days()
  for _, field in ipairs(redis.call('HKEYS', digests)) do
    local day = tonumber(string.match(field, '%d+$'))
    if day and (day + 32) * 86400000000 <= now then redis.call('HDEL', digests, field) end
  end
end

local changed, day_state = {}, {}
for i = first, #ARGV, 4 do
  local index, member, score, note = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local day, members = days[index], KEYS[2 + 2 * index]
  local before = redis.call('ZSCORE', members, member)
  if before then before = int(tonumber(before)) end
  if (day + 2) * 86400000000 > now and (not before or tonumber(before) < tonumber(score)) then
    if #changed == 0 then before_room() end
    local added = alone or redis.pcall('ZADD', members, score, member)
    if type(added) == 'table' and added.err then
      if #changed == 0 then return added end
      break
    end
    local state = day_state[index]
    if not state then
      local stored = redis.call('HMGET', digests, 'c:' .. day, 'x:' .. day)
      local sum = stored[2] or string.rep('0', 16)
      state = {count = tonumber(stored[1] or 0),
               high = tonumber(string.sub(sum, 1, 8), 16), low = tonumber(string.sub(sum, 9), 16)}
      day_state[index] = state
      if state.count == 0 then forget_days() end
    end
    if before then add(state, -1, part(member, before)) else state.count = state.count + 1 end
    add(state, 1, part(member, score))
    if note ~= '' then redis.call('HSET', KEYS[3 + 2 * index], member, note) end
    changed[#changed + 1] = string.char(#member) .. member ..
      string.format('%06d%015.0f', day, tonumber(score))
  end
end

for index, state in pairs(day_state) do
  local day = days[index]
  redis.call('HSET', digests, 'c:' .. day, int(state.count),
    'x:' .. day, string.format('%08x%08x', state.high, state.low))
  -- A day outlives its last entry by another, for instances and nodes whose clocks are behind.
  local gone = int((day + 2) * 86400000)
  redis.call('PEXPIREAT', KEYS[2 + 2 * index], gone)
  redis.call('PEXPIREAT', KEYS[3 + 2 * index], gone)
end

if #changed > 0 or ARGV[3] == '1' then
  if alone then return alone end
  before_room()
  seq = seq + 1
  local moved = redis.pcall('HSET', head, 'seq', int(seq))
  if type(moved) == 'table' and moved.err then return moved end
  local blob = table.concat(changed)
  local function append()
    local id = int(era) .. '-' .. int(seq)
    return redis.pcall('XADD', feed, 'MAXLEN', '~', '10000', id, 'e', blob)
  end
  -- A feed that outlived its head is of another history; whoever follows it finds a hole.
  if type(append()) == 'table' then
    redis.call('DEL', feed)
    append()
  end
  -- Who may not publish is followed by looks alone.
  redis.pcall('PUBLISH', feed, nonce .. ' ' .. rid .. ' ' .. int(era) .. ' ' .. int(seq) .. ' ' .. blob)
end
return {nonce, rid, era, seq, #changed, now}
