-- Pool what an instance has seen of a circuit's calls, and open the circuit where that is enough.
--
-- KEYS: 1 the state (see parts/circuit.lua), 2 the evidence (hash: boot id -> "at calls failures slow")
-- ARGV: 1 not_after; the state that the instance knows: 2 era, 3 n, 4 state, 5 until, 6 span, 7 opens,
--       8 reason; what it saw in the window: 9 boot id, 10 calls, 11 failures, 12 slow calls;
--       the policy: 13 window in microseconds, 14 minimum of calls, 15 failure rate, 16 slow rate,
--       17 reporters, 18 first open time in microseconds; 19 channel for changes, 20 name
-- Reply: {now in microseconds, pooled calls, failures, slow, era, n, state, until, span, opens, reason}
-- Traits: write
-- Uses: circuit
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then
  return redis.error_reply('LATE ' .. int(now))
end

local s = read(KEYS[1])
local evidence, window = KEYS[2], tonumber(ARGV[13])
local calls, failures, slow = 0, 0, 0
local function answer() return {now, calls, failures, slow, told(s)} end

local known_era, known_n, known_until = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local ahead = known_era - s.era
if ahead == 0 then ahead = known_n - s.n end
if ahead == 0 then ahead = known_until - s.until_ end
if ahead > 0 then
  s.era, s.n, s.state, s.until_ = known_era, known_n, ARGV[4], known_until
  s.span, s.opens, s.reason, s.rid = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ''
end
local begun_again = mind_clock(s, now)
if ahead > 0 or begun_again then
  local refused = store(KEYS[1], s, now, ARGV[19], ARGV[20])
  if refused then return refused end
end
if begun_again then redis.call('DEL', evidence) end
if begun_again then return answer() end

-- What is told of an earlier state does not count; who tells it learns what counts all the same.
local counts = ahead >= 0
if counts and tonumber(ARGV[10]) > 0 then
  local noted = redis.pcall('HSET', evidence, ARGV[9],
    int(now) .. ' ' .. ARGV[10] .. ' ' .. ARGV[11] .. ' ' .. ARGV[12])
  if type(noted) == 'table' then return noted end
  redis.call('PEXPIRE', evidence, int(math.ceil(window / 1000)))
elseif counts then
  redis.pcall('HDEL', evidence, ARGV[9])
end
local reporting, failing, slowing = 0, 0, 0
local rows = redis.call('HGETALL', evidence)
for i = 1, #rows, 2 do
  local at, c, f, w = string.match(rows[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
  -- One that lies ahead was told before the clock was set back: its instance tells it again, if it lives.
  if not at or tonumber(at) + window <= now or tonumber(at) > now + CLOCK_TOLERANCE then
    redis.pcall('HDEL', evidence, rows[i])
  else
    calls, failures, slow = calls + c, failures + f, slow + w
    reporting = reporting + 1
    if tonumber(f) > 0 then failing = failing + 1 end
    if tonumber(w) > 0 then slowing = slowing + 1 end
  end
end
if not counts then return answer() end

local needed = math.min(tonumber(ARGV[17]), reporting)
-- What was forced for a time, which is over, is closed.
local over = string.sub(s.state, 1, 6) == 'forced' and s.until_ > 0 and s.until_ <= now
if (s.state == 'closed' or over) and calls > 0 and calls >= tonumber(ARGV[14]) and (
    failures >= calls * tonumber(ARGV[15]) and failing >= needed
    or slow >= calls * tonumber(ARGV[16]) and slowing >= needed) then
  move(s, now)
  s.state, s.span, s.opens, s.reason = 'open', tonumber(ARGV[18]), 1, ''
  s.until_ = now + s.span
  local refused = store(KEYS[1], s, now, ARGV[19], ARGV[20])
  if refused then return refused end
  redis.call('DEL', evidence)
end
return answer()
