-- Read which sessions a user has.
--
-- KEYS: 1 the index of the user's sessions (sorted set: member -> end in microseconds)
-- ARGV: none
-- Reply: flat list of member and end in microseconds, in the order of the ends
-- Traits: read
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local living = {}
for i = 1, #found, 2 do
  if tonumber(found[i + 1]) > now then
    living[#living + 1] = found[i]
    living[#living + 1] = tonumber(found[i + 1])
  end
end
return living
