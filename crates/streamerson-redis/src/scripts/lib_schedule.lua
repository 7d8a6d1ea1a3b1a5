-- Lets an entry wait for its time, in the place of one with the same id. Answers nothing, or what kept it from that.
local function schedule(times, entries, entries_max, id, at, packed)
  local known = redis.pcall('ZSCORE', times, id)
  if type(known) == 'table' and known.err then return known.err end
  if not known and redis.call('ZCARD', times) >= tonumber(entries_max) then return 'FULL ' .. entries_max end
  local stored = redis.pcall('HSET', entries, id, packed)
  if type(stored) == 'table' and stored.err then return stored.err end
  local timed = redis.pcall('ZADD', times, at, id)
  if type(timed) == 'table' and timed.err then
    if not known then redis.call('HDEL', entries, id) end
    return timed.err
  end
end

