-- Read where one shard stands, and the digest of each of its days, at one moment.
--
-- KEYS: 1 the shard's head, 2 its digests (see join.lua)
--       then the members (sorted set) of each day that is to be counted
-- ARGV: none
-- Reply: {now in microseconds, flat list of the head's fields, flat list of the digests' fields,
--         the size of each day that is to be counted}
-- Traits: read
local time = redis.call('TIME')
local sizes = {}
for i = 3, #KEYS do sizes[i - 2] = redis.call('ZCARD', KEYS[i]) end
return {time[1] * 1000000 + time[2], redis.call('HGETALL', KEYS[1]),
        redis.call('HGETALL', KEYS[2]), sizes}
