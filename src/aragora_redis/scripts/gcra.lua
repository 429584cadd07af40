-- Decide rate limits by the generic cell rate algorithm, exactly, in integers.
-- A key holds its arrival time (TAT), us + frac/count Unix microseconds (see parts/bucket.lua). All
-- spans below are in units of 1/count us, so every rate is exact; LimitPolicy keeps them < 2^53.
-- A refusal writes nothing, unless the clock has gone back: then the wait begins now.
-- The same rules in Python, with the reasons: rate_limit/gcra.py.
-- KEYS: one for each limit of each item; a key may come again, and then sees what earlier items took
-- ARGV: not_after, mode, then for each limit that the items share: count, period_us, burst, cost
--   count per period_us is the rate in lowest terms, cost 0 only looks; mode is "check" or "charge":
--   a charge is never refused, it empties the bucket at most. An item takes from all of its buckets
--   or from none.
-- Reply: array with one element an item: for one limit TAT - now where allowed (>= 0), minus the wait
--   where refused (< 0), or, of a subject that has a limit of its own, an array of that, its count,
--   period_us, burst and end (server microseconds, 0 for none); for several limits the array of these,
--   in which one that would have allowed what another refused says its TAT - now as it stays; or the
--   error with which the server refused to store a key of the item
-- Traits: write batch
-- Uses: bucket
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end

local charge = ARGV[2] == 'charge'
local width = (#ARGV - 2) / 4
local counts, periods, bursts, costs, fulls, steps = {}, {}, {}, {}, {}, {}
for j = 1, width do
  local at = 4 * j - 1
  counts[j], periods[j] = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  bursts[j], costs[j] = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  fulls[j], steps[j] = bursts[j] * periods[j], costs[j] * periods[j]
end

local values = redis.call('MGET', unpack(KEYS))
local replies, levels, buckets, limits, changed, said = {}, {}, {}, {}, {}, {}
local beyond, went_back = {}, {}
local open, close, take, answer
for first = 1, #KEYS, width do
  local refused = false
  if width > 1 then said = {} end
  for j = 1, width do
    local at = first + j - 1
    local key, full, step = KEYS[at], fulls[j], steps[j]
    local level, bucket = levels[key], buckets[key]
    if not level and not bucket and values[at] then
      level, beyond[key], went_back[key] = plain_level(values[at], now, counts[j], full)
      if level then
        if went_back[key] then levels[key] = level end
      else
        if not open then open, close, take, answer = bucket_rules() end
        bucket = open(values[at], now, counts[j], periods[j], bursts[j])
        buckets[key] = bucket
      end
    end
    if bucket then
      level, full, step = max(bucket.level, 0), bucket.full, costs[j] * bucket.period
    end
    local raised = (level or 0) + step
    if raised > full and charge then raised = full end
    if raised > full then
      -- A cost of another limit's size may be beyond what a reply can say.
      said[j], refused = max(full - raised, -2 ^ 53), true
    else
      said[j] = raised
    end
  end
  for j = 1, width do
    local key, step = KEYS[first + j - 1], steps[j]
    local bucket = buckets[key]
    if bucket then step = costs[j] * bucket.period end
    local written = step > 0 and not refused
    if refused and said[j] >= 0 then said[j] = said[j] - step end
    if written then
      if bucket then take(bucket, said[j], step) else levels[key] = said[j] end
    end
    if written or step > 0 and (went_back[key] or bucket and bucket.went_back) then
      if not limits[key] then changed[#changed + 1], limits[key] = key, j end
    end
    if bucket then said[j] = answer(bucket, said[j]) end
  end
  replies[#replies + 1] = width == 1 and said[1] or said
end

for i = 1, #changed do
  local key = changed[i]
  local value, ttl_ms
  if buckets[key] then
    value, ttl_ms = close(buckets[key], now)
  else
    local level, count, further = levels[key], counts[limits[key]], beyond[key] or 0
    value = stamped(level, now, count, further)
    -- One second more than needed, so that no rounding and no clock drops a bucket still in use.
    ttl_ms = format('%.0f', math.ceil((level / count + further) / 1000) + 1000)
  end
  local stored = store(key, value, ttl_ms)
  if stored.err then
    for at = 1, #KEYS do
      if KEYS[at] == key then replies[math.ceil(at / width)] = stored end
    end
  end
end
return replies
