-- Pool what an instance has seen of a circuit's calls, and open the circuit where that is enough.
-- The state is a hash: era and n (its generation), rid (the history in which that was given), state,
-- until (end of the open time, or of what was forced, in microseconds; 0 for never), opens (in a row), ok (trial calls that succeeded),
-- reason, nonce (of the last force). An absent one is closed. Of two states the greater holds, by
-- era, n and until: so a state that a failover has lost is taken back from whoever knows it. A new
-- era is the time in milliseconds, so that one begun after a wipe is later than all before it.
--
-- KEYS: 1 the state, 2 the evidence (hash: boot id -> "at calls failures slow")
-- ARGV: 1 not_after; the state that the instance knows: 2 era, 3 n, 4 state, 5 until, 6 opens,
--       7 reason; what it saw in the window: 8 boot id, 9 calls, 10 failures, 11 slow calls;
--       the policy: 12 window in microseconds, 13 minimum of calls, 14 failure rate, 15 slow rate,
--       16 reporters, 17 first open time in microseconds; 18 channel for changes, 19 name
-- Reply: {now in microseconds, era, n, state, until, opens, reason, pooled calls, failures, slow}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local found = redis.call('HMGET', KEYS[1], 'era', 'n', 'state', 'until', 'opens', 'reason')
local era, n, until_ = tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[4] or 0)
local state, opens, reason = found[3] or 'closed', tonumber(found[5] or 0), found[6] or ''
local calls, failures, slow = 0, 0, 0

local function answer()
  return {now, era, n, state, until_, opens, reason, calls, failures, slow}
end
local function store(rid)
  local stored = redis.pcall('HSET', KEYS[1], 'era', int(era), 'n', int(n), 'rid', rid,
    'state', state, 'until', int(until_), 'opens', int(opens), 'reason', reason, 'ok', '0')
  if type(stored) == 'table' then return stored end
  if string.sub(state, 1, 6) == 'forced' and until_ == 0 then
    redis.call('PERSIST', KEYS[1])
  else
    local left = math.max(math.ceil((until_ - now) / 1000), 0)
    redis.call('PEXPIRE', KEYS[1], int(2592000000 + left))
  end
  redis.pcall('PUBLISH', ARGV[18], ARGV[19] .. ' ' .. int(era) .. ' ' .. int(n) .. ' ' .. state ..
    ' ' .. int(until_) .. ' ' .. int(opens) .. ' ' .. reason)
end

local known_era, known_n, known_until = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local ahead = known_era - era
if ahead == 0 then ahead = known_n - n end
if ahead == 0 then ahead = known_until - until_ end
if ahead < 0 then return answer() end
if ahead > 0 then
  era, n, state, until_ = known_era, known_n, ARGV[4], known_until
  opens, reason = tonumber(ARGV[6]), ARGV[7]
  local refused = store('')
  if refused then return refused end
end

local evidence, window = KEYS[2], tonumber(ARGV[12])
if tonumber(ARGV[9]) > 0 then
  local told = redis.pcall('HSET', evidence, ARGV[8],
    int(now) .. ' ' .. ARGV[9] .. ' ' .. ARGV[10] .. ' ' .. ARGV[11])
  if type(told) == 'table' then return told end
  redis.call('PEXPIRE', evidence, int(math.ceil(window / 1000)))
else
  redis.pcall('HDEL', evidence, ARGV[8])
end
local reporting, failing, slowing = 0, 0, 0
local rows = redis.call('HGETALL', evidence)
for i = 1, #rows, 2 do
  local at, c, f, s = string.match(rows[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
  if not at or tonumber(at) + window <= now then
    redis.pcall('HDEL', evidence, rows[i])
  else
    calls, failures, slow = calls + c, failures + f, slow + s
    reporting = reporting + 1
    if tonumber(f) > 0 then failing = failing + 1 end
    if tonumber(s) > 0 then slowing = slowing + 1 end
  end
end

local needed = math.min(tonumber(ARGV[16]), reporting)
-- What was forced for a time, which is over, is closed.
local over = string.sub(state, 1, 6) == 'forced' and until_ > 0 and until_ <= now
if (state == 'closed' or over) and calls > 0 and calls >= tonumber(ARGV[13]) and (
    failures >= calls * tonumber(ARGV[14]) and failing >= needed
    or slow >= calls * tonumber(ARGV[15]) and slowing >= needed) then
  local replication = redis.pcall('INFO', 'replication')
  -- Where no id is told, each change begins an era: histories cannot be told apart otherwise.
  local rid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
  if rid ~= '' and redis.call('HGET', KEYS[1], 'rid') == rid then
    n = n + 1
  else
    era, n = math.max(era + 1, math.floor(now / 1000)), 1
  end
  state, until_, opens, reason = 'open', now + tonumber(ARGV[17]), 1, ''
  local refused = store(rid)
  if refused then return refused end
  redis.call('DEL', evidence)
end
return answer()
