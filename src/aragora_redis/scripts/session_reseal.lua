-- Put values of a session into another form, where they are still the ones that were read. What they
-- say stays, so it is no change: neither their versions nor the session's move.
--
-- KEYS: 1 the session (see session_create.lua)
-- ARGV: 1 not_after, then field of the hash, its old and its new value
-- Reply: number of values that were replaced
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end

local replaced, grown = 0, 0
for i = 2, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    local written = redis.pcall('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    if type(written) == 'table' then return written end
    replaced = replaced + 1
    if string.sub(ARGV[i], 1, 2) == 'd:' then grown = grown + #ARGV[i + 2] - #ARGV[i + 1] end
  end
end
if grown ~= 0 then redis.call('HINCRBY', KEYS[1], 'b', string.format('%.0f', grown)) end
return replaced
