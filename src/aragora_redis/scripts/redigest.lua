-- Make the digest of a day what its members say, where something else than the join script changed
-- them (an eviction, a hand, a clock): and begin an era, so that everybody compares what he knows.
--
-- KEYS: 1 the shard's head, 2 its digests, 3 the day's members (see join.lua)
-- ARGV: 1 not_after, 2 the day
--       3 the digest's count as it was read, 4 its sum in hex
--       5 the members' number, 6 their sum in hex
-- Reply: 1 it is so now, 0 the digest or the members have changed since they were read
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then return redis.error_reply('LATE ' .. int(now)) end

local count, sum = 'c:' .. ARGV[2], 'x:' .. ARGV[2]
local stored = redis.call('HMGET', KEYS[2], count, sum)
if (stored[1] or '0') ~= ARGV[3] or (stored[2] or string.rep('0', 16)) ~= ARGV[4]
    or redis.call('ZCARD', KEYS[3]) ~= tonumber(ARGV[5]) then
  return 0
end
-- The era ends nowhere: to whoever was in it the new one is foreign.
local era = tonumber(redis.call('HGET', KEYS[1], 'era') or 0)
local begun = redis.pcall('HSET', KEYS[1], 'era', int(era + 1), 'seq', '0', 'opened', int(now))
if type(begun) == 'table' and begun.err then return begun end
if ARGV[5] == '0' then
  redis.call('HDEL', KEYS[2], count, sum)
else
  redis.call('HSET', KEYS[2], count, ARGV[5], sum, ARGV[6])
end
return 1
