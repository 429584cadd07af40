-- Say that this instance lives, and learn who else does.
--
-- KEYS: 1 last beats (sorted set: boot id -> server milliseconds), 2 rows (hash: boot id -> row),
--       3 version (when somebody last came or went)
-- ARGV: 1 not_after, 2 boot id, 3 row, 4 the row's part that readiness compares (see below),
--       5 expiry in milliseconds, 6 the version this instance knows, 7 the hash of its policies
-- A row is "<eras> <policies hash> <seconds by which its revocations may be behind> <checks that
-- Redis decided since its last beat> <those that it decided without> <fingerprint of its digest key>
-- <how its outbox on disk is> <revocations that it holds> <instance id>"; two instances have reconciled the same eras where the first words are equal.
-- Reply: {now in microseconds, instances, instances whose eras equal ours, version,
--         list of boot ids where the version differs from ours, instances with our policies}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end
-- Early releases of Redis 6.2 do not hold scripts to min-replicas-to-write, and this write is to
-- prove something.
local replication = redis.pcall('INFO', 'replication')  -- some managed services forbid it
if type(replication) == 'string' and string.match(replication, 'min_slaves_good_slaves:0') then
  return redis.error_reply('NOREPLICAS Not enough good replicas to write.')
end
local ms = math.floor(now / 1000)
local new = not redis.call('ZSCORE', KEYS[1], ARGV[2])
local added = redis.pcall('ZADD', KEYS[1], string.format('%.0f', ms), ARGV[2])
if type(added) == 'table' and added.err then return added end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])

-- A beat from ahead came before the clock went back, perhaps the last of one that has died since.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', ms), '+inf')) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', ms), id)
end
local limit = string.format('%.0f', ms - ARGV[5])
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', limit)
if #gone > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', limit)
  for _, id in ipairs(gone) do redis.call('HDEL', KEYS[2], id) end
end
-- The time, and not a counter, which could repeat with other members after a rollback.
if new or #gone > 0 then redis.call('SET', KEYS[3], string.format('%.0f', now)) end

local count, agreed, alike = 0, 0, 0
for _, row in ipairs(redis.call('HVALS', KEYS[2])) do
  count = count + 1
  local eras, policies = string.match(row, '^(%S*) ?(%S*)')
  if eras == ARGV[4] then agreed = agreed + 1 end
  if policies == ARGV[7] then alike = alike + 1 end
end
local version = redis.call('GET', KEYS[3]) or '0'
local ids = {}
if version ~= ARGV[6] then ids = redis.call('ZRANGE', KEYS[1], 0, -1) end
return {now, count, agreed, version, ids, alike}
