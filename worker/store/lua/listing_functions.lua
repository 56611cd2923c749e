-- How the end of a job updates the cached listings, in the same step. Prepended to every script after job_functions.lua.
-- A listing is a hash: the base version, and `seq`, which counts changes. The delta log (a stream) holds the changes since the
-- base and since a read that has not ended; a gap in its numbers marks an invalidation. Where Redis was restored from an older copy, numbers
-- come again for other changes: the time of the last change (`changed`) tells such versions apart.

-- With more changes than this since the base the listing is invalidated instead.
local MAX_DELTA_LENGTH = 10000

-- A TTL is never shortened: data that was read under a listing's numbers must not outlive them.
local function extend_ttl(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end

-- Numbers start at the current time, so that they never repeat after a listing has expired.
local function current_number(cache_key, name)
  local value = redis.call('HGET', listing_key(cache_key), name)
  if value then return tonumber(value) end
  redis.call('HSET', listing_key(cache_key), name, text(now))
  return now
end

local function next_number(cache_key, name)
  current_number(cache_key, name)
  return redis.call('HINCRBY', listing_key(cache_key), name, 1)
end

-- The last change before an invalidation, and its time ('' none): a listing whose read began at `start` is valid up to it.
local function readable_until(cache_key, start)
  local last, changed = start, ''
  for _, entry in ipairs(redis.call('XRANGE', delta_key(cache_key), text(start + 1) .. '-0', '+')) do
    local seq = tonumber(string.match(entry[1], '^(%d+)'))
    if seq ~= last + 1 then break end
    last, changed = seq, pairs_of(entry[2]).t or ''
  end
  return last, changed
end

local listing_steps = {}

-- Without a listing that the change can be applied to, there is nothing to record it for.
function listing_steps.upsert(e)
  local f = redis.call('HMGET', listing_key(e.cache_key), 'base', 'as_of', 'logging')
  local visible = f[1] and tonumber(f[2]) + e.keep_ms > now
  local read = f[3] and tonumber(f[3]) > now
  local seq = next_number(e.cache_key, 'seq')
  extend_ttl(listing_key(e.cache_key), e.keep_ms)
  if (visible or read) and redis.call('XLEN', delta_key(e.cache_key)) < MAX_DELTA_LENGTH then
    redis.call('XADD', delta_key(e.cache_key), text(seq) .. '-0', 'k', e.key, 'v', e.record or '', 't', text(now))
    redis.call('HSET', listing_key(e.cache_key), 'changed', text(now))
    extend_ttl(delta_key(e.cache_key), e.keep_ms)
  else
    if f[1] then redis.call('HDEL', listing_key(e.cache_key), 'base') end
    redis.call('DEL', delta_key(e.cache_key))
  end
end

listing_steps.delete = listing_steps.upsert

-- Invalidate: the listing must be read again, and no client joins a read that began before.
function listing_steps.invalidate(e)
  local seq = next_number(e.cache_key, 'seq')
  next_number(e.cache_key, 'epoch')
  redis.call('HSET', listing_key(e.cache_key), 'invalid', text(seq))
  extend_ttl(listing_key(e.cache_key), e.keep_ms)
  redis.call('DEL', inflight_key(e.cache_key))
end

-- The former base is kept, with its changes, for clients that page through it.
local function retire_base(e, base, base_seq)
  local old = P .. 'old:' .. e.cache_key
  redis.call('ZREMRANGEBYSCORE', old, '-inf', now - e.page_ms)
  if not base then return old end
  redis.call('ZADD', old, now, base .. ' ' .. base_seq)
  extend_ttl(old, e.page_ms)
  -- The name of a base is a digest of its contents: where the new one is the same, `commit` extends its time again.
  redis.call('PEXPIRE', P .. 'base:' .. e.cache_key .. ':' .. base, e.page_ms)
  return old
end

-- A listing becomes the base; changes since its read began stay in the delta log and are applied to it.
function listing_steps.commit(e)
  local f = redis.call('HMGET', listing_key(e.cache_key), 'base', 'base_seq', 'as_of', 'invalid', 'seq', 'logging', 'reading_from')
  -- Of two reads the later one counts; a listing from the future was read before the clock was set back.
  if f[3] and tonumber(f[3]) > e.as_of and tonumber(f[3]) <= now then return end
  if e.replaces and f[1] ~= e.replaces then return end
  local oldest = e.start_seq
  for _, member in ipairs(redis.call('ZRANGE', retire_base(e, f[1], f[2]), 0, -1)) do
    oldest = math.min(oldest, tonumber(string.match(member, ' (%d+)$')))
  end
  if not e.replaces then
    redis.call('HDEL', listing_key(e.cache_key), 'logging', 'reading_from', 'read_first')
  elseif f[6] and tonumber(f[6]) > now then
    oldest = math.min(oldest, tonumber(f[7]))
  end
  redis.call('HSET', listing_key(e.cache_key), 'base', e.base, 'base_seq', text(e.start_seq), 'as_of', text(e.as_of),
    'count', text(e.count), 'hash', e.hash, 'parent_epoch', text(e.parent_epoch))
  if not f[5] or tonumber(f[5]) < e.start_seq then redis.call('HSET', listing_key(e.cache_key), 'seq', text(e.start_seq)) end
  if f[4] and tonumber(f[4]) <= e.start_seq then redis.call('HDEL', listing_key(e.cache_key), 'invalid') end
  redis.call('PEXPIRE', P .. 'base:' .. e.cache_key .. ':' .. e.base, e.keep_ms)
  extend_ttl(listing_key(e.cache_key), e.keep_ms)
  redis.call('XTRIM', delta_key(e.cache_key), 'MINID', text(oldest + 1) .. '-0')
end

local function update_listings(steps)
  for _, step in ipairs(steps) do listing_steps[step.what](step) end
end
