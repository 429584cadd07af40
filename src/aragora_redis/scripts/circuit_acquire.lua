-- Take one of the places for trial calls of a circuit whose open time is over; or keep one, whatever
-- has become of the circuit, for as long as the call goes on.
--
-- KEYS: 1 the state (see circuit_report.lua), 2 the places (sorted set: token -> end in milliseconds)
-- ARGV: 1 not_after, 2 era, 3 n of the state that the caller knows, 4 token, 5 number of places,
--       6 length of the lease in milliseconds
-- Reply: {word, wait in microseconds, then as circuit_report.lua up to the reason}, where the word is
--        "permit", "busy" (all places are taken), "early" (the circuit is open) or "changed"
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local found = redis.call('HMGET', KEYS[1], 'era', 'n', 'state', 'until', 'opens', 'reason')
local era, n, until_ = tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[4] or 0)
local function answer(word, wait)
  return {word, wait, now, era, n, found[3] or 'closed', until_, tonumber(found[5] or 0),
    found[6] or ''}
end
local places, ms = KEYS[2], math.floor(now / 1000)
local freed = redis.pcall('ZREMRANGEBYSCORE', places, '-inf', int(ms))
if type(freed) == 'table' then return freed end
local function take()
  local taken = redis.pcall('ZADD', places, int(ms + ARGV[6]), ARGV[4])
  if type(taken) == 'table' then return taken end
  if redis.call('PTTL', places) < tonumber(ARGV[6]) then redis.call('PEXPIRE', places, ARGV[6]) end
  return answer('permit', 0)
end
if redis.call('ZSCORE', places, ARGV[4]) then return take() end
if era ~= tonumber(ARGV[2]) or n ~= tonumber(ARGV[3]) or found[3] ~= 'open' then
  return answer('changed', 0)
end
if now < until_ then return answer('early', until_ - now) end

if redis.call('ZCARD', places) >= tonumber(ARGV[5]) then
  local first = redis.call('ZRANGE', places, 0, 0, 'WITHSCORES')
  return answer('busy', tonumber(first[2]) * 1000 - now)
end
return take()
