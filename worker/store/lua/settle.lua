-- An operator's word on a change that is being settled. ARGV: id, state, fields, keep ms, view steps
local id = ARGV[1]
local f = get(id, 'state', 'settle_since')
if not f[1] then return {'GONE', {}} end
if (f[1] ~= 'running' and f[1] ~= 'cancelling') or not f[2] or f[2] == '' then return {'NOT_SETTLING', {}} end
local bells = finish(id, ARGV[2], tonumber(ARGV[4]), cjson.decode(ARGV[3]))
change_views(cjson.decode(ARGV[5]))
return {'DONE', bells}
