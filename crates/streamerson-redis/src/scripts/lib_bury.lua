-- Drops the oldest entries of a stream of dead letters past its bound, one by one: servers have bugs where XDEL and
-- trimming meet in one stream, and dead letters are removed one by one by whoever replays them. Answers how many went.
local function drop_oldest(key, entries_max)
  local over = redis.call('XLEN', key) - tonumber(entries_max)
  if over <= 0 then return 0 end
  -- A bound that was lowered is reached with the letters to come.
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', math.min(over, 100))
  local command = { 'XDEL', key }
  for _, entry in ipairs(oldest) do command[#command + 1] = entry[1] end
  return redis.call(unpack(command))
end

