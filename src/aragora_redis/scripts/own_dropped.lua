-- Take subjects off the list of those that got a limit of their own, because they have none any more.
-- One that was listed a moment ago stays: its limit may be under way.
--
-- KEYS: 1 the list, 2 what was told of each (see own_listed.lua)
-- ARGV: 1 not_after, 2 microseconds for which one stays in any case, then the buckets
-- Reply: how many were taken off
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end
local dropped = 0
for i = 3, #ARGV do
  local told = redis.pcall('HGET', KEYS[2], ARGV[i])
  local since = tonumber(type(told) == 'string' and string.match(told, '^%d+') or 0)
  if since + ARGV[2] < now then
    local gone = redis.pcall('ZREM', KEYS[1], ARGV[i])
    if type(gone) == 'table' then return gone end
    redis.pcall('HDEL', KEYS[2], ARGV[i])
    dropped = dropped + gone
  end
end
return dropped
