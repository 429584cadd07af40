-- Take in the result of a trial call: enough successes close the circuit, one failure opens it.
-- A result that comes after its lease, or about another generation, only gives its place back: the
-- places of calls that still run stay taken through any change of state.
--
-- KEYS: 1 the state (see circuit_report.lua), 2 the places (see circuit_acquire.lua), 3 the evidence
-- ARGV: 1 not_after, 2 era, 3 n of the state in which the call was let through, 4 its token,
--       5 "ok", "failed" or "released" (no result), 6 successes that close the circuit,
--       7 open time in microseconds after a failure, 8 channel for changes, 9 name
-- Reply: {"settled" or "late", 0, then as circuit_report.lua up to the reason}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local found = redis.call('HMGET', KEYS[1], 'era', 'n', 'state', 'until', 'opens', 'reason', 'ok')
local era, n, until_ = tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[4] or 0)
local state, opens, reason = found[3] or 'closed', tonumber(found[5] or 0), found[6] or ''
local function answer(word)
  return {word, 0, now, era, n, state, until_, opens, reason}
end
local lease = redis.call('ZSCORE', KEYS[2], ARGV[4])
if era ~= tonumber(ARGV[2]) or n ~= tonumber(ARGV[3]) or state ~= 'open' or not lease or
    tonumber(lease) * 1000 <= now then
  redis.pcall('ZREM', KEYS[2], ARGV[4])
  return answer('late')
end

if ARGV[5] == 'released' or ARGV[5] == 'ok' and tonumber(found[7] or 0) + 1 < tonumber(ARGV[6]) then
  local freed = redis.pcall('ZREM', KEYS[2], ARGV[4])
  if type(freed) == 'table' then return freed end
  if ARGV[5] == 'ok' then redis.call('HINCRBY', KEYS[1], 'ok', 1) end
  return answer('settled')
end

local replication = redis.pcall('INFO', 'replication')
-- Where no id is told, each change begins an era: histories cannot be told apart otherwise.
local rid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
if rid ~= '' and redis.call('HGET', KEYS[1], 'rid') == rid then
  n = n + 1
else
  era, n = math.max(era + 1, math.floor(now / 1000)), 1
end
if ARGV[5] == 'ok' then
  state, until_, opens = 'closed', 0, 0
else
  until_, opens = now + tonumber(ARGV[7]), opens + 1
end
local stored = redis.pcall('HSET', KEYS[1], 'era', int(era), 'n', int(n), 'rid', rid,
  'state', state, 'until', int(until_), 'opens', int(opens), 'ok', '0')
if type(stored) == 'table' then return stored end
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('DEL', KEYS[3])
redis.call('PEXPIRE', KEYS[1], '2592000000')
redis.pcall('PUBLISH', ARGV[8], ARGV[9] .. ' ' .. int(era) .. ' ' .. int(n) .. ' ' .. state ..
  ' ' .. int(until_) .. ' ' .. int(opens) .. ' ' .. reason)
return answer('settled')
