-- Take one of the places for trial calls of a circuit whose open time is over; or keep one, whatever
-- has become of the circuit, for as long as the call goes on.
--
-- KEYS: 1 the state (see parts/circuit.lua), 2 the places (sorted set: token -> end in milliseconds)
-- ARGV: 1 not_after, 2 era, 3 n of the state that the caller knows, 4 token, 5 number of places,
--       6 length of the lease in milliseconds, 7 channel for changes, 8 name,
--       9 1 to take no place anew: one that is not held any more is "changed"
-- Reply: {word, wait in microseconds, now in microseconds, era, n, state, until, span, opens, reason},
--        where the word is "permit", "busy" (all places are taken), "early" (the circuit is open) or
--        "changed"
-- Traits: write
-- Uses: circuit
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local s = read(KEYS[1])
local places, ms, lease = KEYS[2], math.floor(now / 1000), tonumber(ARGV[6])
local function answer(word, wait) return {word, wait, now, told(s)} end

local freed = redis.pcall('ZREMRANGEBYSCORE', places, '-inf', int(ms))
if type(freed) == 'table' then return freed end
-- No lease is that long: the clock was set back meanwhile.
local longest = math.max(s.lease, lease)
local from = int(ms + longest + CLOCK_TOLERANCE / 1000)
for _, token in ipairs(redis.call('ZRANGEBYSCORE', places, '(' .. from, '+inf')) do
  local moved = redis.pcall('ZADD', places, int(ms + longest), token)
  if type(moved) == 'table' then return moved end
end
local function take()
  local taken = redis.pcall('ZADD', places, int(ms + lease), ARGV[4])
  if type(taken) == 'table' then return taken end
  if redis.call('PTTL', places) < lease then redis.call('PEXPIRE', places, ARGV[6]) end
  if s.is_stored and lease > s.lease then redis.call('HSET', KEYS[1], 'lease', ARGV[6]) end
  return answer('permit', 0)
end
if redis.call('ZSCORE', places, ARGV[4]) then return take() end
if ARGV[9] == '1' then return answer('changed', 0) end
if mind_clock(s, now) then
  local refused = store(KEYS[1], s, now, ARGV[7], ARGV[8])
  if refused then return refused end
end
if s.era ~= tonumber(ARGV[2]) or s.n ~= tonumber(ARGV[3]) or s.state ~= 'open' then
  return answer('changed', 0)
end
if now < s.until_ then return answer('early', s.until_ - now) end

if redis.call('ZCARD', places) >= tonumber(ARGV[5]) then
  local first = redis.call('ZRANGE', places, 0, 0, 'WITHSCORES')
  return answer('busy', tonumber(first[2]) * 1000 - now)
end
return take()
