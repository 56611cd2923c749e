-- Record some members of a batch that is going to be accepted, with their places in the order of their volumes. They are not
-- visible or released before `commit_batch`; if that is never called, `discard_members` removes them.
-- ARGV: batch, common fields, list of the members' further fields. Returns the sequence numbers of the first and the last.
local batch, common, members, ids = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3]), {}
redis.call('ZADD', P .. 'batches_preparing', now, batch)
local first = tonumber(redis.call('INCRBY', P .. 'seq', #members)) - #members + 1
for place, member in ipairs(members) do
  local id, seq = member.id, text(first + place - 1)
  for name, value in pairs(common) do member[name] = value end
  ids[place] = id
  set_all(id, member, 'state', 'queued', 'seq', seq, 'created', text(now), 'updated', text(now))
  for _, key in ipairs(cjson.decode(member.keys)) do redis.call('ZADD', ordering_key(member.subsystem, key), seq, id) end
  if member.references ~= '' then redis.call('ZADD', unresolved_key(member.subsystem), seq, id) end
  note_change(id, member, seq, {})
end
index_members(members, first)
redis.call('RPUSH', members_key(batch), unpack(ids))
return {first, first + #members - 1}
