-- The end of a job, told by the worker that has it, with what it does to the listings. ARGV: id, owner, state, fields, view
-- steps, keep ms, result ('' none), result keep ms. A worker that lost the job changes nothing; one that told the end already,
-- and never heard the answer, is answered again.
local id = ARGV[1]
local f = get(id, 'owner', 'state', 'ended_by', 'subsystem', 'keys')
if f[3] == ARGV[2] then
  local again = {}
  ring_heads(f[4], cjson.decode(f[5]), again)
  return {'DONE', again}
end
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}} end
local bells = finish(id, ARGV[3], tonumber(ARGV[6]), cjson.decode(ARGV[4]))
redis.call('HSET', job_key(id), 'ended_by', ARGV[2])
change_views(cjson.decode(ARGV[5]))
local made = get(id, 'result_thing', 'result_base_seq')
if made[1] then redis.call('HSET', job_key(id), 'result_seq', text(readable_until(made[1], tonumber(made[2])))) end
if ARGV[7] ~= '' then redis.call('SET', P .. 'result:' .. id, ARGV[7], 'PX', ARGV[8]) end
return {'DONE', bells}
