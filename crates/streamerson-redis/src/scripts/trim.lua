-- Removes the entries that every group has finished. KEYS[1]: the stream. Answers how many.
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return groups end

local needed
for _, group in ipairs(groups) do
  local info = {}
  for at = 1, #group, 2 do info[group[at]] = group[at + 1] end
  -- The last delivered entry itself is kept: one entry is a small price for not computing its successor.
  local low = info['last-delivered-id']
  if info.pending > 0 then
    local oldest = redis.call('XPENDING', KEYS[1], info.name)[2]
    if less(oldest, low) then low = oldest end
  end
  if not needed or less(low, needed) then needed = low end
end
if not needed then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', needed)
