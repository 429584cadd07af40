-- Read where one shard stands, and the digest of each of its days, at one moment.
--
-- KEYS: 1 the shard's head, 2 its digests (see join.lua)
-- ARGV: none
-- Reply: {now in microseconds, flat list of the head's fields, flat list of the digests' fields}
-- Traits: read
local time = redis.call('TIME')
return {time[1] * 1000000 + time[2], redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
