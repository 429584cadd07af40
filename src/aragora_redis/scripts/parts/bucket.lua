-- A bucket that holds more than its arrival time; the same in Python, with the reasons:
-- rate_limit/bucket.py. A value is the arrival time, "us" or "us:frac", with "@" and how many
-- microseconds ahead it was when it was written, then, where there is more of it, ";" and
--   "q<count>/<period>/<burst>/<until>;"  the limit that operators have set for this subject
--   "s<us>:<frac>/<first>/<last>/<kept>;" and "<id>/<cost>/<until>/<keeps>;" for each reservation:
--   the shadow, when the first and the last one lapse, and the sum of those that keep
local find, format, match, max, min = string.find, string.format, string.match, math.max, math.min

-- The span from now to an instant, no further than a full burst ahead or behind.
local function span_to(us, frac, now, count, full)
  if frac >= count then frac = 0 end
  return max(min((us - now) * count + frac, full), -full)
end

-- Microseconds that an arrival time lies further ahead than a full burst: whoever stores it adds
-- them, since it was another limit that took so much.
local function beyond_full(us, now, count, full)
  return max(min(us - now - (full - full % count) / count, 2 ^ 52), 0)
end

-- The stored form of an instant that lies a span ahead, and `beyond` microseconds.
local function stamped(span, now, count, beyond)
  local frac = span % count
  local ahead = (span - frac) / count + beyond  -- which makes 0 of -0
  if frac > 0 then return format('%.0f:%.0f@%.0f', now + ahead, frac, ahead) end
  return format('%.0f@%.0f', now + ahead, ahead)
end

-- An arrival time, and by how much the clock has gone back since it was written: all that was to
-- come is that much further ahead than it was.
local function arrival(text, now)
  local us, frac, ahead = match(text, '^(%d+):?(%d*)@(%-?%d+)$')
  if us then
    if frac == '' and find(text, ':', 1, true) then return nil end
    us = tonumber(us)
    return us, tonumber(frac) or 0, max(us - ahead - now, 0)
  end
  if find(text, '^%d+$') then return tonumber(text), 0, 0 end
  us, frac = match(text, '^(%d+):(%d+)$')
  if us then return tonumber(us), tonumber(frac), 0 end
end

-- The level of a bucket that is nothing but its arrival time, what lies beyond it, and whether the
-- clock has gone back; nil for another.
local function plain_level(value, now, count, full)
  local us, frac, back = arrival(value, now)
  if not us then return nil end
  us = us - back
  local level = max(span_to(us, frac, now, count, full), 0)
  return level, level == full and beyond_full(us, now, count, full) or 0, back > 0
end

-- What is stored; of another type counts as nothing, and is replaced.
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end

local function store(key, value, ttl_ms)
  if ttl_ms then return redis.pcall('SET', key, value, 'PX', ttl_ms) end
  return redis.pcall('SET', key, value)
end

