-- Read what each instance last told of a circuit's calls.
--
-- KEYS: 1 the evidence (see circuit_report.lua)
-- ARGV: none
-- Reply: {now in microseconds, then of each instance boot id, time at which it told (microseconds),
--        calls, failures, slow calls}
-- Traits: read
local time = redis.call('TIME')
local told = {time[1] * 1000000 + time[2]}
local rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local at, calls, failures, slow = string.match(rows[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
  if at then
    for _, part in ipairs({rows[i], tonumber(at), tonumber(calls), tonumber(failures),
        tonumber(slow)}) do
      told[#told + 1] = part
    end
  end
end
return told
