-- Claim a queued job for a worker, if it is runnable. ARGV: id, token, lease ms, time limits of a read and of a change (ms)
-- Returns {result, record when it was claimed}.
allow_when_full()
local id = ARGV[1]
local f = get(id, 'state', 'not_before', 'batch', 'released', 'attempt')
if not f[1] then return {'GONE'} end
if f[1] ~= 'queued' then return {f[1] == 'cancelled' and 'CANCELLED' or 'TAKEN'} end
if f[2] and f[2] ~= '' and tonumber(f[2]) > now then return {'LATER'} end
if is_held_back(f[3], f[4], f[5]) then return {'BLOCKED'} end
if is_blocked(id) then return {'BLOCKED'} end
return {'CLAIMED', claim(id, ARGV[2], ARGV[3], ARGV[4], ARGV[5])}
