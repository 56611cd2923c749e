-- The volumes that a job's paths mean are known: take its place in their order, by the time it was accepted.
-- ARGV: id, owner, order keys, fields. GO: it may act now; BEHIND: it waits for its turn.
even_if_full()
local id = ARGV[1]
local f = get(id, 'owner', 'state', 'subsystem', 'seq', 'keys')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}} end
local keys, known, bells = cjson.decode(f[5]), {}, {}
for _, key in ipairs(keys) do known[key] = true end
for _, key in ipairs(cjson.decode(ARGV[3])) do
  if not known[key] then
    keys[#keys + 1] = key
    known[key] = true
    redis.call('ZADD', order_key(f[3], key), f[4], id)
  end
end
set_all(id, cjson.decode(ARGV[4]), 'keys', cjson.encode(keys), 'references', '')
lift_barrier(id, f[3], bells)
if f[2] == 'running' and blocked(id) then
  put_back(id, 'running', now + 10000, '')
  redis.call('HSET', job_key(id), 'not_before', '')
  return {'BEHIND', bells}
end
return {'GO', bells}
