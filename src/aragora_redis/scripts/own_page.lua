-- Read a page of the list of subjects that got a limit of their own, those that end first in front.
--
-- KEYS: 1 the list, 2 what was told of each (see own_listed.lua)
-- ARGV: 1 the position behind which the page begins, 2 how many it has at most
-- Reply: list of {bucket, position, "<since> <text>", or empty where nothing was told}
-- Traits: read
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local behind = string.format('(%.0f', math.max(ARGV[1], now))
local found = redis.pcall('ZRANGEBYSCORE', KEYS[1], behind, '+inf', 'WITHSCORES',
  'LIMIT', 0, ARGV[2])
local page = {}
for i = 1, found.err and 0 or #found, 2 do
  local told = redis.pcall('HGET', KEYS[2], found[i])
  page[#page + 1] = {found[i], tonumber(found[i + 1]), type(told) == 'string' and told or ''}
end
return page
