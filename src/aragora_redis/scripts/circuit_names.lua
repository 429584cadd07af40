-- Say which circuits are in use, and learn which are in use anywhere.
--
-- KEYS: 1 the names (sorted set: name -> last use in milliseconds)
-- ARGV: 1 not_after, 2 milliseconds for which a name is kept, 3 names that are answered at most,
--       then names in use
-- Reply: list of names, the last used first
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end
local ms = math.floor(now / 1000)
for i = 4, #ARGV do
  local told = redis.pcall('ZADD', KEYS[1], int(ms), ARGV[i])
  if type(told) == 'table' then return told end
end
redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(ms - ARGV[2]))
return redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)
