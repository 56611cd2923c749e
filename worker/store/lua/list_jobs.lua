-- Ids of the jobs that fit a query, newest first. ARGV: the query, a JSON object with
--   below, floor: sequence numbers between which to look (neither included)
--   limit: how many ids; effort: about how many steps this call may take, so that it blocks nobody for long
--   groups: lists of properties; a job must have one of each list
--   volume: '' or a volume whose jobs are meant
--   created_after, created_before, finished_after, finished_before: milliseconds, 0: any
-- Returns {ids, sequence number to continue below, or '' at the end}.
local q = cjson.decode(ARGV[1])
local found, effort, cursor = {}, q.effort, nil
local CHUNK_EFFORT = 20
local by_end = q.finished_after > 0 or q.finished_before > 0
local by_time = by_end or q.created_after > 0 or q.created_before > 0

local function entry_of(chunk, offset)
  local entry = redis.call('GETRANGE', chunk_key(chunk), offset * ENTRY_BYTES, (offset + 1) * ENTRY_BYTES - 1)
  local times = ID_BYTES + TIME_DIGITS
  return (string.match(string.sub(entry, 1, ID_BYTES), '^[^ %z]*')),
    tonumber(string.sub(entry, ID_BYTES + 1, times)), tonumber(string.sub(entry, times + 1))
end

local function fits_times(created, finished)
  if created <= q.created_after or (q.created_before > 0 and created >= q.created_before) then return false end
  if not by_end then return true end
  return finished > q.finished_after and (q.finished_before == 0 or (finished > 0 and finished < q.finished_before))
end

-- Returns true when the search is over.
local function visit(chunk, offset)
  effort = effort - 1
  cursor = chunk * CHUNK_JOBS + offset
  local id, created, finished = entry_of(chunk, offset)
  if not created then return false end
  if created <= q.created_after then cursor = nil return true end
  if fits_times(created, finished or 0) then found[#found + 1] = id end
  return #found >= q.limit or effort <= 0
end

-- Nothing in the chunk can fit the times: jobs are in the order of their acceptance, and end after it.
local function is_out_of_time(chunk, first_created)
  if first_created and first_created > 0 then
    if q.created_before > 0 and first_created >= q.created_before then return true end
    if q.finished_before > 0 and first_created >= q.finished_before then return true end
  end
  if not by_end then return false end
  local last_end = tonumber(redis.call('HGET', P .. 'index_last_end', text(chunk)) or '')
  return not last_end or last_end <= q.finished_after
end

-- The bitmaps of a chunk, a list for each group; nil when a group has none. The first group has the fewest bits.
local function bitmaps_of(chunk)
  local groups, counts = {}, {}
  for g, properties in ipairs(q.groups) do
    local maps, bits = {}, 0
    for _, property in ipairs(properties) do
      local key = bitmap_key(chunk, property)
      local map = redis.call('GET', key)
      if map then
        maps[#maps + 1] = map
        bits = bits + redis.call('BITCOUNT', key)
      end
    end
    if bits == 0 then return nil end
    groups[g], counts[maps] = maps, bits
  end
  table.sort(groups, function(one, other) return counts[one] < counts[other] end)
  return groups
end

-- The last byte at or before `at` in which one of the maps (reversed, with their lengths) has a bit; 0: there is none.
local function previous_byte(reversed, at)
  local best = 0
  for _, map in ipairs(reversed) do
    local place = string.find(map, '[^%z]', math.max(1, #map - at + 1))
    if place and #map - place + 1 > best then best = #map - place + 1 end
  end
  return best
end

local function scan_chunk(chunk, groups, last_offset, floor_offset)
  local reversed = {}
  for i, map in ipairs(groups[1]) do reversed[i] = string.reverse(map) end
  local at = previous_byte(reversed, math.floor(last_offset / 8) + 1)
  while at > 0 do
    effort = effort - 1
    local bits = 255
    for _, maps in ipairs(groups) do
      local any = 0
      for _, map in ipairs(maps) do any = bit.bor(any, string.byte(map, at) or 0) end
      bits = bit.band(bits, any)
    end
    for i = 7, 0, -1 do
      local offset = (at - 1) * 8 + i
      if offset <= last_offset and bit.band(bits, bit.rshift(128, i)) ~= 0 then
        if offset < floor_offset then cursor = nil return true end
        if visit(chunk, offset) then return true end
      end
    end
    at = previous_byte(reversed, at - 1)
  end
  return false
end

local function scan_chunks()
  local top = chunk_of(q.below - 1)
  for _, name in ipairs(redis.call('ZREVRANGEBYSCORE', P .. 'index_chunks', top, chunk_of(q.floor))) do
    local chunk = tonumber(name)
    local first_created = by_time and select(2, entry_of(chunk, 0))
    effort = effort - CHUNK_EFFORT
    local groups = not (by_time and is_out_of_time(chunk, first_created)) and bitmaps_of(chunk)
    local last_offset = chunk == top and (q.below - 1) % CHUNK_JOBS or CHUNK_JOBS - 1
    if groups and scan_chunk(chunk, groups, last_offset, q.floor + 1 - chunk * CHUNK_JOBS) then return end
    if first_created and first_created > 0 and first_created <= q.created_after then cursor = nil return end
    cursor = chunk * CHUNK_JOBS
    if effort <= 0 then return end
  end
  cursor = nil
end

local function has_all(seq)
  local chunk, offset = chunk_of(seq), seq % CHUNK_JOBS
  for _, properties in ipairs(q.groups) do
    local has = false
    for _, property in ipairs(properties) do
      if redis.call('GETBIT', bitmap_key(chunk, property), offset) == 1 then has = true break end
    end
    if not has then return false end
  end
  return true
end

local function scan_volume()
  local entries = redis.call('ZREVRANGEBYSCORE', volume_index_key(q.volume), '(' .. text(q.below), '(' .. text(q.floor),
    'WITHSCORES', 'LIMIT', 0, q.effort)
  for i = 2, #entries, 2 do
    local seq = tonumber(entries[i])
    effort = effort - 1
    cursor = seq
    if has_all(seq) and visit(chunk_of(seq), seq % CHUNK_JOBS) then return end
    if effort <= 0 then return end
  end
  cursor = nil
end

if q.volume ~= '' then scan_volume() else scan_chunks() end
return {found, cursor and text(cursor) or ''}
