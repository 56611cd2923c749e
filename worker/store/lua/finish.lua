-- End a job, and update the listings, on behalf of the worker that holds it. A worker that lost its lease changes nothing; one
-- that repeats the call because it never received the reply gets the same answer.
-- ARGV: id, token, state, fields, listing steps, record TTL ms, result ('' none), result TTL ms, largest inline result (bytes)
local id = ARGV[1]
local f = get(id, 'token', 'state', 'ended_by', 'subsystem', 'keys')
if f[3] == ARGV[2] then
  local again = {}
  publish_heads(f[4], cjson.decode(f[5]), again)
  return {'DONE', again}
end
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}} end
allow_when_full()
local fields = cjson.decode(ARGV[4])
fields.ended_by = ARGV[2]
update_listings(cjson.decode(ARGV[5]))
if fields.result_cache_key then
  fields.result_seq = text(readable_until(fields.result_cache_key, tonumber(fields.result_base_seq)))
end
if ARGV[7] ~= '' then redis.call('SET', P .. 'result:' .. id, ARGV[7], 'PX', text(record_ttl_ms(id, tonumber(ARGV[8])))) end
local reply = ARGV[3] == 'succeeded' and #ARGV[7] <= tonumber(ARGV[9]) and ARGV[7]
return {'DONE', finish(id, ARGV[3], tonumber(ARGV[6]), fields, reply)}
