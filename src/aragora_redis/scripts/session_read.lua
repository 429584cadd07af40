-- Read sessions, and count that as use: their idle times begin anew.
--
-- KEYS: the sessions (see session_create.lua)
-- ARGV: 1 not_after, then for each session the version that its reader holds, or 0
-- Reply: array with one for each: {"session", now in microseconds, the hash as a flat list}; where its
--        reader holds that {"same", now, last use in microseconds, where it is used from};
--        {"moved", now, member} where the id was rotated, or {"gone", now}; or the error TRYAGAIN for
--        what is too large to be answered beside others
-- Traits: write batch
-- Uses: session
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local function read(key, held)
  local meta = redis.pcall('HMGET', key, 'to', 'a', 'i', 't', 'v', 'w', 'b')
  if meta.err then return meta end
  if meta[1] then return {'moved', now, meta[1]} end
  if not meta[2] or tonumber(meta[2]) <= now then return {'gone', now} end
  local same = meta[5] == held
  if not same and not has_room(meta[7]) then return too_large() end

  -- Within a hundredth of the idle time a renewal is left out: it would cost each read a write. Where
  -- writes are refused, what was read is still true.
  local seen = tonumber(meta[4] or 0)
  if now - seen >= tonumber(meta[3]) / 100 then
    local left = math.ceil(math.min(tonumber(meta[3]), tonumber(meta[2]) - now) / 1000)
    if type(redis.pcall('HSET', key, 't', int(now))) ~= 'table' then seen = now end
    redis.pcall('PEXPIRE', key, int(left))
  end
  if same then return {'same', now, seen, meta[6] or ''} end
  return {'session', now, redis.call('HGETALL', key)}
end

local replies = {}
for i, key in ipairs(KEYS) do replies[i] = apart(read, key, ARGV[i + 1]) end
return replies
