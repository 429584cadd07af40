-- Read a session, and count that as use: its idle time begins anew.
--
-- KEYS: 1 the session (see session_create.lua)
-- ARGV: 1 not_after
-- Reply: {"session", now in microseconds, the hash as a flat list}, {"moved", now, member} where
--        the id was rotated, or {"gone", now}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local meta = redis.call('HMGET', KEYS[1], 'to', 'a', 'i', 't')
if meta[1] then return {'moved', now, meta[1]} end
if not meta[2] or tonumber(meta[2]) <= now then return {'gone', now} end

-- Within a hundredth of the idle time a renewal is left out: it would cost each read a write. Where
-- writes are refused, what was read is still true.
if now - tonumber(meta[4] or 0) >= tonumber(meta[3]) / 100 then
  local left = math.ceil(math.min(tonumber(meta[3]), tonumber(meta[2]) - now) / 1000)
  redis.pcall('HSET', KEYS[1], 't', int(now))
  redis.pcall('PEXPIRE', KEYS[1], int(left))
end
return {'session', now, redis.call('HGETALL', KEYS[1])}
