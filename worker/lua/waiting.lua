-- The first jobs of a lane that could start now. ARGV: queue, how many
local found = {}
for _, id in ipairs(redis.call('ZRANGE', lane_key(ARGV[1]), 0, 99)) do
  if #found >= tonumber(ARGV[2]) then break end
  local not_before = get(id, 'not_before')[1]
  if (not not_before or not_before == '' or tonumber(not_before) <= now) and not blocked(id) then
    found[#found + 1] = bell(id)
  end
end
return found
