-- Record some members of a batch that is going to be accepted, with their places in the order of their volumes. Nobody sees
-- them, and none is released, before `commit_batch`; if that never comes, `discard_members` takes them back.
-- ARGV: batch, fields that all have, list of further fields. Returns the sequence numbers of the first and the last.
local batch, common, members, ids = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3]), {}
redis.call('ZADD', P .. 'batches_preparing', now, batch)
local first = tonumber(redis.call('INCRBY', P .. 'seq', #members)) - #members + 1
for place, own in ipairs(members) do
  local id, seq = own.id, text(first + place - 1)
  for name, value in pairs(common) do own[name] = value end
  ids[place] = id
  set_all(id, own, 'state', 'queued', 'seq', seq, 'created', text(now), 'updated', text(now))
  for _, key in ipairs(cjson.decode(own.keys)) do redis.call('ZADD', ordering_key(own.subsystem, key), seq, id) end
  if own.references ~= '' then redis.call('ZADD', unresolved_key(own.subsystem), seq, id) end
  note_change(id, own, seq, {})
end
index_members(members, first)
redis.call('RPUSH', members_key(batch), unpack(ids))
return {first, first + #members - 1}
