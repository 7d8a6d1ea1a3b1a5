-- Says that somebody lives. KEYS[1]: the registry. ARGV: the name, for how long in ms, and the most names.
-- Answers the names of all who do.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end

local gone = redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
if type(gone) == 'table' then return gone end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.error_reply('FULL ' .. ARGV[3])
end
local added = redis.pcall('ZADD', KEYS[1], text(now + ARGV[2]), ARGV[1])
if type(added) == 'table' then return added end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], text(last - now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
