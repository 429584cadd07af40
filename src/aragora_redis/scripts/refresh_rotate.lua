-- Use up the newest refresh token of a family, once; find out when an older one comes again, and end
-- the family then. See docs/protocol.md, "Refresh tokens".
--
-- KEYS: 1 the family (hash: g newest generation, j digest of its token, p of the one before it,
--         n nonce of who asked for it, i instant of its issue in ms, w when that was, in ms,
--         e "1" once ended)
-- ARGV: 1 not_after (server microseconds, 0 for never)
--       2 generation presented, 3 digest of that token, 4 digest of its successor, 5 nonce
--       6 instant of issue in ms, 7 end of the family in ms
--       8 "1" where the token is known to be used up, whatever is stored
--       9 ms for which the same nonce may ask again, and 10 another one is told that it was late
-- Reply: {"rotated", instant of issue in ms}, which the same nonce gets again for a while;
--        {"raced"} where another one was faster a moment ago, {"reused"} where the token was used up
--        before, which ends the family, or {"ended"}
-- Traits: write
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(x) return string.format('%.0f', x) end
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then return redis.error_reply('LATE ' .. int(now)) end

local family, presented, token = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local ms = math.floor(now / 1000)
local stored = redis.call('HMGET', family, 'g', 'j', 'p', 'n', 'i', 'w', 'e')
local newest = tonumber(stored[1])
if stored[7] then return {'ended'} end

local function keep(...)
  local set = redis.pcall('HSET', family, ...)
  if type(set) == 'table' and set.err then return set end
  if redis.call('PTTL', family) < tonumber(ARGV[7]) - ms then
    redis.call('PEXPIREAT', family, ARGV[7])
  end
end

if newest and presented == newest - 1 and token == stored[3] then
  local ago = math.abs(ms - tonumber(stored[6]))
  if ARGV[5] == stored[4] and ago <= tonumber(ARGV[9]) then
    return {'rotated', tonumber(stored[5])}
  end
  if ago <= tonumber(ARGV[10]) then return {'raced'} end
end
-- A rollback may have lost that a token was used up, so who knows it says so. Of one generation
-- there is one token: another one comes of a history that was lost.
local forked = newest == presented and stored[2] ~= token
if (newest and presented < newest) or forked or ARGV[8] == '1' then
  -- It is reuse, whatever can be written now; full memory takes what follows a removal.
  redis.pcall('HDEL', family, '')
  keep('e', '1')
  return {'reused'}
end
return keep('g', int(presented + 1), 'j', ARGV[4], 'p', token, 'n', ARGV[5], 'i', ARGV[6],
  'w', int(ms)) or {'rotated', tonumber(ARGV[6])}
