-- Change fields of sessions, if they are still as they were in the version that was read.
-- Invariant I6: the whole update of a session applies, or nothing of it. It never creates a session.
--
-- KEYS: the sessions (see session_create.lua)
-- ARGV: 1 not_after, 2 "exact" to refuse where anything has changed since, else "merge", 3 bytes and
--       4 fields that the data of a session may have; then for each session: version that was read,
--       nonce of this update, where the session is used from (empty leaves that, "-" forgets it), "1"
--       where the caller holds the session as it was in that version, numbers of fields to set and to
--       remove, then name and JSON of each to set, then names of those to remove
-- Reply: array with one for each: {"session", now in microseconds, the hash as a flat list}; where the
--        caller holds the rest {"changed", now, version, where it is used from, bytes of its data};
--        {"conflict", now}, {"large", now, bytes it would have}, {"moved", now, member} or
--        {"gone", now}; or the error with which the server refused to store it, or TRYAGAIN for what is
--        too large to be answered beside others
-- Traits: write batch
-- Uses: session
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local exact, most_bytes, most_fields = ARGV[2] == 'exact', tonumber(ARGV[3]), tonumber(ARGV[4])
local function parts(value) return string.match(value, '^(%d+) (%S+) (.*)$') end
-- A name without its prefix, and what it holds.
local function size_of(field, text) return #field - 2 + #text end
local function digits(x) return string.format('%016.0f', x) end

-- What is asked of one session begins at `at`.
local function update(key, at, sets, removals)
  local base, nonce, seen_from = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local fields, wanted = {}, {}
  local names = at + 6
  for i = names, names + 2 * sets - 1, 2 do
    local field = 'd:' .. ARGV[i]
    fields[#fields + 1], wanted[field] = field, ARGV[i + 1]
  end
  for i = names + 2 * sets, names + 2 * sets + removals - 1 do
    local field = 'd:' .. ARGV[i]
    fields[#fields + 1], wanted[field] = field, ''
  end
  -- Only what it touches is read: a session may be large.
  local stored = redis.pcall('HMGET', key, 'to', 'a', 'i', 'v', 'h', 'b', 'w', 'g', unpack(fields))
  if stored.err then return stored end
  if stored[1] then return {'moved', now, stored[1]} end
  if not stored[2] or tonumber(stored[2]) <= now then return {'gone', now} end

  local version, size, client = tonumber(stored[4]), tonumber(stored[6]), stored[7] or ''
  local held = ARGV[at + 3] == '1' and base == version
  if not held and not has_room(size) then return too_large() end

  -- What is removed stays known as removed for as long as somebody may have read it, and counts.
  -- Two histories that begin with one version must not both make the same next one: where the clock is
  -- behind it, its microseconds tell them apart.
  local made = int(now > version and now or version + 1 + now % 4096)
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
  local known = base == version or not exact and string.find(stored[5], digits(base), 1, true)
  if not known or not untouched then return {'conflict', now} end
  local recent = digits(version)
  if stored[5] ~= '' then recent = string.sub(recent .. ' ' .. stored[5], 1, 32 * 17 - 1) end
  while #recent > 16 and now - string.sub(recent, -16) >= 60000000 do
    recent = string.sub(recent, 1, -18)
  end

  -- All of it is read where removals may be forgotten by now, or there may be too many fields.
  local living, forgotten = 0, {}
  if stored[8] == '1' or adds > 0 and redis.call('HLEN', key) + adds > most_fields then
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
  if size > most_bytes and size > tonumber(stored[6]) or living > most_fields then
    return {'large', now, size}
  end

  if #changes > 0 then
    local written = redis.pcall('HSET', key, 'v', made, 'h', recent, 'b', int(size),
      'g', removes and '1' or '', 't', int(now), unpack(changes))
    if type(written) == 'table' then return written end
    for _, field in ipairs(forgotten) do redis.call('HDEL', key, field) end
  else
    made, size = int(version), tonumber(stored[6])
    local used = redis.pcall('HSET', key, 't', int(now))
    if type(used) == 'table' and is_no_primary(used) then return used end
  end
  if seen_from ~= '' then
    if seen_from == '-' then seen_from = '' end
    if type(redis.pcall('HSET', key, 'w', seen_from)) ~= 'table' then client = seen_from end
  end
  local left = math.ceil(math.min(tonumber(stored[3]), tonumber(stored[2]) - now) / 1000)
  redis.pcall('PEXPIRE', key, int(left))
  if held then return {'changed', now, made, client, size} end
  return {'session', now, redis.call('HGETALL', key)}
end

local replies, at = {}, 5
for i, key in ipairs(KEYS) do
  local sets, removals = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  replies[i] = apart(update, key, at, sets, removals)
  at = at + 6 + 2 * sets + removals
end
return readonly or replies
