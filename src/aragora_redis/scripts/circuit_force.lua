-- Hold a circuit open or closed by hand, or let its calls decide again.
--
-- KEYS: 1 the state (see parts/circuit.lua), 2 the evidence
-- ARGV: 1 not_after, 2 nonce of this call, 3 "forced-open", "forced-closed" or "closed", 4 reason,
--       5 microseconds for which it holds (0 until it is changed by hand), 6 channel for changes,
--       7 name
-- Reply: as circuit_report.lua
-- Traits: write
-- Uses: circuit
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local s = read(KEYS[1])
-- A nonce that is found is that of this very call, sent again because no answer had come.
if s.nonce ~= ARGV[2] then
  move(s, now)
  s.state, s.reason, s.span, s.opens = ARGV[3], ARGV[4], tonumber(ARGV[5]), 0
  s.until_, s.nonce = s.span > 0 and now + s.span or 0, ARGV[2]
  local refused = store(KEYS[1], s, now, ARGV[6], ARGV[7])
  if refused then return refused end
  redis.call('DEL', KEYS[2])
end
return {now, 0, 0, 0, told(s)}
