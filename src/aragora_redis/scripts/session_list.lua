-- Say of some sessions of a user whether they live, and take those that do not out of the index.
--
-- KEYS: 1 the index of the user's sessions, then the sessions (see session_create.lua)
-- ARGV: 1 not_after, then the member of each session
-- Reply: {now in microseconds, for each session {created, absolute end, unused end, last use (all
--        in Unix microseconds), where it is used from, members before rotations}, or {}}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end

local replies = {}
for i = 2, #KEYS do
  local meta = redis.call('HMGET', KEYS[i], 'c', 'a', 't', 'w', 'p')
  if meta[1] then
    local unused = now + redis.call('PTTL', KEYS[i]) * 1000
    replies[i - 1] = {tonumber(meta[1]), tonumber(meta[2]), unused, tonumber(meta[3] or meta[1]),
      meta[4] or '', meta[5] or ''}
  else
    redis.pcall('ZREM', KEYS[1], ARGV[i])
    replies[i - 1] = {}
  end
end
return {now, replies}
