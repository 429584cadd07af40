-- Change fields of a session, if they are still as they were in the version that was read.
-- Invariant I6: the whole update applies, or nothing of it. It never creates a session.
--
-- KEYS: 1 the session (see session_create.lua)
-- ARGV: 1 not_after, 2 version that was read, 3 nonce of this update, 4 "exact" to refuse where
--       anything has changed since, else "merge", 5 bytes and 6 fields that the data may have,
--       7 number of fields to set, 8 where the session is used from (empty leaves that, "-" forgets
--       it), 9 "1" where the caller holds the session as it was in that version, then name and JSON
--       of each, then names of fields to remove
-- Reply: {"session", now in microseconds, the hash as a flat list}; where the caller holds the rest
--        {"changed", now, version, where it is used from, bytes of its data}; {"conflict", now},
--        {"large", now, bytes it would have}, {"moved", now, member} or {"gone", now}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local key, base, nonce, sets = KEYS[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[7])
local fields, wanted = {}, {}
for i = 10, 9 + 2 * sets, 2 do
  fields[#fields + 1] = 'd:' .. ARGV[i]
  wanted['d:' .. ARGV[i]] = ARGV[i + 1]
end
for i = 10 + 2 * sets, #ARGV do
  fields[#fields + 1] = 'd:' .. ARGV[i]
  wanted['d:' .. ARGV[i]] = ''
end
-- Only what it touches is read: a session may be large.
local stored = redis.call('HMGET', key, 'to', 'a', 'i', 'v', 'h', 'b', 'w', 'g', unpack(fields))
if stored[1] then return {'moved', now, stored[1]} end
if not stored[2] or tonumber(stored[2]) <= now then return {'gone', now} end

local function parts(value) return string.match(value, '^(%d+) (%S+) (.*)$') end
-- A name without its prefix, and what it holds.
local function size_of(field, text) return #field - 2 + #text end

-- What is removed stays known as removed for as long as somebody may have read it, and counts.
local version, size, client = tonumber(stored[4]), tonumber(stored[6]), stored[7] or ''
local made = int(math.max(now, version + 1))
local untouched, removes, adds, changes = true, false, 0, {}
for i, field in ipairs(fields) do
  local old, new = stored[8 + i], wanted[field]
  local text = ''
  if old then
    local changed, by
    changed, by, text = parts(old)
    -- A nonce that is found is that of this very update, sent again because no answer had come.
    if by == nonce then return {'session', now, redis.call('HGETALL', key)} end
    untouched = untouched and tonumber(changed) <= base
    size = size - size_of(field, text)
  end
  if old or new ~= '' then
    changes[#changes + 1] = field
    changes[#changes + 1] = made .. ' ' .. nonce .. ' ' .. new
    size = size + size_of(field, new)
    removes = removes or new == ''
    if text == '' and new ~= '' then adds = adds + 1 end
  end
end

-- Earlier versions, the newest first: 16 digits each, with a blank between.
local function digits(x) return string.format('%016.0f', x) end
local known = base == version
if not known and ARGV[4] ~= 'exact' then
  known = string.find(stored[5], digits(base), 1, true)
end
if not known or not untouched then return {'conflict', now} end
local recent = digits(version)
if stored[5] ~= '' then recent = string.sub(recent .. ' ' .. stored[5], 1, 32 * 17 - 1) end
while #recent > 16 and now - string.sub(recent, -16) >= 60000000 do
  recent = string.sub(recent, 1, -18)
end

-- All of it is read where removals may be forgotten by now, or there may be too many fields.
local living, forgotten = 0, {}
if stored[8] == '1' or redis.call('HLEN', key) + adds > tonumber(ARGV[6]) then
  local oldest, all = tonumber(string.sub(recent, -16)), redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local field = all[i]
    if string.sub(field, 1, 2) == 'd:' and not wanted[field] then
      local changed, _, text = parts(all[i + 1])
      if text ~= '' then
        living = living + 1
      elseif tonumber(changed) <= oldest then
        forgotten[#forgotten + 1] = field
        size = size - size_of(field, text)
      else
        removes = true
      end
    end
  end
  for _, new in pairs(wanted) do
    if new ~= '' then living = living + 1 end
  end
end
if size > tonumber(ARGV[5]) and size > tonumber(stored[6]) or living > tonumber(ARGV[6]) then
  return {'large', now, size}
end

if #changes > 0 then
  local written = redis.pcall('HSET', key, 'v', made, 'h', recent, 'b', int(size),
    'g', removes and '1' or '', 't', int(now), unpack(changes))
  if type(written) == 'table' then return written end
  for _, field in ipairs(forgotten) do redis.call('HDEL', key, field) end
else
  made, size = int(version), tonumber(stored[6])
  redis.pcall('HSET', key, 't', int(now))
end
if ARGV[8] ~= '' then
  local seen_from = ARGV[8] == '-' and '' or ARGV[8]
  if type(redis.pcall('HSET', key, 'w', seen_from)) ~= 'table' then client = seen_from end
end
local left = math.ceil(math.min(tonumber(stored[3]), tonumber(stored[2]) - now) / 1000)
redis.pcall('PEXPIRE', key, int(left))
if ARGV[9] == '1' and base == version then return {'changed', now, made, client, size} end
return {'session', now, redis.call('HGETALL', key)}
