-- Ids of the jobs that fit a query, newest first. ARGV: the query, a JSON object with
--   below, floor: sequence numbers between which to search (exclusive)
--   limit: how many ids; effort: about how many steps this call may take, so that it does not block Redis for long
--   groups: lists of properties; a job must have one of each list
--   batch: '' or a batch, for its members only; volume: '' or a volume, for its jobs of these classes only
--   created_after, created_before, finished_after, finished_before: milliseconds, 0: any
-- Returns {ids, sequence number to continue below, or '' at the end}.
local q = cjson.decode(ARGV[1])
local ids, effort, cursor = {}, q.effort, nil
local CHUNK_EFFORT = 10
local by_end = q.finished_after > 0 or q.finished_before > 0
-- Jobs are in the order of their acceptance, and end after it: a job accepted after the upper limits cannot match.
local accepted_before = q.created_before
if q.finished_before > 0 and (accepted_before == 0 or q.finished_before < accepted_before) then accepted_before = q.finished_before end

local function parsed(entry)
  local times = ID_BYTES + TIME_DIGITS
  return (string.match(string.sub(entry, 1, ID_BYTES), '^[^ %z]*')),
    tonumber(string.sub(entry, ID_BYTES + 1, times)), tonumber(string.sub(entry, times + 1))
end

local function entries_of(chunk, offset, jobs)
  return redis.call('GETRANGE', chunk_key(chunk), offset * ENTRY_BYTES, (offset + jobs) * ENTRY_BYTES - 1)
end

local function fits_times(created, finished)
  if q.created_before > 0 and created >= q.created_before then return false end
  if not by_end then return true end
  -- 0 until it has ended, which is never later than `finished_after`.
  return finished > q.finished_after and (q.finished_before == 0 or finished < q.finished_before)
end

