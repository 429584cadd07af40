-- Take in the result of a trial call: enough successes close the circuit, one failure opens it.
-- A result that comes after its lease, or about another generation, only gives its place back: the
-- places of calls that still run stay taken through any change of state.
--
-- KEYS: 1 the state (see parts/circuit.lua), 2 the places (see circuit_acquire.lua), 3 the evidence
-- ARGV: 1 not_after, 2 era, 3 n of the state in which the call was let through, 4 its token,
--       5 "ok", "failed" or "released" (no result), 6 successes that close the circuit,
--       7 open time in microseconds after a failure, 8 channel for changes, 9 name
-- Reply: {"settled" or "late", 0, then as circuit_acquire.lua}
-- Traits: write
-- Uses: circuit
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local s = read(KEYS[1])
local function answer(word) return {word, 0, now, told(s)} end
local lease = redis.call('ZSCORE', KEYS[2], ARGV[4])
if s.era ~= tonumber(ARGV[2]) or s.n ~= tonumber(ARGV[3]) or s.state ~= 'open' or not lease or
    tonumber(lease) * 1000 <= now then
  redis.pcall('ZREM', KEYS[2], ARGV[4])
  return answer('late')
end

if ARGV[5] == 'released' or ARGV[5] == 'ok' and s.ok + 1 < tonumber(ARGV[6]) then
  local freed = redis.pcall('ZREM', KEYS[2], ARGV[4])
  if type(freed) == 'table' then return freed end
  if ARGV[5] == 'ok' then redis.call('HINCRBY', KEYS[1], 'ok', 1) end
  return answer('settled')
end

move(s, now)
if ARGV[5] == 'ok' then
  s.state, s.until_, s.span, s.opens = 'closed', 0, 0, 0
else
  s.span, s.opens = tonumber(ARGV[7]), s.opens + 1
  s.until_ = now + s.span
end
local refused = store(KEYS[1], s, now, ARGV[8], ARGV[9])
if refused then return refused end
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('DEL', KEYS[3])
return answer('settled')
