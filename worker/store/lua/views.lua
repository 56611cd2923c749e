-- What the end of a job does to the listings, in the same step. Every script begins with this, after the prelude.
-- A view is a hash: the base that is shown, and `seq`, which counts the changes. Its log holds the changes over the base, and
-- over a listing that is under way; where the count jumps in it, the storage system had to be asked again.

-- So many changes over one base are not read any more: the storage system is asked instead.
local MOST_LOGGED = 10000

-- Never shortened: what was read under a view's numbers must not outlive them.
local function keep(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end

-- A view's numbers begin at the time of day: when a view was forgotten, they do not come again.
local function this_number(thing, name)
  local known = redis.call('HGET', view_key(thing), name)
  if known then return tonumber(known) end
  redis.call('HSET', view_key(thing), name, text(now))
  return now
end

local function next_number(thing, name)
  this_number(thing, name)
  return redis.call('HINCRBY', view_key(thing), name, 1)
end

-- The last change before the storage system had to be asked again: a listing that began at `start` can be shown up to it.
local function readable_until(thing, start)
  local last = start
  for _, entry in ipairs(redis.call('XRANGE', log_key(thing), text(start + 1) .. '-0', '+')) do
    local seq = tonumber(string.match(entry[1], '^(%d+)'))
    if seq ~= last + 1 then break end
    last = seq
  end
  return last
end

local view_steps = {}

-- Without a listing that could be shown with the change, there is nothing to keep it for.
function view_steps.put(e)
  local f = redis.call('HMGET', view_key(e.thing), 'base', 'as_of', 'logging')
  local shown = f[1] and tonumber(f[2]) + e.keep_ms > now
  local read = f[3] and tonumber(f[3]) > now
  local seq = next_number(e.thing, 'seq')
  keep(view_key(e.thing), e.keep_ms)
  if (shown or read) and redis.call('XLEN', log_key(e.thing)) < MOST_LOGGED then
    redis.call('XADD', log_key(e.thing), text(seq) .. '-0', 'k', e.key, 'v', e.record or '')
    keep(log_key(e.thing), e.keep_ms)
  else
    if f[1] then redis.call('HDEL', view_key(e.thing), 'base') end
    redis.call('DEL', log_key(e.thing))
  end
end

view_steps.drop = view_steps.put

-- From now on the storage system must be asked; whoever asks joins no question that was put before.
function view_steps.reread(e)
  local seq = next_number(e.thing, 'seq')
  next_number(e.thing, 'epoch')
  redis.call('HSET', view_key(e.thing), 'invalid', text(seq))
  keep(view_key(e.thing), e.keep_ms)
  redis.call('DEL', flight_key(e.thing))
end

-- The base that was shown until now: kept for those who page through it, with the changes over it.
local function demote(e, base, base_seq)
  local past = P .. 'past:' .. e.thing
  redis.call('ZREMRANGEBYSCORE', past, '-inf', now - e.page_ms)
  if not base then return past end
  redis.call('ZADD', past, now, base .. ' ' .. base_seq)
  keep(past, e.page_ms)
  -- A base is named by its contents: the new one may be the same.
  if base ~= e.base then redis.call('PEXPIRE', P .. 'base:' .. e.thing .. ':' .. base, e.page_ms) end
  return past
end

-- A listing becomes the base; changes made since it began stay in the log and are laid over it.
function view_steps.commit(e)
  local f = redis.call('HMGET', view_key(e.thing), 'base', 'base_seq', 'as_of', 'invalid', 'seq', 'logging', 'reading_from')
  if f[3] and tonumber(f[3]) > e.as_of then return end
  if e.replaces and f[1] ~= e.replaces then return end
  local oldest = e.start_seq
  for _, member in ipairs(redis.call('ZRANGE', demote(e, f[1], f[2]), 0, -1)) do
    oldest = math.min(oldest, tonumber(string.match(member, ' (%d+)$')))
  end
  if not e.replaces then
    redis.call('HDEL', view_key(e.thing), 'logging', 'reading_from')
  elseif f[6] and tonumber(f[6]) > now then
    oldest = math.min(oldest, tonumber(f[7]))
  end
  redis.call('HSET', view_key(e.thing), 'base', e.base, 'base_seq', text(e.start_seq), 'as_of', text(e.as_of),
    'count', text(e.count), 'hash', e.hash, 'bytes', text(e.bytes), 'parent_epoch', text(e.parent_epoch))
  if not f[5] or tonumber(f[5]) < e.start_seq then redis.call('HSET', view_key(e.thing), 'seq', text(e.start_seq)) end
  if f[4] and tonumber(f[4]) <= e.start_seq then redis.call('HDEL', view_key(e.thing), 'invalid') end
  redis.call('PEXPIRE', P .. 'base:' .. e.thing .. ':' .. e.base, e.keep_ms)
  keep(view_key(e.thing), e.keep_ms)
  redis.call('XTRIM', log_key(e.thing), 'MINID', text(oldest + 1) .. '-0')
end

local function change_views(steps)
  for _, step in ipairs(steps) do view_steps[step.what](step) end
end
