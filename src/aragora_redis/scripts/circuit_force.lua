-- Hold a circuit open or closed by hand, or let its calls decide again.
--
-- KEYS: 1 the state (see circuit_report.lua), 2 the evidence
-- ARGV: 1 not_after, 2 nonce of this call, 3 "forced-open", "forced-closed" or "closed", 4 reason,
--       5 microseconds for which it holds (0 until it is changed by hand), 6 channel for changes,
--       7 name
-- Reply: {now in microseconds, era, n, state, until, opens, reason, 0, 0, 0}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local found = redis.call('HMGET', KEYS[1], 'era', 'n', 'state', 'until', 'opens', 'reason', 'nonce',
  'rid')
local era, n = tonumber(found[1] or 0), tonumber(found[2] or 0)
-- A nonce that is found is that of this very call, sent again because no answer had come.
if found[7] == ARGV[2] then
  return {now, era, n, found[3], tonumber(found[4]), tonumber(found[5]), found[6], 0, 0, 0}
end
local replication = redis.pcall('INFO', 'replication')
-- Where no id is told, each change begins an era: histories cannot be told apart otherwise.
local rid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
if rid ~= '' and found[8] == rid then
  n = n + 1
else
  era, n = math.max(era + 1, math.floor(now / 1000)), 1
end
local until_ = tonumber(ARGV[5]) > 0 and now + tonumber(ARGV[5]) or 0
local stored = redis.pcall('HSET', KEYS[1], 'era', int(era), 'n', int(n), 'rid', rid,
  'state', ARGV[3], 'until', int(until_), 'opens', '0', 'reason', ARGV[4], 'ok', '0', 'nonce', ARGV[2])
if type(stored) == 'table' then return stored end
redis.call('DEL', KEYS[2])
-- What was forced by hand holds until it is changed by hand, or for its time.
redis.call('PERSIST', KEYS[1])
if until_ > 0 then
  redis.call('PEXPIRE', KEYS[1], int(2592000000 + math.ceil(tonumber(ARGV[5]) / 1000)))
end
redis.pcall('PUBLISH', ARGV[6], ARGV[7] .. ' ' .. int(era) .. ' ' .. int(n) .. ' ' .. ARGV[3] ..
  ' ' .. int(until_) .. ' 0 ' .. ARGV[4])
return {now, era, n, ARGV[3], until_, 0, ARGV[4], 0, 0, 0}
