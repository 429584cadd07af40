-- Fill buckets again, and tell every instance that may be refusing their subjects by itself.
--
-- KEYS: the buckets (see gcra.lua)
-- ARGV: 1 not_after, 2 channel on which each key is published
-- Reply: how many buckets had been taken from
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end
local dropped = redis.pcall('DEL', unpack(KEYS))
if type(dropped) == 'table' and dropped.err then return dropped end
-- Who may not publish leaves the others' refusals to their end, which is near.
for _, key in ipairs(KEYS) do redis.pcall('PUBLISH', ARGV[2], key) end
return dropped
