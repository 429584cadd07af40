-- Reserve tokens of a bucket until they are settled, or lapse; and end an earlier reservation first.
--
-- KEYS: 1 the bucket (see gcra.lua), 2 what became of the reservation, of one that was made elsewhere:
--       where it has been settled, nothing is taken
-- ARGV: 1 not_after, 2 count, 3 period_us, 4 burst, 5 the fewest tokens that are of use, 6 the most,
--       7 how many share what there is: each gets that part of it, within these bounds, 8 id,
--       9 microseconds after which it lapses, 10 whether its cost stays taken then (1) or comes back
--       (0), 11 most reservations that may be open, 12 id of the one to end, or empty, 13 how many of
--       its tokens were used
-- Reply: {tokens reserved, when they lapse in server microseconds, TAT - now after it}, refused:
--        {0, 0, minus the wait}, and {-1, 0, TAT - now} where too many are open; the third as in
--        gcra.lua. An id that is open already is told again, lasts as long from now, and takes nothing
-- Traits: write
-- Uses: bucket
local open, close, _, answer, settle, find_hold, drop_hold = bucket_rules()
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end
local least, most, id = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[8]
local value = read(KEYS[1])
local bucket = open(value, now, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
local known = find_hold(bucket, id)
if known then
  local till = max(known.till, now + tonumber(ARGV[9]))
  if till > known.till then
    drop_hold(bucket, known)
    bucket.kept, bucket.last = bucket.kept + known.kept, max(bucket.last, till)
    bucket.holds = (bucket.holds or '')
      .. format('%s/%.0f/%.0f/%d;', id, known.cost, till, known.kept > 0 and 1 or 0)
    local stored = store(KEYS[1], close(bucket, now))
    if stored.err then return stored end
  end
  return {known.cost, till, answer(bucket, max(bucket.level, 0))}
end
if KEYS[2] and read(KEYS[2]) then return {0, 0, answer(bucket, max(bucket.level, 0))} end

local ended = find_hold(bucket, ARGV[12])
if ended then
  drop_hold(bucket, ended)
  settle(bucket, ended, tonumber(ARGV[13]))
end
local granted, till, said = 0, 0, nil
local level = max(bucket.level, 0)
local free = math.floor((bucket.full - level) / bucket.period)
if free < least then
  said = max(bucket.full - level - least * bucket.period, -2 ^ 53)
elseif most > 0 and bucket.holds and select(2, bucket.holds:gsub(';', '')) >= tonumber(ARGV[11]) then
  granted, said = -1, level
else
  granted = max(least, min(most, math.floor(free / tonumber(ARGV[7]))))
  said = level
end
if granted > 0 then
  till = now + tonumber(ARGV[9])
  if not bucket.holds then
    bucket.holds, bucket.shadow, bucket.first, bucket.last = '', bucket.level, till, till
    bucket.kept = 0
  end
  bucket.shadow = max(bucket.shadow, 0)
  bucket.first, bucket.last = min(bucket.first, till), max(bucket.last, till)
  bucket.holds = bucket.holds .. format('%s/%.0f/%.0f/%s;', id, granted, till, ARGV[10])
  bucket.level, bucket.kept = level + granted * bucket.period, bucket.kept + granted * ARGV[10]
  said = bucket.level
end
if granted > 0 or ended or bucket.went_back then
  local stored = store(KEYS[1], close(bucket, now))
  if stored.err then return stored end
end
return {granted, till, answer(bucket, said)}
