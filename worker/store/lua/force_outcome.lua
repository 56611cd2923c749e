-- End a job with the outcome that an operator gives: a change in doubt, or a job whose worker was lost and that no other
-- worker has taken over, since none serves its subsystem any more. ARGV: id, state, fields, record TTL ms, listing steps
local id = ARGV[1]
-- Wherever workers serve the subsystem, a lost worker is noticed earlier.
local ABANDONED_MS = 120000
local f = get(id, 'state', 'in_doubt_since', 'lease')
local in_doubt = f[2] and f[2] ~= ''
-- A batch has no lease: its members are settled.
local abandoned = f[3] and f[3] ~= '' and tonumber(f[3]) + ABANDONED_MS <= now
if (f[1] ~= 'running' and f[1] ~= 'cancelling') or not (in_doubt or abandoned) then return {'NOT_IN_DOUBT', {}} end
local messages = finish(id, ARGV[2], tonumber(ARGV[4]), cjson.decode(ARGV[3]))
update_listings(cjson.decode(ARGV[5]))
return {'DONE', messages}
