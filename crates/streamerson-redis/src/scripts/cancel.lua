-- Removes entries that wait. KEYS[1]: the times. KEYS[2]: the entries. ARGV: ids. Answers those that were there.
local there = {}
for _, id in ipairs(ARGV) do
  local removed = redis.pcall('ZREM', KEYS[1], id)
  if type(removed) == 'table' then return removed end
  redis.call('HDEL', KEYS[2], id)
  if removed > 0 then there[#there + 1] = id end
end
return there
