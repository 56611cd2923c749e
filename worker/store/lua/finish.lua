-- The end of a job, told by the worker that has it, with what it does to the listings. A worker that lost the job changes
-- nothing; one that told the end already, and never heard the answer, is answered again.
-- ARGV: id, owner, state, fields, view steps, keep ms, result ('' none), result keep ms, largest inline result (bytes)
local id = ARGV[1]
local f = get(id, 'owner', 'state', 'ended_by', 'subsystem', 'keys')
if f[3] == ARGV[2] then
  local again = {}
  ring_heads(f[4], cjson.decode(f[5]), again)
  return {'DONE', again}
end
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}} end
even_if_full()
local fields = cjson.decode(ARGV[4])
fields.ended_by = ARGV[2]
change_views(cjson.decode(ARGV[5]))
if fields.result_thing then
  fields.result_seq = text(readable_until(fields.result_thing, tonumber(fields.result_base_seq)))
end
if ARGV[7] ~= '' then redis.call('SET', P .. 'result:' .. id, ARGV[7], 'PX', ARGV[8]) end
local answer = ARGV[3] == 'succeeded' and #ARGV[7] <= tonumber(ARGV[9]) and ARGV[7]
return {'DONE', finish(id, ARGV[3], tonumber(ARGV[6]), fields, answer)}
