-- Begin a session under an id that only the caller knows, so that a second run finds its own work.
-- A session is a hash: u user, v version, h versions of the last minute, c created, a absolute end,
-- t last use, i idle span (all in microseconds), b bytes of its data, g "1" where removals are still
-- known of, w where it is used from, and for each field of the data "d:<name>" = "<version> <nonce>
-- <JSON>"; p members that it had before rotations, 16 bytes each, oldest first. A rotated id leaves a
-- hash with the one field "to".
-- A version is the time of its making, never the same twice: so a version of a history that was
-- lost in a failover is not taken for one of the history that replaced it.
--
-- KEYS: 1 the session; for a user: 2 the index of the user's sessions (sorted set: member -> end)
-- ARGV: 1 not_after, 2 member (the last part of KEYS[1]), 3 user (empty for nobody), 4 idle in
--       microseconds, 5 absolute in microseconds, 6 sessions that the user may have (0 no limit),
--       7 nonce, 8 where it is used from (may be empty), 9 cut-off of all sessions in milliseconds
--       (0 for none), which the time of another primary can have been ahead of ours: what begins
--       now is younger; then name and JSON of each field
-- Reply: {"session", now in microseconds, the hash as a flat list}
--     or {"full", now, members of the user's sessions that end first, as many as are too many}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local key, index = KEYS[1], KEYS[2]
if redis.call('EXISTS', key) == 1 then
  return {'session', now, redis.call('HGETALL', key)}
end

local limit = tonumber(ARGV[6])
if index then
  local living = redis.pcall('ZCOUNT', index, '(' .. int(now), '+inf')
  if type(living) == 'table' then return living end
  local over = living - limit
  if limit > 0 and over >= 0 then
    return {'full', now,
            redis.call('ZRANGEBYSCORE', index, '(' .. int(now), '+inf', 'LIMIT', 0, int(over + 1))}
  end
end

local idle, absolute = tonumber(ARGV[4]), tonumber(ARGV[5])
local fields, size = {}, 0
for i = 10, #ARGV, 2 do
  fields[#fields + 1] = 'd:' .. ARGV[i]
  fields[#fields + 1] = int(now) .. ' ' .. ARGV[7] .. ' ' .. ARGV[i + 1]
  size = size + #ARGV[i] + #ARGV[i + 1]
end
local cut_off = tonumber(ARGV[9])
-- Two milliseconds: who reads it as a float of seconds may be off by one.
local created = cut_off > 0 and math.max(now, (cut_off + 2) * 1000) or now
local made = redis.pcall('HSET', key, 'u', ARGV[3], 'v', int(now), 'h', '', 'c', int(created),
  'a', int(now + absolute), 'i', int(idle), 't', int(now), 'b', int(size), 'w', ARGV[8],
  unpack(fields))
if type(made) == 'table' then return made end
redis.call('PEXPIRE', key, int(math.ceil(math.min(idle, absolute) / 1000)))
if index then
  -- Not before the session is stored: a server at maxmemory refuses the first write of a script alone.
  redis.call('ZREMRANGEBYSCORE', index, '-inf', int(now))
  redis.call('ZADD', index, int(now + absolute), ARGV[2])
  local ms = math.ceil(absolute / 1000)
  if redis.call('PTTL', index) < ms then redis.call('PEXPIRE', index, int(ms)) end
end
return {'session', now, redis.call('HGETALL', key)}
