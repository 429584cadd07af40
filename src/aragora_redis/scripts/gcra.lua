-- Decide rate limits by the generic cell rate algorithm, exactly, in integers.
-- A key holds its arrival time (TAT), "us" or "us:frac": us + frac/count Unix microseconds. All
-- spans below are in units of 1/count us, so every rate is exact; LimitPolicy keeps them < 2^53.
-- The same rules in Python, with the reasons: rate_limit/gcra.py.
-- KEYS: one an item; a key may come again, and then sees what its earlier items took
-- ARGV: not_after, count, period_us, burst, cost, mode
--   count per period_us is the rate in lowest terms, cost 0 only looks, mode is "check" or "charge";
--   a charge is never refused: it empties the bucket at most
-- Reply: array with one element an item: TAT - now where allowed (>= 0), minus the wait where
--   refused (< 0), or the error with which the server refused to store the key
-- Traits: write batch
local find, format, match = string.find, string.format, string.match

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end

local count, period = tonumber(ARGV[2]), tonumber(ARGV[3])
local full = tonumber(ARGV[4]) * period
local step = tonumber(ARGV[5]) * period
local charge = ARGV[6] == 'charge'

local function stored_level(value)
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
local replies, levels, changed = {}, {}, {}
for i = 1, #KEYS do
  local key, value = KEYS[i], values[i]
  local carried = levels[key]
  local level = carried or (value and stored_level(value)) or 0
  local raised = level + step
  if charge and raised > full then raised = full end
  if raised > full then
    replies[i] = full - raised
  else
    replies[i] = raised
    if step > 0 then
      if not carried then changed[#changed + 1] = key end
      levels[key] = raised
    end
  end
end

for i = 1, #changed do
  local key = changed[i]
  local level = levels[key]
  local frac = level % count
  local tat = format('%.0f', now + (level - frac) / count)
  if frac > 0 then tat = tat .. format(':%.0f', frac) end
  -- One second more than needed, so that no rounding and no clock drops a bucket still in use.
  local ttl_ms = format('%.0f', math.ceil(level / count / 1000) + 1000)
  local stored = redis.pcall('SET', key, tat, 'PX', ttl_ms)
  if stored.err then
    for j = 1, #KEYS do
      if KEYS[j] == key then replies[j] = stored end
    end
  end
end
return replies
