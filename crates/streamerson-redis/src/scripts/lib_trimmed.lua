-- Whether an entry was trimmed off its stream. From Redis 7 on, XCLAIM of such an entry drops it from the pending list
-- without a word, so it is left for XAUTOCLAIM, which tells what it drops.
local first
local function is_trimmed(key, id)
  if first == nil then
    local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    first = oldest and oldest[1] or false
  end
  return not first or less(id, first)
end

