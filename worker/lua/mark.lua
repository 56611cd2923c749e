-- A durable mark of the worker that has the job. ARGV: id, owner, what, fields; what: step, backend_job, facts or progress.
even_if_full()
local id, what, fields = ARGV[1], ARGV[3], cjson.decode(ARGV[4])
local f = get(id, 'owner', 'state', 'step')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return 'LOST' end
-- Once something was sent, a cancel is for the driver to pass on; the steps that make the change whole still go out.
if what == 'step' and f[2] == 'cancelling' and f[3] == '' then return 'CANCEL' end
if what == 'step' then redis.call('HSET', job_key(id), 'backend_job', '', 'cancellable', '0') end
set_all(id, fields, 'marked', text(now))
announce(id, touch(id), f[2])
return f[2] == 'cancelling' and 'CANCEL' or 'GO'
