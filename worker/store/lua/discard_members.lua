-- Discard some prepared members of a batch, unless it has been accepted meanwhile. ARGV: batch, how many
-- Returns {1 when there are more, messages to publish}.
local batch, messages = ARGV[1], {}
if redis.call('EXISTS', job_key(batch)) == 1 then
  redis.call('ZREM', P .. 'batches_preparing', batch)
  return {0, messages}
end
local ids, places = redis.call('LRANGE', members_key(batch), 0, tonumber(ARGV[2]) - 1), {}
for _, id in ipairs(ids) do
  local f = get(id, 'subsystem', 'keys')
  for _, key in ipairs(cjson.decode(f[2])) do
    redis.call('ZREM', ordering_key(f[1], key), id)
    places[f[1] .. ' ' .. key] = {f[1], key}
  end
  unindex_job(id)
  lift_barrier(id, f[1], messages)
  redis.call('DEL', job_key(id))
end
for _, place in pairs(places) do publish_heads(place[1], {place[2]}, messages) end
redis.call('LTRIM', members_key(batch), #ids, -1)
if redis.call('EXISTS', members_key(batch)) == 1 then return {1, messages} end
redis.call('ZREM', P .. 'batches_preparing', batch)
return {0, messages}
