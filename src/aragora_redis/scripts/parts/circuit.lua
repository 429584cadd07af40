-- The state of a circuit, a hash; the same in Python: circuit/model.py. An absent one is closed.
--   era, n         its generation; an era is the time in milliseconds at which it began, so that one
--                  begun after a wipe is later than all before it
--   rid            the history of the data in which that was given
--   state, opens   and how often in a row it has opened
--   until, span    when the open time ends, or what was forced, in microseconds (0 for never), and for
--                  how long it was given
--   ok             trial calls that succeeded
--   reason, nonce  of the last force
--   lease          the longest for which a place for a trial call was taken, in milliseconds
-- Of two states the greater holds, by era, n and until: so a state that a failover has lost is taken
-- back from whoever knows it.
local STATES = {closed = true, open = true, ['forced-open'] = true, ['forced-closed'] = true}
-- By so many microseconds clocks may differ before one counts as set back.
local CLOCK_TOLERANCE = 1000000

local function int(x) return string.format('%.0f', x) end

-- What nobody of ours has written counts as nothing.
local function whole(x)
  x = tonumber(x)
  return x and x >= 0 and x <= 2 ^ 53 and math.floor(x) or 0
end

local function read(key)
  local found = redis.call('HMGET', key, 'era', 'n', 'state', 'until', 'span', 'opens', 'reason',
    'rid', 'ok', 'nonce', 'lease')
  return {
    era = whole(found[1]), n = whole(found[2]), state = STATES[found[3]] and found[3] or 'closed',
    until_ = whole(found[4]), span = whole(found[5]), opens = whole(found[6]),
    reason = found[7] or '', rid = found[8] or '', ok = whole(found[9]), nonce = found[10] or '',
    lease = whole(found[11]), is_stored = found[3] ~= false,
  }
end

local function told(s)
  return s.era, s.n, s.state, s.until_, s.span, s.opens, s.reason
end

-- Give a state the next number, in the history of this data.
local function move(s, now)
  local replication = redis.pcall('INFO', 'replication')
  -- Where no id is told, each change begins an era: histories cannot be told apart otherwise.
  local rid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
  if rid ~= '' and s.rid == rid then
    s.n = s.n + 1
  else
    s.era, s.n = math.max(s.era + 1, math.floor(now / 1000)), 1
  end
  s.rid = rid
end

-- A state that would last for longer than it was given for was given before the clock was set back. How
-- much of it has passed nobody knows, so it begins again, under a number that all instances learn.
local function mind_clock(s, now)
  if s.until_ - now <= s.span + CLOCK_TOLERANCE then return false end
  move(s, now)
  s.until_ = now + s.span
  return true
end

-- Returns the error with which the server refuses.
local function store(key, s, now, channel, name)
  local stored = redis.pcall('HSET', key, 'era', int(s.era), 'n', int(s.n), 'rid', s.rid,
    'state', s.state, 'until', int(s.until_), 'span', int(s.span), 'opens', int(s.opens),
    'reason', s.reason, 'ok', '0', 'nonce', s.nonce)
  if type(stored) == 'table' then return stored end
  if string.sub(s.state, 1, 6) == 'forced' and s.until_ == 0 then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, int(2592000000 + math.max(math.ceil((s.until_ - now) / 1000), 0)))
  end
  redis.pcall('PUBLISH', channel, table.concat({name, int(now), int(s.era), int(s.n), s.state,
    int(s.until_), int(s.span), int(s.opens), s.reason}, ' '))
end
