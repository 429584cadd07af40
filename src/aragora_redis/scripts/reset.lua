-- Fill buckets again, and tell every instance that may be refusing their subjects by itself. Limits
-- that operators have set for a subject stay; reservations of before hold nothing any more.
--
-- KEYS: the buckets (see gcra.lua)
-- ARGV: 1 not_after, 2 channel on which each key is published
-- Reply: how many buckets had been taken from
-- Traits: write
-- Uses: bucket
local open, close = bucket_rules()
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. string.format('%.0f', now))
end
local taken = 0
for _, key in ipairs(KEYS) do
  local bucket, done = open(read(key), now, 1, 1, 1)
  if bucket.quota then
    if bucket.level > 0 or bucket.holds then taken = taken + 1 end
    bucket.level, bucket.beyond, bucket.holds = 0, 0, nil
    done = store(key, close(bucket, now))
  else
    done = redis.pcall('DEL', key)
    if done == 1 then taken = taken + 1 end
  end
  if type(done) == 'table' and done.err then return done end
end
-- Who may not publish leaves the others' refusals to their end, which is near.
for _, key in ipairs(KEYS) do redis.pcall('PUBLISH', ARGV[2], key) end
return taken
