-- End a reservation with what was really used: less gives back, more is charged and never refused.
-- One that has lapsed or was lost is charged anew. It is done once: a second time is told the same.
--
-- KEYS: 1 the bucket (see gcra.lua), 2 what became of the reservation
-- ARGV: 1 not_after, 2 count, 3 period_us, 4 burst, 5 id, 6 tokens used, 7 when it lapses in server
--       microseconds, 8 microseconds after that within which it may still be settled, 9 channel on
--       which the key is published, with " returned" behind it, where something came back
-- Reply: {held, lapsed or lost: how it was found, tokens that a full burst could not pay, TAT - now as
--        in gcra.lua, tokens used, tokens that were held}, or {past, 0, TAT - now, 0, 0} where it is
--        too late for anything
-- Traits: write
-- Uses: bucket
local open, close, take, answer, settle, find_hold, drop_hold = bucket_rules()
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end
local used, till = tonumber(ARGV[6]), tonumber(ARGV[7])
local ends = till + tonumber(ARGV[8])
local value = read(KEYS[1])
local bucket = open(value, now, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
if now > ends then return {'past', 0, answer(bucket, max(bucket.level, 0)), 0, 0} end
local before, unpaid, was, held = match(read(KEYS[2]) or '', '^(%l+)/(%d+)/(%d+)/(%d+)$')
if before then
  local level = answer(bucket, max(bucket.level, 0))
  return {before, tonumber(unpaid), level, tonumber(was), tonumber(held)}
end

local hold, found, over = find_hold(bucket, ARGV[5]), 'held', nil
if hold then
  ends = max(ends, hold.till + tonumber(ARGV[8]))  -- kept since, so it may be settled for longer
  drop_hold(bucket, hold)
  over = settle(bucket, hold, used)
else
  found = now < till and 'lost' or 'lapsed'
  local raised = max(bucket.level, 0) + used * bucket.period
  over = max(raised - bucket.full, 0)
  take(bucket, min(raised, bucket.full), used * bucket.period)
end
over = math.ceil(over / bucket.period)
local was_held = hold and hold.cost or 0
local outcome = redis.pcall('SET', KEYS[2],
  format('%s/%.0f/%.0f/%.0f', found, over, used, was_held), 'PX',
  format('%.0f', math.ceil((ends - now) / 1000) + 1000))
if outcome.err then return outcome end
local stored = store(KEYS[1], close(bucket, now))
if stored.err then return stored end
if hold and used < hold.cost then redis.pcall('PUBLISH', ARGV[9], KEYS[1] .. ' returned') end
return {found, over, answer(bucket, max(bucket.level, 0)), used, was_held}
