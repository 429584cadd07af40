-- Several sessions in one call: what becomes of one concerns no other.
-- Bytes of sessions that one call answers. What does not fit beside others is asked for again, alone: a
-- script holds all that it answers in memory, twice, and holds up the server.
local ROOM, answered = 65536, 0

local function int(x) return string.format('%.0f', x) end

-- Whether a session of so many bytes fits beside what is answered already.
local function has_room(bytes)
  bytes = tonumber(bytes) or 0
  if answered > 0 and answered + bytes > ROOM then return false end
  answered = answered + bytes
  return true
end

local function too_large() return redis.error_reply('TRYAGAIN the session is large') end

-- What is stored may be of others' making, and make any rule of ours fail. A server that is no primary
-- says so of the whole call: nothing of it was written, and the connection leads to the wrong node.
local readonly
local function is_no_primary(reply)
  local told = reply.err and string.gsub(reply.err, '^@user_script: ?%d+: ', '')  -- Redis 6.2
  return told and string.find(told, '^%-?READONLY')
end

local function apart(work, ...)
  local done, reply = pcall(work, ...)
  if not done and type(reply) ~= 'table' then reply = redis.error_reply(reply) end
  if is_no_primary(reply) then
    readonly = redis.error_reply('READONLY this server is a replica')
  end
  return reply
end
