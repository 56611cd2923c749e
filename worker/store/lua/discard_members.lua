-- Take back some prepared members of a batch that was not accepted, unless it was by now. ARGV: batch, how many
-- Returns {1 when there are more, messages to publish}.
local batch, messages = ARGV[1], {}
if redis.call('EXISTS', job_key(batch)) == 1 then
  redis.call('ZREM', P .. 'batches_preparing', batch)
  return {0, messages}
end
local ids = redis.call('LRANGE', members_key(batch), 0, tonumber(ARGV[2]) - 1)
for _, id in ipairs(ids) do
  local f = get(id, 'subsystem', 'keys')
  local keys = cjson.decode(f[2])
  for _, key in ipairs(keys) do redis.call('ZREM', ordering_key(f[1], key), id) end
  unindex_job(id)
  lift_barrier(id, f[1], messages)
  publish_heads(f[1], keys, messages)
  redis.call('DEL', job_key(id))
end
redis.call('LTRIM', members_key(batch), #ids, -1)
if redis.call('EXISTS', members_key(batch)) == 1 then return {1, messages} end
redis.call('ZREM', P .. 'batches_preparing', batch)
return {0, messages}