-- Returns true when the search is over.
local function visit(chunk, offset)
  effort = effort - 1
  cursor = chunk * CHUNK_JOBS + offset
  local id, created, finished = parsed(entries_of(chunk, offset, 1))
  if not created then return false end
  if created <= q.created_after then cursor = nil return true end
  if fits_times(created, finished or 0) then ids[#ids + 1] = id end
  return #ids >= q.limit or effort <= 0
end

-- When the first job at or after an offset of a chunk was accepted; not every number is a job's.
local function accepted_at(chunk, offset)
  local from, jobs = offset, 4
  while true do
    local block = entries_of(chunk, from, jobs)
    effort = effort - 1
    if block == '' then return math.huge end
    for at = 1, #block, ENTRY_BYTES do
      if string.byte(block, at) ~= 0 then return select(2, parsed(string.sub(block, at, at + ENTRY_BYTES - 1))) end
    end
    from, jobs = from + jobs, math.min(4 * jobs, 1024)
  end
end

-- Binary search: the last number from `first` to `last` for which `is_early` holds; it must hold for all numbers before that one.
local function last_early(first, last, is_early)
  while first < last do
    local middle = math.ceil((first + last) / 2)
    if is_early(middle) then first = middle else last = middle - 1 end
  end
  return first
end

-- The sorted sets that name the fewest chunks, of all, those of a group's properties, and those in which anything has ended
-- since; and which of their scores count.
local function fewest_chunks()
  local keys, fewest = {P .. 'index_chunks'}, redis.call('ZCARD', P .. 'index_chunks')
  for _, properties in ipairs(q.groups) do
    local chunks, count = {}, 0
    for i, property in ipairs(properties) do
      chunks[i] = chunks_key(property)
      count = count + redis.call('ZCARD', chunks[i])
    end
    if count < fewest then keys, fewest = chunks, count end
  end
  if q.finished_after > 0 then
    local since = '(' .. text(q.finished_after)
    if redis.call('ZCOUNT', P .. 'index_last_end', since, '+inf') < fewest then return {P .. 'index_last_end'}, since, '+inf' end
  end
  return keys, chunk_of(q.floor), chunk_of(q.below - 1)
end

-- The chunks to look at, the oldest first.
local function candidates()
  local keys, from, to = fewest_chunks()
  local top, bottom, seen, chunks = chunk_of(q.below - 1), chunk_of(q.floor), {}, {}
  for _, key in ipairs(keys) do
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', key, from, to)) do
      local chunk = tonumber(name)
      if chunk >= bottom and chunk <= top and not seen[chunk] then
        seen[chunk] = true
        chunks[#chunks + 1] = chunk
      end
    end
  end
  table.sort(chunks)
  return chunks
end

-- The bitmaps of a chunk, a list for each group; nil when a group has none. The first group has the fewest bits.
local function bitmaps_of(chunk)
  local groups, counts = {}, {}
  local function add(properties)
    local maps, bits = {}, 0
    for _, property in ipairs(properties) do
      effort = effort - 1
      local key = bitmap_key(chunk, property)
      local map = redis.call('GET', key)
      if map then
        maps[#maps + 1] = map
        bits = bits + redis.call('BITCOUNT', key)
      end
    end
    groups[#groups + 1], counts[maps] = maps, bits
    return bits > 0
  end
  if q.batch ~= '' and not add({'batch:' .. q.batch}) then return nil end
  for _, properties in ipairs(q.groups) do
    if not add(properties) then return nil end
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

-- Of all chunks that are looked at, only the newest has jobs that were accepted too late.
local function last_offset_of(chunk, is_newest)
  local last = chunk == chunk_of(q.below - 1) and (q.below - 1) % CHUNK_JOBS or CHUNK_JOBS - 1
  if accepted_before == 0 or not is_newest then return last end
  return last_early(0, last, function(offset) return accepted_at(chunk, offset) < accepted_before end)
end

local function scan_chunks()
  local chunks = candidates()
  local last = #chunks
  if accepted_before > 0 and last > 0 then
    last = last_early(1, last, function(i) return accepted_at(chunks[i], 0) < accepted_before end)
  end
  for i = last, 1, -1 do
    local chunk = chunks[i]
    effort = effort - CHUNK_EFFORT
    local groups = bitmaps_of(chunk)
    if groups and scan_chunk(chunk, groups, last_offset_of(chunk, i == last), q.floor + 1 - chunk * CHUNK_JOBS) then return end
    if q.created_after > 0 and accepted_at(chunk, 0) <= q.created_after then break end
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
      effort = effort - 1
      if redis.call('GETBIT', bitmap_key(chunk, property), offset) == 1 then has = true break end
    end
    if not has then return false end
  end
  return q.batch == '' or redis.call('GETBIT', batch_bitmap_key(chunk, q.batch), offset) == 1
end

-- The next jobs of the volume below a number, the newest first.
local function next_of_volume(below, count)
  local seqs = {}
  for _, class in ipairs(q.classes) do
    local entries = redis.call('ZREVRANGEBYSCORE', volume_index_key(q.volume, class), '(' .. text(below),
      '(' .. text(q.floor), 'WITHSCORES', 'LIMIT', 0, count)
    for i = 2, #entries, 2 do seqs[#seqs + 1] = tonumber(entries[i]) end
  end
  table.sort(seqs, function(one, other) return one > other end)
  -- Each class has returned at most `count`: only that many of all together are certainly the next ones.
  for i = count + 1, #seqs do seqs[i] = nil end
  return seqs
end

local function scan_volume()
  local below, count = q.below, math.min(100, math.max(10, q.limit))
  while true do
    local seqs = next_of_volume(below, count)
    for _, seq in ipairs(seqs) do
      effort = effort - 1
      cursor = seq
      if has_all(seq) and visit(chunk_of(seq), seq % CHUNK_JOBS) then return end
      if effort <= 0 then return end
    end
    if #seqs < count then cursor = nil return end
    below = seqs[#seqs]
  end
end

if q.volume ~= '' then scan_volume() else scan_chunks() end
return {ids, cursor and text(cursor) or ''}
