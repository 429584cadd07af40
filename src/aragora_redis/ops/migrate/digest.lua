-- Look at keys of one slot: what each holds, as a digest that another server would give as well.
--
-- Sets and hashes have no order, and Lua compares strings by the locale of the server: the digests
-- of their elements are added up instead. Scores are written alike whatever the server's version.
--
-- KEYS: the keys
-- ARGV: 1 most elements that are read of one key (a string has one for each 100 bytes)
-- Reply: for each key {type, pttl, count, digest}; the digest is nil where there are more elements
--   than `most`, and the count -1 where the type is not known. One call reads no more than `most`
--   elements in all: for the keys after that there is no reply yet.
-- Traits: read
local most = tonumber(ARGV[1])
local call, sha1, format = redis.call, redis.sha1hex, string.format

local function framed(parts)
  for i = 1, #parts do
    parts[i] = #parts[i] .. ':' .. parts[i]
  end
  return table.concat(parts)
end

local function added_up(parts)
  local high, low = 0, 0
  for i = 1, #parts do
    local digest = sha1(parts[i])
    high = (high + tonumber(digest:sub(1, 8), 16)) % 4294967296
    low = (low + tonumber(digest:sub(9, 16), 16)) % 4294967296
  end
  return format('%08x%08x', high, low)
end

local function fields(flat)
  local named = {}
  for i = 1, #flat, 2 do
    named[flat[i]] = flat[i + 1]
  end
  return named
end

local function stream(key)
  local parts = {fields(call('XINFO', 'STREAM', key))['last-generated-id']}
  for _, entry in ipairs(call('XRANGE', key, '-', '+')) do
    parts[#parts + 1] = entry[1]
    parts[#parts + 1] = format('%d', #entry[2])
    for _, each in ipairs(entry[2]) do
      parts[#parts + 1] = each
    end
  end
  for _, flat in ipairs(call('XINFO', 'GROUPS', key)) do
    local group = fields(flat)
    parts[#parts + 1] = group['name']
    parts[#parts + 1] = group['last-delivered-id']
    parts[#parts + 1] = format('%d', group['pending'])
    if group['pending'] > 0 and group['pending'] <= most then
      for _, entry in ipairs(call('XPENDING', key, group['name'], '-', '+', group['pending'])) do
        parts[#parts + 1] = entry[1]
        parts[#parts + 1] = entry[2]
        parts[#parts + 1] = format('%d', entry[4])
      end
    end
  end
  return sha1(framed(parts))
end

local counted = {
  string = 'STRLEN', list = 'LLEN', set = 'SCARD', hash = 'HLEN', zset = 'ZCARD', stream = 'XLEN'
}
local digests = {
  string = function(key) return sha1(call('GET', key)) end,
  list = function(key) return sha1(framed(call('LRANGE', key, 0, -1))) end,
  set = function(key) return added_up(call('SMEMBERS', key)) end,
  hash = function(key)
    local flat, parts = call('HGETALL', key), {}
    for i = 1, #flat, 2 do
      parts[#parts + 1] = #flat[i] .. ':' .. flat[i] .. flat[i + 1]
    end
    return added_up(parts)
  end,
  zset = function(key)
    local flat = call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 2, #flat, 2 do
      flat[i] = format('%.17g', tonumber(flat[i]))
    end
    return sha1(framed(flat))
  end,
  stream = stream
}

local replies, left = {}, most
for i, key in ipairs(KEYS) do
  local kind = call('TYPE', key).ok
  local pttl = call('PTTL', key)
  if kind == 'none' then
    replies[i] = {kind, pttl, 0, false}
  elseif not counted[kind] then
    replies[i] = {kind, pttl, -1, false}
  else
    local count = call(counted[kind], key)
    local elements = kind == 'string' and count / 100 or count
    if elements > most then
      replies[i] = {kind, pttl, count, false}
    elseif elements > left then
      break
    else
      replies[i] = {kind, pttl, count, digests[kind](key)}
      left = left - elements
    end
  end
end
return replies
