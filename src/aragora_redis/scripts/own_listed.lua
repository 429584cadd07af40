-- Put a subject on the list of those that get a limit of their own; those whose limit has ended leave
-- it. Whether one has it says its bucket alone (see quota.lua): it is listed first, and given then.
--
-- KEYS: 1 the list (sorted set: bucket -> end of its limit in microseconds, or 2^52 + when it was
--       listed where that has none), 2 what was told of each (hash: bucket -> "<since> <text>")
-- ARGV: 1 not_after, 2 bucket, 3 microseconds for which its limit holds, 0 for good, 4 text
-- Reply: 1
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end
local ends = ARGV[3] == '0' and 2 ^ 52 + now or now + ARGV[3]
local before = redis.pcall('ZSCORE', KEYS[1], ARGV[2])
local told = redis.pcall('HGET', KEYS[2], ARGV[2])
-- What is of another type is none of ours.
for i, found in ipairs({before, told}) do
  if type(found) == 'table' then
    local gone = redis.pcall('DEL', KEYS[i])
    if type(gone) == 'table' then return gone end
  end
end
-- The limit that it has may outlast the one that is to come, should that not come.
if type(before) == 'string' then ends = math.max(ends, tonumber(before)) end
-- No two have the same, or a page that begins behind one would pass over the other.
local function taken()
  local there = redis.call('ZRANGEBYSCORE', KEYS[1], int(ends), int(ends), 'LIMIT', 0, 2)
  return #there > 1 or #there == 1 and there[1] ~= ARGV[2]
end
while taken() do ends = ends + 1 end
local listed = redis.pcall('ZADD', KEYS[1], int(ends), ARGV[2])
if type(listed) == 'table' then return listed end
redis.call('HSET', KEYS[2], ARGV[2], int(now) .. ' ' .. ARGV[4])
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, 100)
if #over > 0 then
  redis.call('ZREM', KEYS[1], unpack(over))
  redis.call('HDEL', KEYS[2], unpack(over))
end
return 1
