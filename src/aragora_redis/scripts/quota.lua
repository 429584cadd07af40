-- Give one subject a limit of its own, or take it away again. As many whole tokens as it has used
-- stay used; at the same rate, exactly as many.
--
-- KEYS: the bucket (see gcra.lua)
-- ARGV: 1 not_after, 2 count, 3 period_us, 4 burst of the policy, 5 channel on which the key is
--       published, with " returned" behind it, 6 count, 7 period_us, 8 burst of the subject's own
--       limit, count 0 takes it away, 9 microseconds for which it holds, 0 for good
-- Reply: 1 if the subject had a limit of its own before, else 0
-- Traits: write
-- Uses: bucket
local open, close = bucket_rules()
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. format('%.0f', now))
end
local count, period, burst = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local bucket = open(read(KEYS[1]), now, count, period, burst)
local had = bucket.quota and 1 or 0
local before, rate_before = bucket.period, bucket.count
local function moved(span, full)
  if before ~= period or rate_before ~= count then span = math.ceil(span / before) * period end
  return max(min(span, full), -full)
end
bucket.quota, bucket.quota_until = nil, nil
if ARGV[6] ~= '0' then
  count, period, burst = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  bucket.quota_until = ARGV[9] == '0' and 0 or now + tonumber(ARGV[9])
  bucket.quota = format('q%.0f/%.0f/%.0f/%.0f;', count, period, burst, bucket.quota_until)
end
bucket.count, bucket.period, bucket.burst, bucket.full = count, period, burst, burst * period
bucket.level, bucket.beyond = moved(bucket.level, bucket.full), 0
if bucket.holds then bucket.shadow = moved(bucket.shadow, bucket.full) end
local stored = store(KEYS[1], close(bucket, now))
if stored.err then return stored end
redis.pcall('PUBLISH', ARGV[5], KEYS[1] .. ' returned')
return had
