-- The index of jobs. Prepended to every script after record_functions.lua.
-- Sequence numbers are divided into chunks; in each chunk, every property that jobs have is one bitmap with a bit for each job,
-- so that filters are combined without reading all jobs. Conditions that are often combined are one property, since each part
-- alone may be frequent and both together rare. The chunks in which a property occurs are a sorted set. The key of the chunk
-- itself holds an entry of fixed width for each job: its id, and when it was accepted and ended.
local CHUNK_JOBS = 8192
local ENTRY_BYTES, ID_BYTES, TIME_DIGITS = 62, 36, 13
local TIME_FORMAT = '%0' .. TIME_DIGITS .. 'd'
local STATES = {'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'}
local function chunk_of(seq) return math.floor(seq / CHUNK_JOBS) end
local function chunk_key(chunk) return P .. 'index:' .. text(chunk) end
local function bitmap_key(chunk, property) return chunk_key(chunk) .. ':' .. property end
local function chunks_key(property) return P .. 'index_in:' .. property end
local function batch_bitmap_key(chunk, batch) return bitmap_key(chunk, 'batch:' .. batch) end
-- Unfinished jobs are one class, so that a job changes its class only when it ends.
local function class_of(state) return is_done(state) and state or 'open' end
local function volume_index_key(volume, class) return P .. 'index_volume:' .. class .. ':' .. volume end

