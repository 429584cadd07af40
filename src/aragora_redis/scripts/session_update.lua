-- Change fields of a session, if they are still as they were in the version that was read.
-- Invariant I6: the whole update applies, or nothing of it. It never creates a session.
--
-- KEYS: 1 the session (see session_create.lua)
-- ARGV: 1 not_after, 2 version that was read, 3 nonce of this update, 4 "exact" to refuse where
--       anything has changed since, else "merge", 5 bytes and 6 fields that the data may have,
--       7 number of fields to set, 8 where the session is used from (empty leaves that, "-" forgets
--       it), then name and JSON of each, then names of fields to remove
-- Reply: {"session", now in microseconds, the hash as a flat list}, {"conflict", now},
--        {"large", now, bytes it would have}, {"moved", now, member} or {"gone", now}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local key, base, nonce = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local stored = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
if stored.to then return {'moved', now, stored.to} end
if not stored.a or tonumber(stored.a) <= now then return {'gone', now} end

local wanted, names = {}, {}
local sets = tonumber(ARGV[7])
for i = 9, 8 + 2 * sets, 2 do
  names[#names + 1] = ARGV[i]
  wanted[ARGV[i]] = ARGV[i + 1]
end
for i = 9 + 2 * sets, #ARGV do
  names[#names + 1] = ARGV[i]
  wanted[ARGV[i]] = ''
end

local function parts(value) return string.match(value, '^(%d+) (%S+) (.*)$') end

-- A nonce that is found is that of this very update, sent again because no answer had come.
local version, untouched = tonumber(stored.v), true
for _, name in ipairs(names) do
  local old = stored['d:' .. name]
  if old then
    local changed, by = parts(old)
    if by == nonce then return {'session', now, flat} end
    if tonumber(changed) > base then untouched = false end
  end
end

local known = base == version
if not known and ARGV[4] ~= 'exact' then
  for earlier in string.gmatch(stored.h, '%d+') do known = known or tonumber(earlier) == base end
end
if not known or not untouched then return {'conflict', now} end

local recent = {int(version)}
for earlier in string.gmatch(stored.h, '%d+') do
  if #recent < 32 and now - tonumber(earlier) < 60000000 then recent[#recent + 1] = earlier end
end
local oldest = tonumber(recent[#recent])

-- What is removed stays known as removed for as long as somebody may have read it, and counts.
local fields, forgotten, living, size = {}, {}, 0, 0
local made = int(math.max(now, version + 1))
for _, name in ipairs(names) do
  if wanted[name] ~= '' or stored['d:' .. name] then
    fields[#fields + 1] = 'd:' .. name
    fields[#fields + 1] = made .. ' ' .. nonce .. ' ' .. wanted[name]
    size = size + #name + #wanted[name]
    if wanted[name] ~= '' then living = living + 1 end
  end
end
for field, value in pairs(stored) do
  local name = string.sub(field, 3)
  if string.sub(field, 1, 2) == 'd:' and not wanted[name] then
    local changed, _, json = parts(value)
    if json == '' and tonumber(changed) <= oldest then
      forgotten[#forgotten + 1] = field
    else
      size = size + #name + #json
      if json ~= '' then living = living + 1 end
    end
  end
end
if size > tonumber(ARGV[5]) and size > tonumber(stored.b) or living > tonumber(ARGV[6]) then
  return {'large', now, size}
end
if #fields > 0 then
  local written = redis.pcall('HSET', key, 'v', made, 'h', table.concat(recent, ' '),
    'b', int(size), unpack(fields))
  if type(written) == 'table' then return written end
  for _, field in ipairs(forgotten) do redis.call('HDEL', key, field) end
end
local left = math.ceil(math.min(tonumber(stored.i), tonumber(stored.a) - now) / 1000)
redis.pcall('HSET', key, 't', int(now))
if ARGV[8] ~= '' then redis.pcall('HSET', key, 'w', ARGV[8] == '-' and '' or ARGV[8]) end
redis.pcall('PEXPIRE', key, int(left))
return {'session', now, redis.call('HGETALL', key)}
