-- The names and values of an entry that waits: netstrings, as in 1:p,4:text, one behind the other. Nothing for what is
-- none, or has more of them than a call can take.
local function unpack_fields(packed)
  local parts, at = {}, 1
  while at <= #packed do
    local length, start = string.match(packed, '^(%d+):()', at)
    if not length or #length > 10 then return end
    local stop = start + tonumber(length)
    if string.sub(packed, stop, stop) ~= ',' or #parts == 7800 then return end
    parts[#parts + 1] = string.sub(packed, start, stop - 1)
    at = stop + 1
  end
  if #parts > 0 and #parts % 2 == 0 then return parts end
end

