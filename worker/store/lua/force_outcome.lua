-- End an in-doubt change with the outcome that an operator gives. ARGV: id, state, fields, record TTL ms, listing steps
local id = ARGV[1]
local f = get(id, 'state', 'in_doubt_since')
if not f[1] then return {'GONE', {}} end
if (f[1] ~= 'running' and f[1] ~= 'cancelling') or not f[2] or f[2] == '' then return {'NOT_IN_DOUBT', {}} end
local messages = finish(id, ARGV[2], tonumber(ARGV[4]), cjson.decode(ARGV[3]))
update_listings(cjson.decode(ARGV[5]))
return {'DONE', messages}
