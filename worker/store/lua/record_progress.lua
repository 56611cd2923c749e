-- Write to the journal of a running job. ARGV: id, token, what (step, backend_job or progress), fields.
allow_when_full()
local id, what, fields = ARGV[1], ARGV[3], cjson.decode(ARGV[4])
local f = get(id, 'token', 'state', 'step', 'version')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return 'LOST' end
-- Once something was sent, only the driver can cancel; the remaining steps of the change are still allowed.
if what == 'step' and f[2] == 'cancelling' and f[3] == '' then return 'CANCEL' end
if what == 'step' then fields.backend_job, fields.cancellable = '', '0' end
change(id, f[4], fields, 'marked', text(now))
return f[2] == 'cancelling' and 'CANCEL' or 'GO'
