-- Moves entries whose time has come into a stream, by time and then by id.
-- KEYS[1]: the times. KEYS[2]: the entries. KEYS[3]: the stream. ARGV: at most so many, and about so many bytes.
-- Answers how many, the ids of those that no entry could be made of, the time of the next one, the time now, and what
-- stopped it, if anything did: the entry that it stopped at still waits.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local due = redis.pcall('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if due.err then return due end

local moved, bytes, broken, failure = 0, 0, {}, false
for _, id in ipairs(due) do
  local packed = redis.pcall('HGET', KEYS[2], id)
  if type(packed) == 'table' then return packed end
  local parts = packed and unpack_fields(packed)
  if parts then
    local added = redis.pcall('XADD', KEYS[3], '*', unpack(parts))
    if type(added) == 'table' and added.err then
      -- What a stream can't hold it never will. All else is no fault of this entry.
      if not string.find(added.err, 'too large to be stored', 1, true) then
        failure = added.err
        break
      end
      parts = nil
    end
  end
  if parts then
    moved, bytes = moved + 1, bytes + #packed
  else
    broken[#broken + 1] = id
  end
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  if bytes >= tonumber(ARGV[2]) then break end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { moved, broken, first[2] or false, now, failure }
