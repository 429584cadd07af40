-- Move a session to another id of the same slot. The old id leads on for a while, for requests that
-- were under way with it.
--
-- KEYS: 1 the session under its old id (see session_create.lua), 2 under its new one
--       for a user: 3 the index of the user's sessions
-- ARGV: 1 not_after, 2 old member, 3 new member, 4 milliseconds for which the old id leads on,
--       5 version that it must have (0 for any), and with one 6 what must be stored of where it is used
--       from, which moves no version; then fields of the hash and what they become: what is sealed is
--       sealed anew for the new id
-- Reply: {"session", now in microseconds, the hash as a flat list}, {"moved", now, member} where
--        it was rotated before, {"conflict", now} where the new id was rotated on or it is not as
--        it must be, or {"gone", now}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local old, new, index = KEYS[1], KEYS[2], KEYS[3]
-- Nobody else knows the new id: if it is there, an earlier run of this call has made it.
if redis.call('EXISTS', new) == 1 then
  if redis.call('HEXISTS', new, 'to') == 1 then return {'conflict', now} end
  return {'session', now, redis.call('HGETALL', new)}
end
local meta = redis.call('HMGET', old, 'to', 'a', 'i', 'p', 'v', 'w')
if meta[1] then return {'moved', now, meta[1]} end
if not meta[2] or tonumber(meta[2]) <= now then return {'gone', now} end
if ARGV[5] ~= '0' and (meta[5] ~= ARGV[5] or (meta[6] or '') ~= ARGV[6]) then
  return {'conflict', now}
end

local moved = redis.pcall('RENAME', old, new)
if moved.err then return moved end
local left = math.ceil(math.min(tonumber(meta[3]), tonumber(meta[2]) - now) / 1000)
redis.call('PEXPIRE', new, int(left))
-- Whoever ends the session ends these too: a failover that loses the rotation brings them back.
redis.call('HSET', new, 'p', string.sub((meta[4] or '') .. ARGV[2], -128))
local grown = 0
for i = 7, #ARGV, 2 do
  if string.sub(ARGV[i], 1, 2) == 'd:' then
    grown = grown + #ARGV[i + 1] - redis.call('HSTRLEN', new, ARGV[i])
  end
  redis.call('HSET', new, ARGV[i], ARGV[i + 1])
end
if grown ~= 0 then redis.call('HINCRBY', new, 'b', int(grown)) end
if tonumber(ARGV[4]) > 0 then
  redis.call('HSET', old, 'to', ARGV[3])
  redis.call('PEXPIRE', old, int(math.min(tonumber(ARGV[4]), left)))
end
if index then
  -- In this order the index never is empty, and keeps its end.
  redis.call('ZADD', index, meta[2], ARGV[3])
  redis.call('ZREM', index, ARGV[2])
  if redis.call('PTTL', index) < 0 then
    redis.call('PEXPIRE', index, int(math.ceil((meta[2] - now) / 1000)))
  end
end
return {'session', now, redis.call('HGETALL', new)}
