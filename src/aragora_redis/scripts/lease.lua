-- Take one of a few places for heavy work, such as a full sync of a shard.
--
-- KEYS: 1 the places (sorted set: holder -> end of its lease in milliseconds)
-- ARGV: 1 not_after, 2 holder, 3 number of places, 4 length of the lease in milliseconds
--       (0 gives the place back)
-- Reply: 1 the place is held (or given back), 0 all are taken
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end
local ms = math.floor(now / 1000)
local swept = redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
if type(swept) == 'table' and swept.err then return swept end
if ARGV[4] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  return 1
end
-- A lease from ahead was taken before the clock went back: its holder may have died since.
local longest = string.format('%.0f', ms + ARGV[4])
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. longest, '+inf')) do
  redis.call('ZADD', KEYS[1], longest, holder)
end
if not redis.call('ZSCORE', KEYS[1], ARGV[2])
    and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], longest, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