-- The owner is identified by their id (requester_key); searches use the displayed name (name_key).
local function people_of(f)
  local people = {}
  if (f.requester_key or '') ~= '' then people[1] = 'requester:' .. f.requester_key end
  if (f.name_key or '') ~= '' and f.name_key ~= f.requester_key then people[#people + 1] = 'named:' .. f.name_key end
  return people
end

-- The properties of a job with the fields `f`: the constant ones, and those that depend on its state.
local function fixed_properties(f)
  local operation, subsystem = 'operation:' .. f.operation, 'subsystem:' .. f.subsystem
  local properties = {operation .. ' ' .. subsystem}
  for _, who in ipairs(people_of(f)) do
    properties[#properties + 1] = who .. ' ' .. operation
    properties[#properties + 1] = who .. ' ' .. subsystem
  end
  return properties
end

local function class_properties(f, class)
  local properties = {'operation:' .. f.operation .. ' ' .. class, 'subsystem:' .. f.subsystem .. ' ' .. class,
    'roles:' .. (f.roles or '') .. ' ' .. class}
  for _, who in ipairs(people_of(f)) do properties[#properties + 1] = who .. ' ' .. class end
  return properties
end

local function joined(...)
  local all = {}
  for _, properties in ipairs({...}) do
    for _, property in ipairs(properties) do all[#all + 1] = property end
  end
  return all
end

local function note_chunk(chunk, properties)
  chunk = text(chunk)
  for _, property in ipairs(properties) do redis.call('ZADD', chunks_key(property), chunk, chunk) end
end

local function set_bits(seq, properties)
  local chunk, offset, keys = chunk_of(seq), text(seq % CHUNK_JOBS), {}
  for i, property in ipairs(properties) do keys[i] = bitmap_key(chunk, property) end
  if redis.call('EXISTS', unpack(keys)) < #keys then note_chunk(chunk, properties) end
  for _, key in ipairs(keys) do redis.call('SETBIT', key, offset, '1') end
end

-- An empty bitmap is deleted. `offset` is text.
local function clear_bit(key, offset)
  redis.call('SETBIT', key, offset, '0')
  if redis.call('BITPOS', key, '1') >= 0 then return false end
  redis.call('DEL', key)
  return true
end

local function clear_bits(seq, properties)
  local chunk, offset = chunk_of(seq), text(seq % CHUNK_JOBS)
  for _, property in ipairs(properties) do
    if clear_bit(bitmap_key(chunk, property), offset) then redis.call('ZREM', chunks_key(property), text(chunk)) end
  end
end

local function index_entry(id, finished)
  return string.format('%-' .. ID_BYTES .. 's' .. TIME_FORMAT .. TIME_FORMAT, id, now, finished)
end

-- Add a new job; `f` are its fields, `seq` is a number.
local function index_job(id, f, seq, state)
  local chunk, offset = chunk_of(seq), seq % CHUNK_JOBS
  redis.call('SETRANGE', chunk_key(chunk), text(offset * ENTRY_BYTES), index_entry(id, 0))
  redis.call('ZADD', P .. 'index_chunks', text(chunk), text(chunk))
  set_bits(seq, joined(fixed_properties(f), class_properties(f, class_of(state)), {'state:' .. state}))
  if (f.volume or '') ~= '' then redis.call('ZADD', volume_index_key(f.volume, class_of(state)), text(seq), id) end
end

-- Set the same bit of consecutive jobs; `from` and `to` lie in one chunk.
local function fill_bits(key, from, to)
  while from <= to and from % 8 ~= 0 do
    redis.call('SETBIT', key, from % CHUNK_JOBS, 1)
    from = from + 1
  end
  local bytes = math.floor((to + 1 - from) / 8)
  if bytes > 0 then redis.call('SETRANGE', key, (from % CHUNK_JOBS) / 8, string.rep(string.char(255), bytes)) end
  for seq = from + bytes * 8, to do redis.call('SETBIT', key, seq % CHUNK_JOBS, 1) end
end

-- Add members of a batch (their fields) with consecutive sequence numbers, with few commands: runs of members with
-- the same properties are added together.
local function index_members(members, first)
  local place = 1
  while place <= #members do
    local m, seq = members[place], first + place - 1
    local chunk, last = chunk_of(seq), place
    local entries = {}
    repeat
      entries[#entries + 1] = index_entry(members[last].id, 0)
      last = last + 1
      local n = members[last]
    until not n or n.subsystem ~= m.subsystem or n.operation ~= m.operation or chunk_of(first + last - 1) ~= chunk
    redis.call('SETRANGE', chunk_key(chunk), seq % CHUNK_JOBS * ENTRY_BYTES, table.concat(entries))
    redis.call('ZADD', P .. 'index_chunks', chunk, text(chunk))
    local to = first + last - 2
    local properties = joined(fixed_properties(m), class_properties(m, 'open'), {'state:queued'})
    note_chunk(chunk, properties)
    for _, property in ipairs(properties) do fill_bits(bitmap_key(chunk, property), seq, to) end
    fill_bits(batch_bitmap_key(chunk, m.batch), seq, to)
    place = last
  end
  for place, m in ipairs(members) do
    if m.volume ~= '' then redis.call('ZADD', volume_index_key(m.volume, 'open'), first + place - 1, m.id) end
  end
end

local INDEXED_FIELDS = {'seq', 'operation', 'subsystem', 'roles', 'requester_key', 'name_key', 'batch', 'volume', 'state'}
local function indexed_fields(id)
  local values, f = get(id, unpack(INDEXED_FIELDS)), {}
  for i, name in ipairs(INDEXED_FIELDS) do f[name] = values[i] or '' end
  return tonumber(f.seq), f
end

-- A job has ended: move it out of the class of unfinished jobs, and write the time into its entry.
local function index_end(id, f, seq, state)
  local chunk, offset = chunk_of(seq), seq % CHUNK_JOBS
  redis.call('SETRANGE', chunk_key(chunk), text(offset * ENTRY_BYTES + ID_BYTES + TIME_DIGITS), string.format(TIME_FORMAT, now))
  redis.call('ZADD', P .. 'index_last_end', text(now), text(chunk))
  if f.volume == '' then return end
  redis.call('ZREM', volume_index_key(f.volume, 'open'), id)
  redis.call('ZADD', volume_index_key(f.volume, state), text(seq), id)
end

-- Move a job from one state to another in the index, and in the counts of its batch.
local member_moved, member_ended
local function index_state(id, old, new)
  local seq, f = indexed_fields(id)
  if not seq then return end
  local cleared, added = {'state:' .. old}, {'state:' .. new}
  if is_done(new) then
    cleared = joined(cleared, class_properties(f, class_of(old)))
    added = joined(added, class_properties(f, new))
    index_end(id, f, seq, new)
  end
  clear_bits(seq, cleared)
  set_bits(seq, added)
  if f.batch ~= '' then member_moved(f.batch, old, new) end
end

-- Remove a job from the index; an empty chunk is deleted.
local function unindex_job(id)
  local seq, f = indexed_fields(id)
  if not seq then return end
  local chunk, class = chunk_of(seq), class_of(f.state)
  clear_bits(seq, joined(fixed_properties(f), class_properties(f, class), {'state:' .. f.state}))
  if f.batch ~= '' then clear_bit(batch_bitmap_key(chunk, f.batch), text(seq % CHUNK_JOBS)) end
  if f.volume ~= '' then redis.call('ZREM', volume_index_key(f.volume, class), id) end
  local states = {}
  for i, state in ipairs(STATES) do states[i] = bitmap_key(chunk, 'state:' .. state) end
  if redis.call('EXISTS', unpack(states)) == 0 then
    redis.call('DEL', chunk_key(chunk))
    redis.call('ZREM', P .. 'index_chunks', text(chunk))
    redis.call('ZREM', P .. 'index_last_end', text(chunk))
  end
end
