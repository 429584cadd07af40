-- Decide rate limits by the generic cell rate algorithm, exactly, in integers.
-- A key holds its arrival time (TAT), "us" or "us:frac": us + frac/count Unix microseconds. All
-- spans below are in units of 1/count us, so every rate is exact; LimitPolicy keeps them < 2^53.
-- The same rules in Python, with the reasons: rate_limit/gcra.py.
-- KEYS: one for each limit of each item; a key may come again, and then sees what earlier items took
-- ARGV: not_after, mode, then for each limit that the items share: count, period_us, burst, cost
--   count per period_us is the rate in lowest terms, cost 0 only looks; mode is "check" or "charge":
--   a charge is never refused, it empties the bucket at most. An item takes from all of its buckets
--   or from none.
-- Reply: array with one element an item: for one limit TAT - now where allowed (>= 0), minus the wait
--   where refused (< 0); for several the array of these, in which a limit that would have allowed what
--   another refused says its TAT - now as it stays; or the error with which the server refused to
--   store a key of the item
-- Traits: write batch
local find, format, match = string.find, string.format, string.match

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end

local charge = ARGV[2] == 'charge'
local width = (#ARGV - 2) / 4
local counts, fulls, steps = {}, {}, {}
for j = 1, width do
  local at = 4 * j - 1
  local period = tonumber(ARGV[at + 1])
  counts[j] = tonumber(ARGV[at])
  fulls[j] = tonumber(ARGV[at + 2]) * period
  steps[j] = tonumber(ARGV[at + 3]) * period
end

local function stored_level(value, count, full)
  local us, frac = value, 0
  if not find(value, '^%d+$') then
    us, frac = match(value, '^(%d+):(%d+)$')
    if not us then return 0 end
    frac = tonumber(frac)
    if frac >= count then frac = 0 end
  end
  local level = (tonumber(us) - now) * count + frac
  if level < 0 then return 0 end
  if level > full then return full end
  return level
end

local values = redis.call('MGET', unpack(KEYS))
local replies, levels, limits, changed, said = {}, {}, {}, {}, {}
for first = 1, #KEYS, width do
  local refused = false
  if width > 1 then said = {} end
  for j = 1, width do
    local at = first + j - 1
    local value = values[at]
    local level = levels[KEYS[at]] or (value and stored_level(value, counts[j], fulls[j])) or 0
    local raised = level + steps[j]
    if raised > fulls[j] and charge then raised = fulls[j] end
    if raised > fulls[j] then
      said[j], refused = fulls[j] - raised, true
    else
      said[j] = raised
    end
  end
  for j = 1, width do
    local key = KEYS[first + j - 1]
    if refused then
      if said[j] >= 0 then said[j] = said[j] - steps[j] end
    elseif steps[j] > 0 then
      if not levels[key] then changed[#changed + 1] = key end
      levels[key], limits[key] = said[j], j
    end
  end
  replies[#replies + 1] = width == 1 and said[1] or said
end

for i = 1, #changed do
  local key = changed[i]
  local level, count = levels[key], counts[limits[key]]
  local frac = level % count
  local tat = format('%.0f', now + (level - frac) / count)
  if frac > 0 then tat = tat .. format(':%.0f', frac) end
  -- One second more than needed, so that no rounding and no clock drops a bucket still in use.
  local ttl_ms = format('%.0f', math.ceil(level / count / 1000) + 1000)
  local stored = redis.pcall('SET', key, tat, 'PX', ttl_ms)
  if stored.err then
    for at = 1, #KEYS do
      if KEYS[at] == key then replies[math.ceil(at / width)] = stored end
    end
  end
end
return replies