-- What only buckets need that are more than their arrival time. Most are not, and each function that
-- is made costs a check a tenth of a microsecond or two.
local function bucket_rules()
  local function take(bucket, raised, step)
    if bucket.holds then bucket.shadow = min(max(bucket.shadow, 0) + step, raised) end
    bucket.level = raised
  end

  local HOLD = '([%w_-]+)/(%d+)/(%d+)/([01]);'

  -- Tokens that open reservations hold.
  local function held(bucket)
    if not bucket.held then
      bucket.held = 0
      for _, cost in string.gmatch(bucket.holds or '', HOLD) do bucket.held = bucket.held + cost end
    end
    return bucket.held
  end

  -- A reservation that `holds` has no longer ends: `actual` of its cost was used. Returns what a full
  -- burst could not pay.
  local function settle(bucket, hold, actual)
    local period, full, over, level = bucket.period, bucket.full, 0, bucket.level
    if hold.kept > 0 then bucket.shadow = max(bucket.shadow, 0) end
    if actual <= hold.cost then
      local least = min(level, bucket.shadow + held(bucket) * period)
      level = max(level - (hold.cost - actual) * period, least)
    else
      level = max(level, 0) + (actual - hold.cost) * period
      over = max(level - full, 0)
    end
    bucket.shadow = min(bucket.shadow + actual * period, level)
    if bucket.kept > 0 then level = max(level, max(bucket.shadow, 0) + bucket.kept * period) end
    bucket.level = min(level, full)
    -- What lies beyond a full burst comes first: only what is left of the return is tokens.
    if bucket.beyond > 0 then
      local count, room = bucket.count, math.floor((full - bucket.level) / bucket.count)
      local moved = min(bucket.beyond, room)
      bucket.level = bucket.beyond > room and full or bucket.level + moved * count
      bucket.shadow, bucket.beyond = bucket.shadow + moved * count, bucket.beyond - moved
    end
    return over
  end

  local function end_lapsed(bucket, now)
    local left, back, first, ended, was = {}, {}, nil, nil, bucket.kept
    for id, cost, till, keeps in string.gmatch(bucket.holds, HOLD) do
      if tonumber(till) > now then
        left[#left + 1] = id .. '/' .. cost .. '/' .. till .. '/' .. keeps .. ';'
        first = min(first or tonumber(till), tonumber(till))
      elseif keeps == '1' then
        bucket.kept, ended = bucket.kept - cost, max(ended or 0, tonumber(till))
      else
        back[#back + 1] = {cost = tonumber(cost), kept = 0}
      end
    end
    bucket.holds, bucket.held, bucket.first = first and table.concat(left), nil, first
    -- What was leased comes back from when the lease lapsed, not from when that is seen.
    if ended then
      local since = (now - ended) * bucket.count
      bucket.level = max(bucket.level, was * bucket.period - since)
      bucket.shadow = max(bucket.shadow, -since) + (was - bucket.kept) * bucket.period
    end
    bucket.level = min(max(bucket.level, bucket.kept * bucket.period), bucket.full)
    bucket.shadow = min(bucket.shadow, bucket.level)
    for _, hold in ipairs(back) do settle(bucket, hold, 0) end
  end

  -- The clock has gone back, and what is to come lies that much further ahead.
  local function move_holds(bucket, back)
    bucket.first, bucket.last = max(bucket.first - back, 0), max(bucket.last - back, 0)
    bucket.holds = bucket.holds:gsub(HOLD, function(id, cost, till, keeps)
      return format('%s/%s/%.0f/%s;', id, cost, max(till - back, 0), keeps)
    end)
  end

  -- A limit that could not be kept exactly is none of ours.
  local function is_exact(count, period, burst)
    return min(count, period, burst) > 0 and max(count, period, burst * period) < 2 ^ 52
  end

  local function open(value, now, count, period, burst)
    local bucket = {count = count, period = period, burst = burst, level = 0, beyond = 0}
    value = value or ''
    local text, at = match(value, '^([%d:@-]+);()')
    at = at or #value + 1
    local us, frac, back = arrival(text or value, now)
    local over
    -- Read in place: the rest may be long, and each copy of it costs more than all that is read.
    local quota, c, p, b, till, after = match(value, '^(q(%d+)/(%d+)/(%d+)/(%d+);)()', at)
    if us and quota then
      c, p, b, till, at = tonumber(c), tonumber(p), tonumber(b), tonumber(till), after
      local holds = till == 0 or till - back > now
      if till > 0 then till = till - back end
      if is_exact(c, p, b) then
        if not holds then
          over = {count = c, period = p, full = b * p, till = till}
        else
          if back > 0 and till > 0 then quota = format('q%.0f/%.0f/%.0f/%.0f;', c, p, b, till) end
          bucket.count, bucket.period, bucket.burst = c, p, b
          bucket.quota, bucket.quota_until = quota, till
        end
      end
    end
    bucket.full = bucket.burst * bucket.period
    if not us then return bucket end
    bucket.went_back = back > 0
    -- What was used under a limit that is over comes back at this one's rate since its end, as when it
    -- is taken away by hand; never later than by the arrival time itself.
    local function level_of(us, frac)
      local level = span_to(us, frac, now, bucket.count, bucket.full)
      if not over then return level end
      local used = span_to(us, frac, over.till, over.count, over.full)
      if over.period ~= period or over.count ~= count then
        used = math.ceil(used / over.period) * period
      end
      return min(level, max(min(used, bucket.full) - (now - over.till) * count, -bucket.full))
    end
    bucket.level = level_of(us - back, frac)
    bucket.beyond = over and 0 or beyond_full(us - back, now, bucket.count, bucket.full)
    local shadow, first, last, kept, holds_at =
      match(value, '^s([%d:]+)/(%d+)/(%d+)/(%d+);()', at)
    if not shadow or not find(value, '^' .. HOLD, holds_at) then return bucket end
    us, frac = arrival(shadow, now)
    if us then
      bucket.shadow = min(level_of(us - back - bucket.beyond, frac), bucket.level)
      bucket.first, bucket.last, bucket.holds = tonumber(first), tonumber(last), value:sub(holds_at)
      bucket.kept = tonumber(kept)
      if back > 0 then move_holds(bucket, back) end
      if now >= bucket.first then
        end_lapsed(bucket, now)
      else
        bucket.level = min(max(bucket.level, bucket.kept * bucket.period), bucket.full)
      end
    end
    return bucket
  end

  -- What to store of a bucket, and for how many milliseconds; nil for good.
  local function close(bucket, now)
    local value = stamped(bucket.level, now, bucket.count, bucket.beyond)
    local left = bucket.level / bucket.count + bucket.beyond
    if bucket.quota or bucket.holds then value = value .. ';' end
    if bucket.quota then value = value .. bucket.quota end
    if bucket.holds then
      local shadow = match(stamped(bucket.shadow, now, bucket.count, bucket.beyond), '^[^@]+')
      value = value .. 's' .. shadow
        .. format('/%.0f/%.0f/%.0f;', bucket.first, bucket.last, bucket.kept) .. bucket.holds
      -- What is leased comes back only once it is used.
      left = max(left, bucket.last - now + bucket.kept * bucket.period / bucket.count)
    end
    if bucket.quota_until == 0 then return value, nil end
    left = max(left, (bucket.quota_until or 0) - now, 0)
    -- One second more than needed, so that no rounding and no clock drops a bucket still in use.
    return value, format('%.0f', math.ceil(left / 1000) + 1000)
  end

  -- A level or a wait, with the limit that was in force, and its end, where it is the subject's own.
  local function answer(bucket, said)
    if not bucket.quota then return said end
    return {said, bucket.count, bucket.period, bucket.burst, bucket.quota_until}
  end

  -- A reservation that is open: its cost, when it lapses, and where it stands in `holds`.
  local function find_hold(bucket, id)
    if not bucket.holds or id == '' then return nil end
    local from, to = find(bucket.holds, id .. '/', 1, true)
    if not from then return nil end
    local cost, till, keeps, last = match(bucket.holds, '^(%d+)/(%d+)/([01]);()', to + 1)
    cost, till = tonumber(cost), tonumber(till)
    return {cost = cost, till = till, kept = keeps * cost, from = from, last = last}
  end

  local function drop_hold(bucket, hold)
    bucket.holds = bucket.holds:sub(1, hold.from - 1) .. bucket.holds:sub(hold.last)
    bucket.held, bucket.kept = nil, bucket.kept - hold.kept
    if bucket.holds == '' then bucket.holds = nil end
  end
  return open, close, take, answer, settle, find_hold, drop_hold
end
