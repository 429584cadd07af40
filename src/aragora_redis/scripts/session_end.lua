-- Remove a session. The lasting word is the tombstone that the caller joins to the revocations. The
-- trace of a rotated id stays for its time: who had no answer asks again, and must be led on.
--
-- KEYS: 1 the session (see session_create.lua); for a user: 2 the index of the user's sessions
-- ARGV: 1 not_after, 2 member, 3 version that it must have (0 for any), 4 nonce of this call
-- Reply: {"ended", now in microseconds, its absolute end in microseconds, members that it had before},
--        {"moved", now, member} where the id was rotated, {"conflict", now} or {"gone", now}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end

local meta = redis.call('HMGET', KEYS[1], 'to', 'a', 'v', 'p', 'by', 'was')
-- A nonce that is found is that of this very call, sent again because no answer had come.
if meta[5] == ARGV[4] then return {'ended', now, tonumber(meta[6]), meta[4] or ''} end
if meta[1] then return {'moved', now, meta[1]} end
if ARGV[3] ~= '0' and meta[3] and meta[3] ~= ARGV[3] then return {'conflict', now} end
local removed = redis.pcall('DEL', KEYS[1])
if type(removed) == 'table' then return removed end
if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[2]) end
if not meta[2] or tonumber(meta[2]) <= now then return {'gone', now} end
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[1], 'by', ARGV[4], 'was', meta[2], 'p', meta[4] or '')
  redis.call('PEXPIRE', KEYS[1], '10000')
end
return {'ended', now, tonumber(meta[2]), meta[4] or ''}
