-- Say that this instance lives, or ends, and learn who has come and gone.
--
-- KEYS: 1 last beats (sorted set: boot id -> server milliseconds), 2 rows (hash: boot id -> row),
--       3 version (when somebody last came or went, in microseconds), 4 tally of the rows (hash:
--       "e <eras>" and "p <policies>" -> how many say so, "n" -> how many are counted, "at" -> server
--       milliseconds at which all were), 5 changes (sorted set: "+" or "-" and boot id -> version)
-- ARGV: 1 not_after, 2 boot id, 3 row (empty: it ends), 4 the row's part that readiness compares (see below),
--       5 expiry in milliseconds, 6 the version this instance knows, 7 the hash of its policies
-- A row is "<eras> <policies hash> <seconds by which its revocations may be behind, or - for those of
-- another Redis> <checks that Redis decided since its last beat> <those that it decided without>
-- <fingerprint of its digest key> <how its outbox on disk is> <revocations that it holds> <instance id>"; two instances have reconciled the
-- same eras where the first words are equal, and "-" agrees with all: it knows nothing that any may lack.
-- Reply: {now in microseconds, instances, instances whose eras agree with ours, version,
--         changes since the version that is known, oldest first, instances with our policies,
--         1 where the changes are all that is there, and nobody else, the error with which what can wait is
--         refused since memory is full, or nothing}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end
-- Early releases of Redis 6.2 do not hold scripts to min-replicas-to-write, and this write is to
-- prove something.
local replication = redis.pcall('INFO', 'replication')  -- some managed services forbid it
if type(replication) == 'string' and string.match(replication, 'min_slaves_good_slaves:0') then
  return redis.error_reply('NOREPLICAS Not enough good replicas to write.')
end
local beats, rows, tally, changes = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local ms, own = math.floor(now / 1000), ARGV[2]
local ends = ARGV[3] == ''
local came, gone = {}, {}
if redis.call('ZSCORE', beats, own) then
  if ends then gone[1] = own end
elseif not ends then
  came[1] = own
end
local noted
if ends then
  noted = redis.pcall('ZREM', beats, own)
else
  noted = redis.pcall('ZADD', beats, int(ms), own)
end
-- Memory that is full lets a fleet live: its members would vanish, and nobody would be fresh, while
-- revocations come and go. It is told, and the beat goes on as a join does (see join.lua).
local full = ''
if type(noted) == 'table' and string.find(noted.err or '', 'OOM ', 1, true) then
  full = noted.err
  redis.pcall('ZREM', beats, '')
  noted = redis.pcall('ZADD', beats, int(ms), own)
end
if type(noted) == 'table' and noted.err then return noted end

-- All rows are read once a minute only: with a thousand instances that takes a millisecond, and
-- there are five hundred beats a second.
local COUNTED_FOR, REMEMBERED = 60000, 4096
local function words(row) return string.match(row or '', '^(%S*) ?(%S*)') end
local function tell(row, by)
  local eras, policies = words(row)
  for _, field in ipairs({'e ' .. eras, 'p ' .. policies, 'n'}) do
    if redis.call('HINCRBY', tally, field, by) <= 0 then redis.call('HDEL', tally, field) end
  end
end
local function tell_all()
  local told = {n = 0, at = ms}
  for _, row in ipairs(redis.call('HVALS', rows)) do
    local eras, policies = words(row)
    for _, field in ipairs({'e ' .. eras, 'p ' .. policies, 'n'}) do
      told[field] = (told[field] or 0) + 1
    end
  end
  redis.call('DEL', tally)
  for field, count in pairs(told) do redis.call('HSET', tally, field, int(count)) end
end

local before = redis.call('HGET', rows, own)
local eras, policies = words(before)
if ends then
  redis.call('HDEL', rows, own)
else
  redis.call('HSET', rows, own, ARGV[3])
end
if ends or not before or eras ~= ARGV[4] or policies ~= ARGV[7] then
  if before then tell(before, -1) end
  if not ends then tell(ARGV[3], 1) end
end

-- What an eviction or a hand has taken of one key alone: a row without a beat would count for ever, and
-- if it never agrees keep every starter waiting. Its owner may live, so it is missed like anybody. Who
-- lacks its row brings it with its next beat.
if redis.call('HLEN', rows) ~= redis.call('ZCARD', beats) then
  for _, id in ipairs(redis.call('HKEYS', rows)) do
    if redis.call('ZADD', beats, 'NX', int(ms), id) == 1 then came[#came + 1] = id end
  end
end

-- A beat from ahead came before the clock went back, perhaps the last of one that has died since.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', beats, '(' .. int(ms), '+inf')) do
  redis.call('ZADD', beats, int(ms), id)
end
local limit = int(ms - ARGV[5])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', beats, '-inf', limit)) do
  gone[#gone + 1] = id
  local row = redis.call('HGET', rows, id)
  if row then
    tell(row, -1)
    redis.call('HDEL', rows, id)
  end
end

local version = redis.call('GET', KEYS[3]) or '0'
if #came > 0 or #gone > 0 then
  redis.call('ZREMRANGEBYSCORE', beats, '-inf', limit)
  -- Where the clock went back changes have no order any more, and everybody is told all.
  if now <= tonumber(version) then redis.call('DEL', changes) end
  -- The time, and not a counter, which could repeat with other members after a rollback.
  version = int(now)
  redis.call('SET', KEYS[3], version)
  for _, id in ipairs(gone) do redis.call('ZADD', changes, version, '-' .. id) end
  for _, id in ipairs(came) do redis.call('ZADD', changes, version, '+' .. id) end
  redis.call('ZREMRANGEBYRANK', changes, 0, -REMEMBERED - 1)
end

local function counts()
  return redis.call('HMGET', tally, 'n', 'at', 'e ' .. ARGV[4], 'p ' .. ARGV[7], 'e -')
end
local count, seen = redis.call('ZCARD', beats), counts()
local at = tonumber(seen[2] or 0)
if tonumber(seen[1] or 0) ~= redis.call('HLEN', rows) or ms < at or ms - at > COUNTED_FOR then
  tell_all()
  seen = counts()
end

local told, whole, known = {}, 0, tonumber(ARGV[6])
if version ~= ARGV[6] then
  -- A version that is not among the changes is of a history that was lost, or long ago.
  if known and redis.call('ZCOUNT', changes, known, known) > 0 then
    told = redis.call('ZRANGEBYSCORE', changes, '(' .. int(known), '+inf')
  else
    whole = 1
  end
  if whole == 1 or #told > redis.call('ZCARD', beats) then
    whole = 1
    told = redis.call('ZRANGE', beats, 0, -1)
    for i, id in ipairs(told) do told[i] = '+' .. id end
  end
end
local agreed = tonumber(seen[3] or 0)
if ARGV[4] ~= '-' then agreed = agreed + tonumber(seen[5] or 0) end
return {now, count, agreed, version, told, tonumber(seen[4] or 0), whole, full}
