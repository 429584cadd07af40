-- Tell what this server lets scripts do; a managed service may forbid some of it.
--
-- KEYS: any, none of which is touched: keys of two slots find out whether a call may have such
-- ARGV: 1 a channel on which nothing is said
-- Reply: {the server's replication id, or '' where a script may not ask for it, 1 where a script
--   may publish and 0 where not}
-- Traits: read
local replication = redis.pcall('INFO', 'replication')
local rid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)')
local published = redis.pcall('PUBLISH', ARGV[1], '')
return {rid or '', type(published) == 'number' and 1 or 0}
