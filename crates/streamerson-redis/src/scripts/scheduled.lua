-- Entries that wait, by time and then by id. KEYS[1]: the times. KEYS[2]: the entries.
-- ARGV: at most so many, about so many bytes, and the time and the id of the last one that was seen, if any was.
-- Answers whether there are more, then for each its id, time and fields.

-- As the server orders them. Lua's own comparison goes by the locale.
local function above(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local from = 0
if ARGV[3] then
  local low = redis.pcall('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[3])
  if type(low) == 'table' then return low end
  local high = redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[3])
  while low < high do
    local middle = math.floor((low + high) / 2)
    if above(redis.call('ZRANGE', KEYS[1], middle, middle)[1], ARGV[4]) then
      high = middle
    else
      low = middle + 1
    end
  end
  from = low
end
local found = redis.pcall('ZRANGE', KEYS[1], from, from + ARGV[1], 'WITHSCORES')
if found.err then return found end

local answer, bytes = { 0 }, 0
for at = 1, #found, 2 do
  if #answer > 3 * ARGV[1] or bytes >= tonumber(ARGV[2]) then
    answer[1] = 1
    break
  end
  local packed = redis.pcall('HGET', KEYS[2], found[at])
  if type(packed) == 'table' then return packed end
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = found[at + 1]
  answer[#answer + 1] = packed
  if packed then bytes = bytes + #packed end
end
return answer
